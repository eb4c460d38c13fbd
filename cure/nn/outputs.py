"""Outputs of external networks beside logits."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from cure.core.tensors import Images, Tensor


class FirstOutput(nn.Module):
    """`net`, of whose several outputs (a tuple, a list or a mapping, such as logits and features) the first counts.

    Of a mapping it is the one that is called `logits`, where there is one.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Images) -> Tensor:
        """The first output; a single one as it is."""
        first: Tensor = outputs(self.net(x))[0]
        return first


def outputs(found: Any) -> list[Any]:
    """Everything that a network returned, in its order, but `logits` of a mapping first."""
    if isinstance(found, Mapping):
        return [found[key] for key in sorted(found, key=lambda key: key != "logits")]
    return list(found) if isinstance(found, tuple | list) else [found]
