"""ST-AT (squeeze training): bring the two extremes of the ball together.

Li et al., "Squeeze Training for Adversarial Robustness", ICLR 2023. https://arxiv.org/abs/2205.11156

    L    = CE(f(x), y) + beta J(U, L)
    J    = 1/2 [ KL(sg p_L || p_U) + KL(sg p_U || p_L) ]
    U, L = of {x, x_col, x_adv} the point with the lowest and the one with the highest true-class probability

x_adv and x_col both maximise J, each stepping from whichever point has its role. Batch statistics are used everywhere;
only the last forwards of x and of x_adv move the running ones. The clean logits of the search are computed once. The
released code computes them at every step, with the same batch, weights and values. The released code does not exchange
points in a step in which no example needs x. Here points and gradients are always exchanged together.
"""

import torch
from torch import nn

from cure.adversarial.cuda_graphs import Inputs, ascended
from cure.adversarial.pgd import begin
from cure.core.method import Batch, Method, Networks, Terms
from cure.core.tensors import Images, Labels, Logits, PerExample, Tensor
from cure.nn.batchnorm import scope
from cure.nn.losses import cross_entropy, kl
from cure.settings.base import MethodSettings, NonNegative, Search


class Hyper(MethodSettings):
    """Settings: beta, and the search (whose batch-norm scope is `batch`)."""

    beta: NonNegative
    attack: Search


def extremes(z: Tensor, y: Labels) -> tuple[Labels, Labels]:
    """Return which point of stacked logits (3, n, k) has the lowest and which the highest probability of the label."""
    true = z.detach().softmax(dim=2).gather(2, y[None, :, None].expand(len(z), -1, 1))[..., 0]
    return true.argmin(dim=0), true.argmax(dim=0)


def pick(points: Tensor, role: Labels) -> Tensor:
    """Return points[role[i], i] for every example i."""
    return points[role, torch.arange(len(role), device=role.device)]


def discrepancy(lowest: Logits, highest: Logits) -> PerExample:
    """Return J (n); each of its two KL terms has gradients on one side only."""
    return 0.5 * (kl(highest.detach(), lowest) + kl(lowest.detach(), highest))


def attack(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Images]:
    """Return x_adv and x_col, from two independent starts (x_adv draws first)."""
    search, kind = hyper.attack, None if batch.watch else tuple(hyper.attack)

    def ascent(t: Inputs) -> Tensor:
        x, col, adv = t["x"].clone().requires_grad_(), t["col"], t["adv"]
        low, high = (t["x"] - search.eps).clamp(min=0), (t["x"] + search.eps).clamp(max=1)
        clean = nets.student(x)
        for _ in range(search.steps):
            points = [x, col.detach().requires_grad_(), adv.detach().requires_grad_()]
            col, adv = squeeze_step(nets.student, points, clean, t["y"], batch, search.step)
            col, adv = col.clamp(low, high), adv.clamp(low, high)
        return torch.stack([adv, col])

    starts = {name: begin(batch.x, search, batch.noise) for name in ("adv", "col")}
    with scope(nets.student, search.bn):
        adv, col = ascended(nets.student, kind, {"x": batch.x, "y": batch.y, **starts}, ascent)
    return {"adv": adv, "col": col}


def squeeze_step(
    net: nn.Module, points: list[Images], clean: Logits, y: Labels, batch: Batch, step: float
) -> tuple[Images, Images]:
    """Take one ascent step on J of the points with the roles L (collaborative) and U (adversarial)."""
    z = torch.stack([clean, net(points[1]), net(points[2])])
    lowest, highest = extremes(z, y)
    value = discrepancy(pick(z, lowest), pick(z, highest)).sum()
    g = torch.stack(torch.autograd.grad(value, points, retain_graph=True))
    batch.show("roles", (lowest, highest))
    with torch.no_grad():
        moved = torch.stack(points) + step * g.sign()
        return pick(moved, highest), pick(moved, lowest)


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return CE(f(x), y) + beta J; x_col is forwarded first, without moving running statistics."""
    with scope(nets.student, hyper.attack.bn):
        col = nets.student(batch.points["col"])
    clean, adv = nets.student(batch.x), nets.student(batch.x_adv)
    z = torch.stack([clean, col, adv])
    lowest, highest = extremes(z, batch.y)
    batch.show("roles", (lowest, highest))
    squeeze = discrepancy(pick(z, lowest), pick(z, highest))
    return {"natural": (1.0, cross_entropy(clean, batch.y)), "squeeze": (hyper.beta, squeeze)}


METHOD = Method(
    cite="Li et al. 2023",
    hyper=Hyper,
    loss=loss,
    attack=attack,
    shows=("roles",),
)
