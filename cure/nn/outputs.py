"""Select one of several outputs of an external network."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import nn

from cure.core.tensors import Images, Tensor


class FirstOutput(nn.Module):
    """A network that returns the first of the several outputs (tuple, list, mapping or record) of `net`.

    If the outputs have names, it returns the one named `logits`, if there is one.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Images) -> Tensor:
        """Return the first output; a single output is returned as it is."""
        first: Tensor = outputs(self.net(x))[0]
        return first


def outputs(found: Any) -> list[Any]:
    """Return all outputs of a network in their order, but `logits` first if they have names."""
    if (names := named(found)) is not None:
        return [names[key] for key in sorted(names, key=lambda key: key != "logits")]
    return list(found) if isinstance(found, tuple | list) else [found]


def named(found: Any) -> Mapping[str, Any] | None:
    """Return the outputs of a mapping, a named tuple or a dataclass by name, or None if they have no names."""
    if isinstance(found, Mapping):
        return found
    if isinstance(found, tuple) and hasattr(found, "_fields"):
        return dict(zip(found._fields, found, strict=True))
    if is_dataclass(found) and not isinstance(found, type):
        return {field.name: getattr(found, field.name) for field in fields(found)}
    return None
