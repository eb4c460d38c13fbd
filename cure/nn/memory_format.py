"""The memory format of a network's weights, and a probe of which one is faster on a device."""

import time
from collections.abc import Callable

import torch
from torch import nn

from cure.core.tensors import Images, Tensor
from cure.settings.base import Layout

FORMATS: dict[Layout, torch.memory_format] = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
_probed: dict[tuple[str, str, torch.Size], Layout] = {}


def probed_layout(net: nn.Module, x: Images) -> Layout:
    """Return the layout in which `net` is attacked faster on batches such as `x`; `net` may be left in either.

    The probe times forward and input gradient for about two seconds, once per device, network and batch shape. The two
    formats round differently, so settings must name one where the result must not depend on the machine.
    """
    place = (str(x.device), str(net), x.shape)
    if place not in _probed:
        spent = {name: _fastest(net.to(memory_format=memory), x) for name, memory in FORMATS.items()}
        _probed[place] = min(spent, key=lambda name: spent[name])
    return _probed[place]


def _fastest(net: nn.Module, x: Images) -> float:
    """Return the seconds of the fastest of several gradient steps, measured for at most a second."""
    wait: Callable[[], None] = torch.cuda.synchronize if x.is_cuda else lambda: None
    best, end = float("inf"), time.perf_counter() + 1
    while time.perf_counter() < end:
        wait()
        start = time.perf_counter()
        _gradient(net, x)
        wait()
        best = min(best, time.perf_counter() - start)
    return best


def _gradient(net: nn.Module, x: Images) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(net(x).sum(), x)[0]
