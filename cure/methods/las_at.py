"""LAS-AT: a strategy network learns how each image is to be attacked.

Jia et al., "LAS-AT: Adversarial Training with Learnable Attack Strategy", CVPR 2022. https://arxiv.org/abs/2203.06616

    (eps_i, a_i, K_i) ~ pi(. | x_i);   x'_i = PGD-K_i on CE (LAS-TRADES: KL(f(x) || f(x'))), ball eps_i, step a_i
    L = CE(f(x'), smoothed y);   LAS-TRADES: CE(f(x), y) + beta_i KL(f(x) || f(x')), beta_i chosen too
    LAS-AWP: L at the weights perturbed by methods/parts/awp.py, y not smoothed, x' finally clipped to `outer`
    every `every` steps: minimise -log pi(a | x) (r - b),   r = min(R1, most) + c2 R2 + c3 R3

R1 is the loss on x'. R2 and R3 are the robust and clean accuracy of a copy of the network after one more SGD step on
x'. As released, all use the same batch, so the reward is one positive number for the batch. `baseline` subtracts its
running mean b, which the authors do not. The start is that of `attack`, whatever the image's own eps.
The mean of each chosen action is recorded per epoch. Training radii reach 15/255, so a LAS-AT row is not trained under
an 8/255 constraint.

Deviations. The strategy's trunk has the student's architecture (released: always ResNet-18). It is updated after the
student's step instead of before it. R1 is L in the copy's batch statistics, as its step needs it (released: the plain
CE, on running ones). The released LAS-AWP does not run. The released LAS-TRADES forwards x once; `forward_again` adds
TRADES' second forward.
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from cure.adversarial.pgd import ce_objective, kl_objective, pgd
from cure.core.method import Batch, Companion, Method, Networks, Terms
from cure.core.tensors import Images, PerExample, Tensor
from cure.methods.parts import awp, policy
from cure.methods.parts.lookahead import RewardSettings, lookahead_reward
from cure.methods.parts.policy import Actions, Learning
from cure.nn.losses import cross_entropy, kl, smoothed_cross_entropy
from cure.runtime import distributed
from cure.settings.base import Count, NonNegative, Positive, Radius, Share


class Hyper(RewardSettings, Learning):
    """Settings: the sets of actions and the target's loss; `attack` gives the start, and the attack on the copy."""

    loss: Literal["at", "trades"]
    beta: list[NonNegative]  # for LAS-TRADES; may be empty for the others
    label: Share  # of the true class in the smoothed target; the rest is spread evenly
    forward_again: bool  # LAS-TRADES: TRADES' second f(x)
    gamma: NonNegative  # LAS-AWP: relative size of the weight perturbation
    outer: Radius  # x' is finally clipped to this radius
    eps: Annotated[list[Radius], Field(min_length=1)]
    step: Annotated[list[Positive], Field(min_length=1)]
    steps: Annotated[list[Count], Field(min_length=1)]

    @model_validator(mode="after")
    def _trades_has_beta(self) -> "Hyper":
        if self.loss == "trades" and not self.beta:
            raise ValueError("beta is empty, but LAS-TRADES chooses one of its values; list at least one")
        if self.forward_again and self.loss != "trades":
            raise ValueError(
                f"forward_again is true, but loss is {self.loss}; only TRADES forwards x twice, so set it to false"
            )
        return self


def search(nets: Networks, batch: Batch, hyper: Hyper, actions: Actions) -> Images:
    """Return x' with each image's own radius, step size and number of steps."""
    objective = kl_objective if hyper.loss == "trades" else ce_objective
    each = {"eps": actions["eps"], "step": actions["step"], "steps": actions["steps"].long(), "most": max(hyper.steps)}
    x_adv = pgd(nets.student, batch, hyper.attack, objective, each=each)
    return x_adv.clamp(batch.x - hyper.outer, batch.x + hyper.outer)


def attack(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Any]:
    """Draw actions from the strategy, and attack with them."""
    actions = policy.choose(nets.strategy, batch)
    return {"adv": search(nets, batch, hyper, actions), "actions": actions}


def target_loss(net: nn.Module, batch: Batch, hyper: Hyper, x_adv: Images, actions: Actions) -> PerExample:
    """Return the loss L of each example (n)."""
    if hyper.loss == "at":
        return smoothed_cross_entropy(net(x_adv), batch.y, hyper.label)
    clean, adv = net(batch.x), net(x_adv)
    return cross_entropy(clean, batch.y) + actions["beta"] * kl(clean, adv)


def terms(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return L at the current weights, and the chosen actions with weight zero."""
    actions = batch.points["actions"]
    robust = target_loss(nets.student, batch, hyper, batch.x_adv, actions)
    if hyper.forward_again:
        with torch.no_grad():
            nets.student(batch.x)
    return {"robust": (1.0, robust)} | {f"chosen_{name}": (0.0, value) for name, value in actions.items()}


loss, combine_gradients, restore = awp.perturbing(terms, lambda hyper, _epoch: hyper.gamma)


def reward(nets: Networks, batch: Batch, hyper: Hyper, actions: Actions) -> Tensor:
    """Return the reward r of these actions, one number, from a newly attacked x'."""
    x_adv = search(nets, batch, hyper, actions)

    def on_x_adv(net: nn.Module) -> Tensor:
        return distributed.part(target_loss(net, batch, hyper, x_adv, actions))

    return lookahead_reward(nets.student, batch, on_x_adv, hyper)


def after_step(nets: Networks, batch: Batch, hyper: Hyper) -> None:
    """Restore w from w + v, and update the strategy."""
    restore(nets, batch, hyper)
    policy.learn(nets.strategy, batch, hyper, lambda actions: reward(nets, batch, hyper, actions))


def strategy(hyper: Hyper) -> dict[str, Companion]:
    """Return the strategy network, the one companion."""
    heads = ("eps", "step", "steps", "beta") if hyper.loss == "trades" else ("eps", "step", "steps")
    choices = {head: [float(value) for value in getattr(hyper, head)] for head in heads}
    return {"strategy": policy.companion(choices, hyper)}


METHOD = Method(
    cite="Jia et al. 2022",
    hyper=Hyper,
    loss=loss,
    attack=attack,
    combine_gradients=combine_gradients,
    after_step=after_step,
    companions=strategy,
    reads_parts=True,
)
