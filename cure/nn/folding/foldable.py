"""Find the batch norms of a network that can be folded into the convolutions before them."""

from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cure.core.tensors import Images, Tensor
from cure.nn.batchnorm import FixedBatchNorm2d, scope

PLAIN = (  # forwards of layers that compute nothing else
    nn.Conv2d.forward,
    _BatchNorm.forward,
    nn.SyncBatchNorm.forward,
    FixedBatchNorm2d.forward,
)


class _Taken(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count how many operations take each tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()
        self.alive: list[Any] = []  # keeps tensors alive, so that no two have the same id

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Count the arguments, then run the operation."""
        self.count.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        out = func(*args, **(kwargs or {}))
        self.alive.append(out)
        return out


def foldable(net: nn.Module, x: Images) -> list[tuple[str, str]]:
    """Return (convolution, batch norm) by name, where the norm and nothing else takes the convolution's output.

    A forward of `x` finds them; a network that fails on `x` has none.
    """
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []
    layers = {module: name for name, module in net.named_modules() if _plain(module)}

    def note(module: nn.Module, args: Any, out: Tensor) -> None:
        calls.append((module, args[0], out))

    hooks = [layer.register_forward_hook(note) for layer in layers]
    taken = _Taken()
    try:
        with torch.no_grad(), scope(net, "eval"), taken:
            net(x)
    except Exception:  # a network may require at least one image, and fail in any way
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


def _plain(module: nn.Module) -> bool:
    """Return whether a module is a convolution or batch norm with nothing added to its forward."""
    known = isinstance(module, nn.Conv2d | _BatchNorm) and getattr(module.forward, "__func__", None) in PLAIN
    return known and not is_parametrized(module)


def _constant(norm: _BatchNorm) -> bool:
    """Return whether a batch norm is an affine map in eval mode."""
    return norm.affine and norm.running_var is not None
