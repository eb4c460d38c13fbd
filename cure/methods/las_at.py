"""LAS-AT: a strategy network learns how each image is to be attacked.

Jia et al., "LAS-AT: Adversarial Training with Learnable Attack Strategy", CVPR 2022. https://arxiv.org/abs/2203.06616

    (eps_i, a_i, K_i) ~ pi(. | x_i);   x'_i = PGD-K_i on CE in the eps_i-ball with steps a_i
    L = CE(f(x'), smoothed y);   LAS-TRADES: CE(f(x), y) + beta KL(f(x) || f(x'))
    every `every` steps: minimise -log pi(a | x) r,   r = R1 + c2 R2 + c3 R3

R1 is the loss on x', R2 and R3 the robust and clean accuracy of a copy of the network after one more SGD step on x',
all on the same batch, as released: the reward is one positive number for the batch, without a baseline. The start is
uniform in the ball of `attack.eps` whatever the image's own eps. The mean of each chosen action is kept per epoch.
Training radii reach 15/255, so a LAS-AT row is not trained under an 8/255 constraint.

Deviations: the strategy's trunk has the student's architecture (released: always ResNet-18); LAS-TRADES takes one
beta, not a learned one; the copy is attacked from one start; the strategy is updated by plain SGD.
"""

import copy
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from cure.core.ascent import Maximise, ascend, begin, climb, divergence, error
from cure.core.batchnorm import scope
from cure.core.losses import cross_entropy, kl
from cure.core.method import Batch, Companion, Method, Networks, Terms
from cure.core.network import Network, reinitialised
from cure.core.policy import Policy, reinforce
from cure.core.settings import Count, NonNegative, Positive, Search, Settings, Share
from cure.core.tensors import Images, Labels, Logits, PerExample


class Hyper(Settings):
    """The action sets, the target's loss, and the strategy's reward and update."""

    loss: Literal["at", "trades"]
    beta: NonNegative  # LAS-TRADES
    label: Share  # of the true class in the smoothed target; the rest is spread evenly
    eps: list[Positive]
    step: list[Positive]
    steps: list[Count]
    attack: Search  # the start of the attack, and the attack on the looked-ahead copy
    every: Count  # steps between updates of the strategy
    strategy_lr: NonNegative
    clip: Positive  # of the strategy's gradient norm
    c2: NonNegative
    c3: NonNegative
    weight_decay: NonNegative  # of the copy's step


def smoothed(z: Logits, y: Labels, label: float) -> PerExample:
    """-sum_k t_k log p_k, t = `label` at y and (1 - label)/(k - 1) elsewhere."""
    log_p = F.log_softmax(z, dim=1)
    true = log_p.gather(1, y[:, None])[:, 0]
    return -label * true - (1 - label) / (z.shape[1] - 1) * (log_p.sum(dim=1) - true)


def search(nets: Networks, batch: Batch, hyper: Hyper, actions: dict[str, PerExample]) -> Images:
    """x' under each image's own radius, step size and number of steps."""
    maximise: Maximise = divergence if hyper.loss == "trades" else error
    with scope(nets.student, hyper.attack.bn):
        start = begin(batch.x, hyper.attack, batch.noise)
        objective = maximise(nets.student, batch)
        eps, step, steps = actions["eps"], actions["step"], actions["steps"].long()
        return climb(nets.student, batch.x, start, objective, eps=eps, step=step, steps=steps)


def inner(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Any]:
    """Actions drawn from the strategy, and x' by them."""
    with torch.no_grad(), scope(nets.strategy, "eval"):
        actions, _ = nets.strategy.sample(batch.x, batch.noise)  # type: ignore[operator]
    return {"adv": search(nets, batch, hyper, actions), "actions": actions}


def target_loss(net: nn.Module, batch: Batch, hyper: Hyper, x_adv: Images) -> PerExample:
    """L per example."""
    if hyper.loss == "at":
        return smoothed(net(x_adv), batch.y, hyper.label)
    clean, adv = net(batch.x), net(x_adv)
    return cross_entropy(clean, batch.y) + hyper.beta * kl(clean, adv)


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """L, and the chosen actions, which carry no weight."""
    terms: Terms = {"robust": (1.0, target_loss(nets.student, batch, hyper, batch.x_adv))}
    return terms | {f"chosen_{name}": (0.0, value) for name, value in batch.points["actions"].items()}


def reward(nets: Networks, batch: Batch, hyper: Hyper, x_adv: Images) -> torch.Tensor:
    """r: the loss on x', and what a copy that learnt from x' can do."""
    ahead = copy.deepcopy(nets.student)
    weights = [w for w in ahead.parameters() if w.requires_grad]
    value = target_loss(ahead, batch, hyper, x_adv).mean()
    with torch.no_grad():
        for w, g in zip(weights, torch.autograd.grad(value, weights), strict=True):
            w.sub_(batch.lr * (g + hyper.weight_decay * w))
    attacked = ascend(ahead, batch, hyper.attack.model_copy(update={"bn": "train"}), error)
    with torch.no_grad(), scope(ahead, "eval"):
        robust = (ahead(attacked).argmax(dim=1) == batch.y).to(value.dtype).mean()
        clean = (ahead(batch.x).argmax(dim=1) == batch.y).to(value.dtype).mean()
    gained: torch.Tensor = value.detach().clamp(0, 10 if hyper.loss == "at" else 20)
    gained = gained + hyper.c2 * robust + hyper.c3 * clean
    return gained


def after_step(nets: Networks, batch: Batch, hyper: Hyper) -> None:
    """Every `every` steps: draw anew, look ahead, and reinforce."""
    if batch.step % hyper.every or not hyper.strategy_lr:
        return
    policy = nets.strategy
    policy.requires_grad_(True)
    with scope(policy, "train"):
        actions, log_pi = policy.sample(batch.x, batch.noise)  # type: ignore[operator]
    gain = reward(nets, batch, hyper, search(nets, batch, hyper, actions))
    reinforce(log_pi, gain, list(policy.parameters()), hyper.strategy_lr, hyper.clip)
    policy.requires_grad_(False)


def companions(hyper: Hyper) -> dict[str, Companion]:
    """The strategy network, from weights of its own."""

    def build(student: nn.Module) -> nn.Module:
        assert isinstance(student, Network)
        choices = {"eps": list(hyper.eps), "step": list(hyper.step), "steps": [float(k) for k in hyper.steps]}
        return Policy(reinitialised(student), student.width(), choices)

    return {"strategy": Companion(build)}


METHOD = Method("Jia et al. 2022", Hyper, loss, inner, after_step=after_step, companions=companions)
