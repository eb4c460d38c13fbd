"""The smallest perturbation that changes a prediction: FMN in the L-inf norm, DDN in the L2 norm.

Both step along the normalised gradient with a step a_k that falls from a to a/100 on half a cosine. They keep the
iterate in a ball around x whose radius shrinks while it is adversarial and grows while it is not. The smallest
adversarial iterate is returned, or x itself if there was none.
"""

import math
from collections.abc import Callable

import torch
from torch import nn

from cure.core.attack import distance
from cure.core.tensors import Flags, Images, Labels, Logits, PerExample, Tensor
from cure.nn.losses import cross_entropy, margin
from cure.settings.base import Norm

Loss = Callable[[Logits, Labels], PerExample]


def fmn(net: nn.Module, x: Images, y: Labels, *, steps: int, step: float, gamma: float) -> Images:
    """Search with Fast Minimum Norm, L-inf. Pintor et al., NeurIPS 2021, Algorithm 1; L is the logit margin.

    e = ||d||_inf + |L| / ||grad L||_1 until adversarial once; then e (1 + g_k), or, while adversarial, e (1 - g_k)
    and at most the smallest norm found
    d = clip(d + a_k grad L / ||grad L||_2, to [-e, e] and to the images)
    """
    e, found = torch.full_like(x[:, 0, 0, 0], math.inf), torch.zeros_like(y, dtype=torch.bool)

    def move(k: int, d: Tensor, loss: PerExample, g: Tensor, adversarial: Flags, smallest: PerExample) -> Tensor:
        nonlocal e, found
        found, gamma_k = found | adversarial, _falling(k, steps, gamma, 0.001)
        reach = d.flatten(1).abs().amax(1) + loss.abs() / g.flatten(1).abs().sum(1).clamp(min=1e-12)
        e = torch.where(
            adversarial, (e * (1 - gamma_k)).minimum(smallest), torch.where(found, e * (1 + gamma_k), reach)
        )
        e = e.minimum(_farthest(x, "linf"))
        return (d + _falling(k, steps, step, step / 100) * _unit(g)).clamp(-_per_pixel(e), _per_pixel(e))

    return _shortest(net, x, y, steps, margin, "linf", move)


def ddn(net: nn.Module, x: Images, y: Labels, *, steps: int, step: float, gamma: float, radius: float) -> Images:
    """Search with Decoupled Direction and Norm, L2. Rony et al., CVPR 2019, Algorithm 1, not quantised; e_0 = `radius`.

    d = e u / ||u||_2,   u = d + a_k grad CE / ||grad CE||_2,   e = e (1 - g) while adversarial, else e (1 + g)
    """
    e = torch.full_like(x[:, 0, 0, 0], radius)

    def move(k: int, d: Tensor, loss: PerExample, g: Tensor, adversarial: Flags, smallest: PerExample) -> Tensor:
        nonlocal e
        e = torch.where(adversarial, e * (1 - gamma), e * (1 + gamma)).minimum(_farthest(x, "l2"))
        return _per_pixel(e) * _unit(d + _falling(k, steps, step, step / 100) * _unit(g))

    return _shortest(net, x, y, steps, cross_entropy, "l2", move)


def _shortest(
    net: nn.Module, x: Images, y: Labels, steps: int, loss: Loss, norm: Norm, move: Callable[..., Tensor]
) -> Images:
    best, smallest, x_adv = x, _farthest(x, norm), x
    for k in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        z = net(x_adv)
        value = loss(z, y)
        (g,) = torch.autograd.grad(value.sum(), x_adv)
        with torch.no_grad():
            adversarial, length = z.argmax(1) != y, distance(x_adv, x, norm)
            shorter = adversarial & (length <= smallest)
            best, smallest = torch.where(_per_pixel(shorter), x_adv, best), torch.where(shorter, length, smallest)
            x_adv = (x + move(k, x_adv - x, value, g, adversarial, smallest)).clamp(0, 1)
    return best.detach()


def _farthest(x: Images, norm: Norm) -> PerExample:
    """Return the distance to the farthest corner of the unit cube."""
    return distance(torch.maximum(x, 1 - x), torch.zeros_like(x), norm)


def _falling(k: int, steps: int, start: float, end: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * k / steps)) / 2


def _unit(v: Tensor) -> Tensor:
    return v / _per_pixel(v.flatten(1).norm(dim=1).clamp(min=1e-12))


def _per_pixel(value: Tensor) -> Tensor:
    return value[:, None, None, None]
