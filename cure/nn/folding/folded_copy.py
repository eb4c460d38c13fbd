"""A folded copy of a network, for attacks in eval mode: the same function in fewer operations.

Batch norm on running statistics is affine, so it folds into the convolution before it:

    w' = w g / sqrt(v + e),   b' = beta + (b - m) g / sqrt(v + e)

Logits differ by rounding only. Training attacks the copy of `current_folded_copy`. It is made once and follows the
weights: every attack computes the folded ones anew, in place. An evaluation attacks the copy of `folded_copy`. It may
be given an external network, so it compares the copy with the network; adversarial images are verified on the network.
"""

import copy
import warnings
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from cure.core.network import Network
from cure.core.tensors import Images, Tensor
from cure.nn.batchnorm import SplitBatchNorm2d, scope
from cure.nn.folding.foldable import foldable
from cure.nn.folding.fused import fused
from cure.nn.memory_format import FORMATS, probed_layout
from cure.settings.base import Layout

_kept: "WeakKeyDictionary[nn.Module, dict[torch.dtype | None, tuple[list[Any], FoldedCopy | None]]]" = (
    WeakKeyDictionary()
)
_to_compile: "WeakSet[nn.Module]" = WeakSet()
COMPILER = "inductor"
COMPARED = 8  # images on which a copy must agree with its network
TOLERANCE = 1e-4  # largest difference of their logits, relative to the largest logit


class FoldedCopy:
    """A frozen copy without the batch norms of `pairs` (convolution, batch norm), which are found on `x`.

    With a `dtype`, its convolutions and linear layers hold their weights in it, as autocast would cast them in every
    forward.
    """

    def __init__(self, net: nn.Module, x: Images, dtype: torch.dtype | None = None) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.net.zero_grad()
        self.pairs = foldable(self.net, x)
        for conv, norm in self.pairs:  # new tensors, since other layers may share the network's weights
            old, bn = _layers(self.net, conv, norm)
            old.weight, old.bias = fuse_conv_bn_weights(
                old.weight, old.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
            )
            self.net.set_submodule(norm, nn.Identity())
        for module in self.net.modules() if dtype else ():  # autocast leaves float64 alone
            if type(module) in (nn.Conv2d, nn.Linear) and module.weight.dtype == torch.float32:
                module.to(dtype)

    def follow(self, net: nn.Module) -> None:
        """Compute the folded weights from the present weights and running statistics of the original, in place.

        The bias is computed as beta - (m - b) s with s = g / sqrt(v + e). For a new copy, PyTorch computes it as ((b -
        m) / sqrt(v + e)) g + beta. The two round differently: trained weights depend on the first order, results of
        attacks on the second, so neither may change.
        """
        theirs, mine = _tensors(net), _tensors(self.net)
        folded = [self._ingredients(net, *pair) for pair in self.pairs]
        if not folded:
            return
        weights, norms, shifts, wide, bias = zip(*folded, strict=True)
        own = {id(t) for t in (*wide, *bias)}
        rest = [name for name, t in mine.items() if id(t) not in own]
        with torch.no_grad():
            scales = torch._foreach_add([norm.running_var for norm in norms], [norm.eps for norm in norms])
            torch._foreach_rsqrt_(scales)
            torch._foreach_mul_(scales, [norm.weight for norm in norms])
            for weight, scale, out in zip(weights, scales, wide, strict=True):
                torch.mul(weight, scale[:, None, None, None], out=out)
            moved = torch._foreach_addcmul([norm.bias for norm in norms], list(shifts), scales, value=-1)
            torch._foreach_copy_(list(bias), moved)
            if rest:
                torch._foreach_copy_([mine[name] for name in rest], [theirs[name] for name in rest])

    def _ingredients(self, net: nn.Module, conv: str, norm: str) -> tuple[Any, ...]:
        """Return the weight, the batch norm, m - b, and the tensors of the folded weight and bias."""
        (old, bn), new = _layers(net, conv, norm), self.net.get_submodule(conv)
        shift = bn.running_mean - old.bias if isinstance(old.bias, Tensor) else bn.running_mean
        return old.weight, bn, shift, new.weight, new.bias


def compile_folded_copy(net: nn.Module) -> None:
    """Let torch.compile fuse the kernels of the current folded copy of `net`, once there is one.

    It compiles at the copy's first forward and backward, for the first number of images, and once more, for any number,
    at the second.
    """
    _to_compile.add(net)


def current_folded_copy(net: nn.Module, x: Images) -> nn.Module:
    """Return the folded copy of `net` with its present weights, in its memory format, for attacks of training.

    Return `net` itself if there is nothing to fold, or if it has hooks, so that the hooks fire during the attack. A
    network that is neither trained nor a `Network` may remember its forwards, which a copy would not share; it is
    returned as well.
    """
    if not isinstance(net, Network) and not any(weight.requires_grad for weight in net.parameters()):
        return net
    if has_hooks(net):
        return net
    kind = x.device.type
    form, dtype = _form(net), torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    known = _kept.setdefault(net, {})
    if dtype not in known or known[dtype][0] != form:
        made = FoldedCopy(net, x[:0], dtype)  # a forward of no image costs nothing
        if net in _to_compile:
            made.net.compile(backend=COMPILER, dynamic=None)
        elif x.is_cuda:
            made.net = fused(made.net, x)
        known[dtype] = form, made if made.pairs else None
    copied = known[dtype][1]
    if copied is None:
        return net
    copied.follow(net)
    return copied.net


def folded_copy(net: nn.Module, x: Images, layout: Layout) -> nn.Module:
    """Return a new folded copy of `net` in this memory format (`probe`: the faster one on `x`), for an evaluation.

    Return `net` itself where the copy cannot be proven to be the same function: if the network has hooks, draws at
    random, or returns other logits than its copy on a few of `x`. A network that is not a `Network` must also be
    traceable, so that its control flow does not depend on the images. The copy keeps batch norms that cannot be folded.
    """
    if has_hooks(net):
        return net
    with scope(net, "eval"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if not isinstance(net, Network):
                fx.symbolic_trace(copy.deepcopy(net))
            copied = FoldedCopy(net, x[:1]).net  # one image, since external networks may fail on none
            proven = _agrees(copied, net, x[:COMPARED])
        except Exception:  # tracing runs external code with symbols in place of tensors, so it may fail in any way
            return net
    if not proven:
        return net
    copied = copied.to(memory_format=FORMATS[probed_layout(copied, x) if layout == "probe" else layout])
    return fused(copied, x[:COMPARED]) if x.is_cuda else copied


def chosen_layout(net: nn.Module, x: Images, layout: Layout) -> Layout:
    """Return the layout itself, or the one that the probe chooses for attacks on `net`."""
    return faster_layout(net, x) if layout == "probe" else layout


def faster_layout(net: nn.Module, x: Images) -> Layout:
    """Return the layout that the probe chooses for the folded copy; a run that may be resumed must keep it."""
    copied = folded_copy(net, x, "contiguous")
    return "contiguous" if copied is net else probed_layout(copied, x)


def _agrees(copied: nn.Module, net: nn.Module, x: Images) -> bool:
    """Return whether the network repeats its own logits, and the copy returns the same up to rounding."""
    once, again, folded = net(x), net(x), copied(x)
    if not torch.equal(once, again) or not bool(once.isfinite().all()):
        return False
    return torch.allclose(folded, once, rtol=0, atol=TOLERANCE * float(once.abs().max().clamp(min=1)))


def has_hooks(net: nn.Module) -> bool:
    """Return whether a forward or backward of the network runs hooks."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for module in net.modules() for kind in kinds)


def _layers(net: nn.Module, *names: str) -> Any:
    return tuple(net.get_submodule(name) for name in names)


def _tensors(net: nn.Module) -> dict[str, Tensor]:
    return dict(chain(net.named_parameters(remove_duplicate=False), net.named_buffers(remove_duplicate=False)))


def _form(net: nn.Module) -> list[Any]:
    """Return everything besides values that a copy depends on; a change requires another copy."""
    tensors = [(name, t.dtype, t.device, t.stride()) for name, t in _tensors(net).items()]
    branches = [module.active if isinstance(module, SplitBatchNorm2d) else None for module in net.modules()]
    return [*tensors, *zip(map(type, net.modules()), branches, strict=True)]
