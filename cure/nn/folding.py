"""A twin of a network for attacks in eval mode: same function, fewer operations.

Batch norm on running statistics is affine, so it folds into the convolution before it:
    w' = w g / sqrt(v + e),   b' = (b - m) g / sqrt(v + e) + beta
Logits move by rounding only. What an attack finds on the twin is verified on the network itself.
"""

import time
import warnings
from collections.abc import Callable

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from cure.core.tensors import Images, Tensor
from cure.nn.batchnorm import scope
from cure.settings.base import Layout

FORMATS: dict[Layout, torch.memory_format] = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
_chosen: dict[tuple[str, str, torch.Size], Layout] = {}


def twin(net: nn.Module, x: Images, layout: Layout) -> nn.Module:
    """A frozen copy in eval mode, every batch norm that directly follows a convolution folded into it.

    Only a network that can be traced, and whose copy gives the same logits on a few of `x` up to rounding, has a
    twin; of any other the network itself is returned. One that draws at random never agrees with a copy.
    """
    with scope(net, "eval"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            copy = fuse(net).eval().requires_grad_(False)
            few = x[:8]
            once, again, folded = net(few), net(few), copy(few)
            same = torch.equal(once, again) and bool(once.isfinite().all())
            close = same and torch.allclose(folded, once, rtol=0, atol=1e-4 * float(once.abs().max().clamp(min=1)))
        except Exception:  # tracing runs foreign code with symbols in place of tensors, so it may fail in any way
            return net
    return _laid_out(copy, x, layout) if close else net


def _laid_out(net: nn.Module, x: Images, layout: Layout) -> nn.Module:
    """`net` with its weights in this memory format; `probe` takes the faster one on `x`.

    The probe times forward and input gradient for about two seconds, once per device, network and batch shape. The two
    formats round differently, so a result that must not depend on the machine names one.
    """
    return net.to(memory_format=FORMATS[_probed(net, x) if layout == "probe" else layout])


def settled(net: nn.Module, x: Images, layout: Layout) -> Layout:
    """The layout itself, or the one that the probe chooses for attacks on `net`."""
    return faster(net, x) if layout == "probe" else layout


def faster(net: nn.Module, x: Images) -> Layout:
    """The layout that the probe chooses for the twin of `net`; a run that is to be continued must keep it."""
    copy = twin(net, x, "contiguous")
    return "contiguous" if copy is net else _probed(copy, x)


def _probed(net: nn.Module, x: Images) -> Layout:
    place = (str(x.device), str(net), x.shape)
    if place not in _chosen:
        spent = {name: _fastest(net.to(memory_format=memory), x) for name, memory in FORMATS.items()}
        _chosen[place] = min(spent, key=lambda name: spent[name])
    return _chosen[place]


def _fastest(net: nn.Module, x: Images) -> float:
    """Seconds of the fastest of several gradient steps, in at most a second."""
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
