"""Follow the path of an attack: PGD that ends at its first adversarial iterate and records the margins.

The margin of an iterate is max_{k != y} z_k - z_y. The attack ascends the cross-entropy as PGD does. A saturated
cross-entropy rounds to zero and the margin does not, so the margin shows whether the attack made progress.
"""

import torch
from torch import nn

from cure.adversarial.pgd import misclassified
from cure.adversarial.pgd_l2 import pgd_in_ball
from cure.adversarial.pgd_loop import Objective
from cure.core.method import Batch
from cure.core.tensors import Flags, Images, Logits, PerExample, Tensor
from cure.evaluation.diagnostics.check import Check, more_than
from cure.nn.losses import cross_entropy, margin
from cure.settings.base import L2Search, Norm, Search
from cure.settings.sections import Masking

MARGINS = "margins"


def first_adversarial(net: nn.Module, batch: Batch, search: Search | L2Search) -> Images:
    """Return the first adversarial iterate of PGD, or the last iterate if there is none.

    It shows the margins before each step (n, steps) as `margins`. An image that has ended keeps its last margin.
    """
    margins = list[Tensor]()

    def objective(_: nn.Module, still: Batch) -> Objective:
        def noted(z: Logits) -> PerExample:
            margins.append(margin(z.detach(), still.y))
            return cross_entropy(z, still.y)

        return noted

    x_adv = pgd_in_ball(net, batch, search, objective, stop=misclassified)
    margins += margins[-1:] * (search.steps - len(margins))  # no pass is spent once every image has ended
    batch.show(MARGINS, torch.stack(margins, 1).float())
    return x_adv


USUAL: dict[Norm, float] = {"linf": 8 / 255, "l2": 0.5}
"""The radius of most threat models; a network may withstand several of a much smaller one."""


def convergence(margins: Tensor, eps: float, rules: Masking, norm: Norm = "linf") -> list[Check]:
    """Return the checks `converged` and `progress`, from the margins (n, steps) of images that survived the attack.

    An attack can raise a margin less if its radius is smaller, so the threshold for a rise falls with the radius. A
    check is red if the share of odd images exceeds `rules.exceptions`, by the exact binomial test too.
    """
    steps = margins.shape[1]
    late = steps // 4
    best = margins.cummax(1).values
    rise = best[:, -1] - margins[:, 0]
    moving = best[:, -1] - best[:, -1 - late] > rules.late_rise * rise
    stuck = rise <= rules.least_rise * min(1.0, eps / USUAL[norm]) * margins[:, 0].abs()
    return [
        _line("converged", moving, f"the margin still rises in the last {late} of {steps} steps", rules, UNFINISHED),
        _line("progress", stuck, f"{steps} steps do not raise the margin", rules, STUCK),
    ]


def _line(name: str, odd: Flags, what: str, rules: Masking, advice: str) -> Check:
    seen, images = int(odd.sum()), len(odd)
    red = more_than(rules.exceptions, seen, images, rules.level)
    return Check(name, not red, f"{what} on {seen} of {images} images that survive", advice)


UNFINISHED = "the attack has not converged: use more or larger steps, or AutoAttack"
STUCK = "the gradients are zero or misleading: find what hides them and attack through it"
