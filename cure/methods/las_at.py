"""LAS-AT: a strategy network learns how each image is to be attacked.

Jia et al., "LAS-AT: Adversarial Training with Learnable Attack Strategy", CVPR 2022. https://arxiv.org/abs/2203.06616

    (eps_i, a_i, K_i) ~ pi(. | x_i);   x'_i = PGD-K_i on CE in the eps_i-ball with steps a_i
    L = CE(f(x'), smoothed y);   LAS-TRADES: CE(f(x), y) + beta_i KL(f(x) || f(x')), beta_i chosen too
    LAS-AWP: L at the perturbed weights of core/awp.py, y not smoothed, x' finally clipped to the threat's radius
    every `every` steps: minimise -log pi(a | x) r,   r = R1 + c2 R2 + c3 R3

R1 is the loss on x', R2 and R3 the robust and clean accuracy of a copy of the network after one more SGD step on x',
all on the same batch, as released: the reward is one positive number for the batch, without a baseline. The start is
uniform in the ball of `attack.eps` whatever the image's own eps. The mean of each chosen action is kept per epoch.
Training radii reach 15/255, so a LAS-AT row is not trained under an 8/255 constraint.

Deviations: the strategy's trunk has the student's architecture (released: always ResNet-18); the copy is attacked from
one start; the strategy is updated by plain SGD (released LAS-TRADES: with momentum). The released LAS-AWP does not run.
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from cure.core import awp
from cure.core.ascent import Maximise, ascend, begin, climb, divergence, error
from cure.core.batchnorm import scope
from cure.core.gradients import gradients, objective
from cure.core.lookahead import ahead
from cure.core.losses import cross_entropy, kl, smoothed_cross_entropy
from cure.core.method import Batch, Companion, Gradients, Means, Method, Networks, Terms
from cure.core.network import Network, reinitialised
from cure.core.policy import Policy, reinforce
from cure.core.settings import Count, NonNegative, Positive, Search, Settings, Share
from cure.core.tensors import Images, PerExample

Actions = dict[str, PerExample]


class Hyper(Settings):
    """The action sets, the target's loss, and the strategy's reward and update."""

    loss: Literal["at", "trades"]
    beta: list[NonNegative]  # LAS-TRADES; may be empty for the others
    label: Share  # of the true class in the smoothed target; the rest is spread evenly
    gamma: NonNegative  # LAS-AWP: relative size of the weight perturbation
    outer: Positive  # x' is finally clipped to this radius
    eps: Annotated[list[Positive], Field(min_length=1)]
    step: Annotated[list[Positive], Field(min_length=1)]
    steps: Annotated[list[Count], Field(min_length=1)]
    attack: Search  # the start of the attack, and the attack on the looked-ahead copy
    every: Count  # steps between updates of the strategy
    strategy_lr: NonNegative
    clip: Positive  # of the strategy's gradient norm
    c2: NonNegative
    c3: NonNegative
    weight_decay: NonNegative  # of the copy's step

    @model_validator(mode="after")
    def _trades_has_beta(self) -> "Hyper":
        if self.loss == "trades" and not self.beta:
            raise ValueError("beta has no value, but LAS-TRADES chooses among them")
        return self


def search(nets: Networks, batch: Batch, hyper: Hyper, actions: Actions) -> Images:
    """x' under each image's own radius, step size and number of steps."""
    maximise: Maximise = divergence if hyper.loss == "trades" else error
    with scope(nets.student, hyper.attack.bn):
        start = begin(batch.x, hyper.attack, batch.noise)
        eps, step, steps = actions["eps"], actions["step"], actions["steps"].long()
        x_adv = climb(nets.student, batch.x, start, maximise(nets.student, batch), eps=eps, step=step, steps=steps)
    return x_adv.clamp(batch.x - hyper.outer, batch.x + hyper.outer)


def inner(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Any]:
    """Actions drawn from the strategy, and x' by them."""
    with torch.no_grad(), scope(nets.strategy, "eval"):
        actions, _ = nets.strategy.sample(batch.x, batch.noise)  # type: ignore[operator]
    return {"adv": search(nets, batch, hyper, actions), "actions": actions}


def target_loss(net: nn.Module, batch: Batch, hyper: Hyper, x_adv: Images, actions: Actions) -> PerExample:
    """L per example."""
    if hyper.loss == "at":
        return smoothed_cross_entropy(net(x_adv), batch.y, hyper.label)
    clean, adv = net(batch.x), net(x_adv)
    return cross_entropy(clean, batch.y) + actions["beta"] * kl(clean, adv)


def robust_term(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """L of the student at the weights as they are."""
    return {"robust": (1.0, target_loss(nets.student, batch, hyper, batch.x_adv, batch.points["actions"]))}


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """L, and the chosen actions, which carry no weight."""
    terms = (
        awp.ahead_of_perturbing(nets, lambda: robust_term(nets, batch, hyper))
        if hyper.gamma
        else robust_term(nets, batch, hyper)
    )
    return terms | {f"chosen_{name}": (0.0, value) for name, value in batch.points["actions"].items()}


def combine(nets: Networks, batch: Batch, hyper: Hyper, means: Means) -> Gradients:
    """grad L, for LAS-AWP at the perturbed weights."""
    if not hyper.gamma:
        return gradients(objective(means), nets.weights())
    return awp.perturbed_gradient(nets, batch, lambda: robust_term(nets, batch, hyper), means, hyper.gamma)


def reward(nets: Networks, batch: Batch, hyper: Hyper, actions: Actions) -> torch.Tensor:
    """r: the loss on x', and what a copy that learnt from x' can do."""
    x_adv = search(nets, batch, hyper, actions)

    def on_x_adv(net: nn.Module) -> torch.Tensor:
        return target_loss(net, batch, hyper, x_adv, actions).mean()

    copied, value = ahead(nets.student, on_x_adv, batch.lr, hyper.weight_decay)
    attacked = ascend(copied, batch, hyper.attack.model_copy(update={"bn": "train"}), error)
    with torch.no_grad(), scope(copied, "eval"):
        robust, clean = ((copied(x).argmax(dim=1) == batch.y).to(value.dtype).mean() for x in (attacked, batch.x))
    r: torch.Tensor = value.clamp(0, 10 if hyper.loss == "at" else 20) + hyper.c2 * robust + hyper.c3 * clean
    return r


def after_step(nets: Networks, batch: Batch, hyper: Hyper) -> None:
    """Every `every` steps: draw anew, look ahead, and reinforce."""
    awp.restore(batch)
    if batch.step % hyper.every or not hyper.strategy_lr:
        return
    policy = nets.strategy
    policy.requires_grad_(True)
    with scope(policy, "train"):
        actions, log_pi = policy.sample(batch.x, batch.noise)  # type: ignore[operator]
    gain = reward(nets, batch, hyper, actions)
    reinforce(log_pi, gain, list(policy.parameters()), hyper.strategy_lr, hyper.clip)
    policy.requires_grad_(False)


def companions(hyper: Hyper) -> dict[str, Companion]:
    """The strategy network, from weights of its own."""

    def build(student: nn.Module) -> nn.Module:
        assert isinstance(student, Network)
        choices = {"eps": list(hyper.eps), "step": list(hyper.step), "steps": [float(k) for k in hyper.steps]}
        choices |= {"beta": list(hyper.beta)} if hyper.loss == "trades" else {}
        return Policy(reinitialised(student), student.width(), choices)

    return {"strategy": Companion(build)}


METHOD = Method("Jia et al. 2022", Hyper, loss, inner, combine, after_step, companions)
