"""CURE_Eff: CURE without a separate pre-training; natural epochs come first, inside the same budget.

Gowda, Zonooz, Arani, ICLR 2024, Appendix B. https://arxiv.org/abs/2401.14948

    epoch < begin:   L = CE(f(x), y)
    epoch = begin:   theta_rev <- theta
    epoch >= begin:  CURE's loop, Eqs. (4) to (8), under the same optimiser and learning-rate schedule

The epochs and steps of the revision (its warm-up and the rule of its rate) count from `begin`. Masked weights still
move by momentum, which the natural epochs have filled, and by weight decay (`apply`).

The preset `official` holds the deviations of the released script from its paper: the |grad L| score with alpha inside
the objective, and no revision, since the script makes the revision network an alias of the student. That alias also
shrinks the student's weights at every revision, which is not imitated.
"""

from dataclasses import replace

from cure.core.method import Batch, Gradients, Means, Method, Networks, Terms
from cure.core.tensors import Images
from cure.methods.parts import cure_loop
from cure.methods.parts.cure_loop import CureLoop
from cure.methods.parts.revision import Revise, companions, select_network
from cure.methods.parts.rgp import masked_gradient
from cure.nn.losses import cross_entropy
from cure.settings.base import DelayedSettings


class Hyper(CureLoop, DelayedSettings):
    """Settings of CURE's loop, alpha included; `begin` is its first epoch."""


def natural(batch: Batch, hyper: Hyper) -> bool:
    """Return whether this step belongs to the natural epochs."""
    return batch.position.epoch < hyper.begin


def since_begin(batch: Batch, hyper: Hyper) -> Batch:
    """Return the batch with epochs and steps counted from `begin`, as CURE's loop expects them."""
    now, before = batch.position, hyper.begin - 1
    position = replace(now, epoch=now.epoch - before, step=now.step - before * now.steps_per_epoch)
    return replace(batch, position=position)


def attack(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Images]:
    """Return x' from epoch `begin` on, where the revision network starts as a copy of the student."""
    if natural(batch, hyper):
        return {}
    if since_begin(batch, hyper).position.step == 0:
        nets.revision.load_state_dict(nets.student.state_dict())
    return cure_loop.attack(nets, batch, hyper)


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return CE(f(x), y), from `begin` on L."""
    if natural(batch, hyper):
        return {"natural": (1.0, cross_entropy(nets.student(batch.x), batch.y))}
    return cure_loop.loss(nets, batch, hyper)


def combine_gradients(nets: Networks, batch: Batch, hyper: Hyper, means: Means) -> Gradients | None:
    """Return grad L masked in CURE's loop; None (plain backward pass) before `begin`."""
    return None if natural(batch, hyper) else masked_gradient(nets, batch, hyper, means)


def after_step(nets: Networks, batch: Batch, hyper: Hyper) -> None:
    """Apply Eq. (7), with steps counted from `begin`."""
    if not natural(batch, hyper):
        cure_loop.after_step(nets, since_begin(batch, hyper), hyper)


METHOD = Method(
    cite="Gowda et al. 2024, Appendix B",
    hyper=Hyper,
    loss=loss,
    attack=attack,
    combine_gradients=combine_gradients,
    after_step=after_step,
    companions=companions,
    select_network=select_network,
    revise=Revise,
    shows=("rgp",),
)
