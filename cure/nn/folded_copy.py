"""The twin through which training attacks: the network in eval mode, its batch norms folded into the convolutions.

    w' = w g / sqrt(v + e),   b' = beta + (b - m) g / sqrt(v + e)

A network's twin is made once and follows its weights: every attack computes the folded ones anew, in place. Its
logits differ by rounding only, its memory format is the network's. nn/folding.py has the twin of an evaluation, which
stands for a network of unknown making and is held against it.
"""

import copy
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cure.core.network import Network
from cure.core.tensors import Images, Tensor
from cure.nn.batchnorm import scope

Pairs = list[tuple[str, str]]
_made: "WeakKeyDictionary[nn.Module, FoldedCopy]" = WeakKeyDictionary()
_asked: "WeakSet[nn.Module]" = WeakSet()
COMPILER = "inductor"


@dataclass
class FoldedCopy:
    """A frozen copy without the batch norms of `pairs` (convolution, batch norm), and the form of its original."""

    net: nn.Module
    pairs: Pairs
    form: list[Any]

    def follow(self, net: nn.Module) -> None:
        """Take the present weights and running statistics of the original."""
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
        """The weight, the batch norm, m - b, and where the folded weight and bias go."""
        old, new, bn = net.get_submodule(conv), self.net.get_submodule(conv), net.get_submodule(norm)
        assert isinstance(bn.running_mean, Tensor)
        shift = bn.running_mean - old.bias if isinstance(old.bias, Tensor) else bn.running_mean
        return old.weight, bn, shift, new.weight, new.bias


def compile_folded_copy(net: nn.Module) -> None:
    """Let torch.compile fuse the kernels of the twin of `net`, once one is made: at its first forward and backward,
    for the first number of images, and once more, for any number, at the second.
    """
    _asked.add(net)


def folded_copy_of(net: nn.Module, x: Images) -> nn.Module:
    """The twin of `net` with its present weights; `net` itself where there is nothing to fold or somebody watches it.

    Whoever has hooks on a network wants to see what is done to it. And a foreign one that is not being trained may
    remember its forwards, which a copy would not share; a `Network` is a function of its parts.
    """
    if not isinstance(net, Network) and not any(weight.requires_grad for weight in net.parameters()):
        return net
    if any(module._forward_hooks or module._forward_pre_hooks for module in net.modules()):
        return net
    form = _form(net)
    if net not in _made or _made[net].form != form:
        _made[net] = _twin(net, x, form)
    _made[net].follow(net)
    return _made[net].net if _made[net].pairs else net


def _twin(net: nn.Module, x: Images, form: list[Any]) -> FoldedCopy:
    same = copy.deepcopy(net).eval().requires_grad_(False)
    same.zero_grad()
    pairs = foldable(same, x)
    for conv, norm in pairs:
        into = same.get_submodule(conv)
        into.bias = nn.Parameter(same.get_submodule(norm).get_parameter("bias").detach(), requires_grad=False)
        same.set_submodule(norm, nn.Identity())
    if net in _asked:
        same.compile(backend=COMPILER, dynamic=None)
    return FoldedCopy(same if pairs else nn.Identity(), pairs, form)  # an original in here would never be forgotten


def _tensors(net: nn.Module) -> dict[str, Tensor]:
    return dict(chain(net.named_parameters(remove_duplicate=False), net.named_buffers(remove_duplicate=False)))


def _form(net: nn.Module) -> list[Any]:
    """Whatever a twin is built for besides values; where it has changed, another twin is due."""
    tensors = [(name, t.dtype, t.device, t.stride()) for name, t in _tensors(net).items()]
    return [*tensors, *((type(module), getattr(module, "active", None)) for module in net.modules())]


class _Taken(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how many operations take each tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()
        self.alive: list[Any] = []  # so that no two tensors have one id

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Count, then do what was asked."""
        self.count.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        out = func(*args, **(kwargs or {}))
        self.alive.append(out)
        return out


def foldable(net: nn.Module, x: Images) -> Pairs:
    """(convolution, batch norm) by name, where the norm and nothing else takes what the convolution gives.

    Found by a forward of no image, which costs nothing; a network that cannot do that has no pairs.
    """
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []
    layers = {module: name for name, module in net.named_modules() if isinstance(module, nn.Conv2d | _BatchNorm)}

    def note(module: nn.Module, args: Any, out: Tensor) -> None:
        calls.append((module, args[0], out))

    hooks = [layer.register_forward_hook(note) for layer in layers]
    taken = _Taken()
    try:
        with torch.no_grad(), scope(net, "eval"), taken:
            net(x[:0])
    except Exception:  # whatever a network does that was made for one image at least
        return []
    finally:
        for hook in hooks:
            hook.remove()
    times = Counter(module for module, *_ in calls)
    made = {id(out): module for module, _, out in calls if isinstance(module, nn.Conv2d)}
    found = [(made.get(id(h)), norm, h) for norm, h, _ in calls if isinstance(norm, _BatchNorm) and _constant(norm)]
    return [
        (layers[conv], layers[norm])
        for conv, norm, h in found
        if conv is not None and times[conv] == times[norm] == 1 == taken.count[id(h)]
    ]


def _constant(norm: _BatchNorm) -> bool:
    """Whether in eval mode it is an affine map."""
    return norm.affine and norm.running_var is not None
