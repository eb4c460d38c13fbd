"""Batch-norm scopes, fixed and split batch norm, and re-estimation of running statistics."""

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cure.settings.base import Scope


@contextmanager
def scope(net: nn.Module, mode: Scope) -> Iterator[None]:
    """Run `net` in one of three modes and restore every module's own mode afterwards.

    `eval`: running statistics. `train`: batch statistics, which also move the running ones.
    `batch`: batch statistics that leave the running ones (and their counter) alone.
    """
    modules = list(net.modules())
    modes = [(m, m.training) for m in modules]
    tracking = [(m, m.track_running_stats) for m in modules if isinstance(m, _BatchNorm)]
    net.train(mode != "eval")
    if mode == "batch":
        for norm, _ in tracking:
            norm.track_running_stats = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for norm, tracked in tracking:
            norm.track_running_stats = tracked


class FixedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm on its running statistics in training mode as well."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute (x - running mean) / sqrt(running variance + eps) * weight + bias."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class SplitBatchNorm2d(nn.ModuleDict):
    """Several batch norms with one set of weights around them; `branch` selects the one that a forward uses.

    Xie et al. 2020 (auxiliary batch norm); AR-AT trains with one for clean and one for adversarial images.
    """

    def __init__(self, norm: nn.BatchNorm2d, names: tuple[str, ...]) -> None:
        super().__init__({name: copy.deepcopy(norm) for name in names})
        self.active, self.num_features = names[0], norm.num_features

    def forward(self, x: Tensor) -> Tensor:
        """Normalise with the active branch."""
        out: Tensor = self[self.active](x)
        return out


def batch_norms(net: nn.Module) -> dict[str, nn.BatchNorm2d | SplitBatchNorm2d]:
    """Return the 2d batch norms by name; a split one counts once."""
    found = {name: m for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d | SplitBatchNorm2d)}
    inside = {f"{name}.{key}" for name, m in found.items() if isinstance(m, SplitBatchNorm2d) for key in m}
    return {name: norm for name, norm in found.items() if name not in inside}


def is_split(net: nn.Module) -> bool:
    """Return whether `net` has split batch norms."""
    return any(isinstance(module, SplitBatchNorm2d) for module in net.modules())


def split(net: nn.Module, names: tuple[str, ...]) -> None:
    """Replace every BatchNorm2d inside `net` by one batch norm per name, all starting as copies."""
    for parent in list(net.modules()):
        for key, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and not isinstance(parent, SplitBatchNorm2d):
                setattr(parent, key, SplitBatchNorm2d(child, names))


def fold(net: nn.Module, name: str) -> None:
    """Undo `split` and keep one branch, which leaves an ordinary network."""
    for parent in list(net.modules()):
        for key, child in list(parent.named_children()):
            if isinstance(child, SplitBatchNorm2d):
                setattr(parent, key, child[name])


@contextmanager
def branch(net: nn.Module, name: str) -> Iterator[None]:
    """Use the batch norms of this name in all forwards inside the block."""
    layers = [m for m in net.modules() if isinstance(m, SplitBatchNorm2d)]
    before = [layer.active for layer in layers]
    for layer in layers:
        layer.active = name
    try:
        yield
    finally:
        for layer, active in zip(layers, before, strict=True):
            layer.active = active


@contextmanager
def reestimating(net: nn.Module) -> Iterator[None]:
    """Reset the running statistics and estimate them from the forwards inside the block, as a plain average."""
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm)]
    momenta, seen = [norm.momentum for norm in norms], Counter[nn.Module]()

    def take_next(norm: Any, _: object) -> None:
        """Weigh the next forward as one of n; PyTorch's own counter is on the device, so reading it would wait."""
        seen[norm] += 1
        norm.momentum = 1 / seen[norm]

    for norm in norms:
        norm.reset_running_stats()
    counting = [norm.register_forward_pre_hook(take_next) for norm in norms]
    try:
        with scope(net, "train"):
            yield
    finally:
        for norm, momentum, hook in zip(norms, momenta, counting, strict=True):
            norm.momentum = momentum
            hook.remove()
