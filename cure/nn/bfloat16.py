"""Networks in bfloat16, for attacks whose results a network in float32 judges."""

import copy

import torch
from torch import nn

from cure.core.network import Network
from cure.core.tensors import Images, Logits


class BFloat16(nn.Module):
    """A frozen copy with weights in bfloat16; it takes images and gives logits in the images' own precision.

    A network that is not ours may hold float32 constants in its code, so PyTorch's autocast runs it instead.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.ours = isinstance(net, Network)
        self.net = copy.deepcopy(net).requires_grad_(False).to(torch.bfloat16) if self.ours else net

    def extra_repr(self) -> str:
        """Set a copy in bfloat16 apart from its network where these are compared as texts."""
        return "bfloat16"

    def forward(self, x: Images) -> Logits:
        """x in [0, 1]."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=not self.ours, cache_enabled=False):
            z: Logits = self.net(x.to(torch.bfloat16) if self.ours else x)
        return z.to(x.dtype)
