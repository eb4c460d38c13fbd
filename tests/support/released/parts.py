"""The parts that the released scripts have in common."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from cure.core.method import Batch
from cure.settings.base import Search


def start(batch: Batch, search: Search) -> Tensor:
    """Draw noise from the host's generator, then move it to the device."""
    x = batch.x
    noise = torch.rand(x.shape) * 2 - 1 if search.start == "uniform" else torch.randn(x.shape)
    x_adv = x + (search.eps if search.start == "uniform" else search.sigma or 0.0) * noise.to(x.device)
    return x_adv.clamp(0, 1) if search.clip_start else x_adv


def attack(
    batch: Batch, search: Search, value: Callable[[Tensor], Tensor], *, weights: bool = False, steps: int | None = None
) -> Tensor:
    """Take K steps: forward, gradient to the images (`weights`: by .backward(), to the weights too), sign, clips."""
    x, x_adv = batch.x, start(batch, search)
    for _ in range(search.steps if steps is None else steps):
        x_adv = x_adv.detach().requires_grad_()
        if weights:
            value(x_adv).backward()
            g = x_adv.grad
        else:
            (g,) = torch.autograd.grad(value(x_adv), [x_adv])
        x_adv = x_adv.detach() + search.step * g.detach().sign()
        x_adv = torch.min(torch.max(x_adv, x - search.eps), x + search.eps).clamp(0, 1)
    return x_adv.detach()


def attacked(net: nn.Module, batch: Batch, search: Search, *, weights: bool = False, training: bool = False) -> Tensor:
    """Return x' of a network on the cross-entropy; the network is in training mode afterwards."""
    net.train(training)
    x_adv = attack(batch, search, lambda x_adv: F.cross_entropy(net(x_adv), batch.y), weights=weights)
    net.train()
    return x_adv


def divergence(clean: Tensor, adv: Tensor, reduction: str = "batchmean") -> Tensor:
    """Return KL(p || q) of logits, differentiable in both."""
    return F.kl_div(F.log_softmax(adv, 1), F.softmax(clean, 1), reduction=reduction)


@contextmanager
def perturbed(net: nn.Module, proxy: nn.Module, gamma: float) -> Iterator[None]:
    """Move weights of more than one dimension towards the proxy's inside the block, by gamma of their norm."""
    moved = dict(proxy.named_parameters())
    wide = {name: w for name, w in net.named_parameters() if w.ndim > 1}
    with torch.no_grad():
        diff = {name: moved[name] - w for name, w in wide.items()}
        diff = {name: gamma * wide[name].norm() / (d.norm() + 1e-20) * d for name, d in diff.items()}
        for name, w in wide.items():
            w.add_(diff[name])
    yield
    with torch.no_grad():
        for name, w in wide.items():
            w.sub_(diff[name])


def update(optimizer: Optimizer, loss: Tensor) -> None:
    """Take one optimiser step on a loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
