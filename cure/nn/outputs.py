"""Outputs of external networks beside logits."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import nn

from cure.core.tensors import Images, Tensor


class FirstOutput(nn.Module):
    """`net`, of whose several outputs (a tuple, a list, a mapping or a record) the first counts.

    Of outputs with names it is the one that is called `logits`, where there is one.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Images) -> Tensor:
        """The first output; a single one as it is."""
        first: Tensor = outputs(self.net(x))[0]
        return first


def outputs(found: Any) -> list[Any]:
    """Everything that a network returned, in its order, but `logits` first where outputs have names."""
    if (names := named(found)) is not None:
        return [names[key] for key in sorted(names, key=lambda key: key != "logits")]
    return list(found) if isinstance(found, tuple | list) else [found]


def named(found: Any) -> Mapping[str, Any] | None:
    """Return the outputs by name, of a mapping, a named tuple or a dataclass; None where they have no names."""
    if isinstance(found, Mapping):
        return found
    if isinstance(found, tuple) and hasattr(found, "_fields"):
        return dict(zip(found._fields, found, strict=True))
    if is_dataclass(found) and not isinstance(found, type):
        return {field.name: getattr(found, field.name) for field in fields(found)}
    return None
