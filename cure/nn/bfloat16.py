"""Networks in bfloat16, for attacks whose results are verified by the network in float32."""

import copy

import torch
from torch import nn

from cure.core.network import Network
from cure.core.tensors import Images, Logits


class BFloat16(nn.Module):
    """A network that computes in bfloat16 and returns logits in the precision of the images.

    A `Network` is copied, frozen, with bfloat16 weights. The code of an external network may contain float32 constants,
    so it runs under PyTorch's autocast.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.ours = isinstance(net, Network)
        self.net = copy.deepcopy(net).requires_grad_(False).to(torch.bfloat16) if self.ours else net

    def extra_repr(self) -> str:
        """Return a text that distinguishes the copy from its network where they are compared as texts."""
        return "bfloat16"

    def forward(self, x: Images) -> Logits:
        """Return the logits of images in [0, 1]."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=not self.ours, cache_enabled=False):
            z: Logits = self.net(x.to(torch.bfloat16) if self.ours else x)
        return z.to(x.dtype)
