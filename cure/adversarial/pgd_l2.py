"""Projected gradient ascent in the L2 ball, for evaluations.

    x_{k+1} = clip(P(x_k + a g / ||g||_2), to [0, 1]),   g = grad J(x_k),
    P(v) = x + (v - x) min(1, eps / ||v - x||_2)

Madry et al., ICLR 2018. Images are clipped last: x is in [0, 1], so clipping shortens v - x and never leaves the ball.
An image whose gradient is zero does not move. The last iterate is returned; no iterate is chosen by its loss.
"""

import torch
from torch import nn

from cure.adversarial.pgd import ObjectiveOf, StopOf, pgd
from cure.core.method import Batch
from cure.core.noise import Noise
from cure.core.tensors import Images, Tensor
from cure.nn.batchnorm import scope
from cure.nn.folding.folded_copy import current_folded_copy
from cure.settings.base import L2Search, Search


def pgd_in_ball(
    net: nn.Module, batch: Batch, search: Search | L2Search, objective: ObjectiveOf, *, stop: StopOf | None = None
) -> Images:
    """Attack with PGD in the ball of `search`, L-inf or L2, and return the last iterate."""
    if isinstance(search, L2Search):
        return pgd_l2(net, batch, search, objective, stop=stop)
    return pgd(net, batch, search, objective, stop=stop)


def pgd_l2(
    net: nn.Module, batch: Batch, search: L2Search, objective: ObjectiveOf, *, stop: StopOf | None = None
) -> Images:
    """Attack in eval mode and return the last iterate; an image ends early at the first iterate that `stop` accepts."""
    with scope(net, "eval"):
        attacked = current_folded_copy(net, batch.x)
        of_logits, ends = objective(attacked, batch), stop(batch) if stop else None
        x, x_adv = batch.x, start(batch.x, search, batch.noise)
        live = torch.ones_like(batch.y, dtype=torch.bool)
        for _ in range(search.steps):
            x_adv = x_adv.detach().requires_grad_()
            z = attacked(x_adv)
            (g,) = torch.autograd.grad(of_logits(z).sum(), x_adv)
            with torch.no_grad():
                live = live if ends is None else live & ~ends(z.detach())
                moved = projected(x_adv + search.step * direction(g), x, search.eps)
                x_adv = torch.where(live[:, None, None, None], moved, x_adv)
            if ends is not None and not bool(live.any()):
                break
        return x_adv.detach().clamp(0, 1)  # an image that never stepped is still at its start


def start(x: Images, search: L2Search, noise: Noise) -> Images:
    """Return x itself, or a uniform point of the ball of d values: at distance eps u^(1/d), u uniform in [0, 1]."""
    if search.start == "zero":
        return x
    u = noise.uniform(x[:, :1, :1, :1], 1.0).abs()
    x_adv = x + search.eps * u ** (1 / x[0].numel()) * direction(noise.normal(x, 1.0))
    return x_adv.clamp(0, 1) if search.clip_start else x_adv


def projected(v: Images, x: Images, eps: float) -> Images:
    """Return the nearest point of the L2 ball around x in [0, 1], then the nearest image."""
    change = v - x
    return (x + change * (eps / _length(change)).clamp(max=1)).clamp(0, 1)


def direction(g: Tensor) -> Tensor:
    """Return g / ||g||_2 of each image, 0 where g is 0; it is first divided by its largest value, against underflow."""
    largest = g.flatten(1).abs().amax(1)[:, None, None, None]
    g = g / torch.where(largest > 0, largest, 1.0)
    return g / _length(g).clamp(min=1)  # below 1 only if all are zero


def _length(v: Tensor) -> Tensor:
    length: Tensor = v.flatten(1).norm(dim=1)
    return length[:, None, None, None]
