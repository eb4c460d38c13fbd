"""A network that chooses from finite sets for each image, and learns from a scalar reward.

    pi(a | x) = prod_h softmax(head_h(features(x)))_{a_h};   minimise -mean(log pi(a | x)) (r - b)

Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", 1992.
"""

from collections.abc import Callable

import torch
from torch import nn

from cure.core.method import Batch, Companion
from cure.core.network import Network, reinitialised
from cure.core.noise import Noise
from cure.core.tensors import Images, PerExample, Tensor
from cure.nn.averaging import warmed
from cure.nn.batchnorm import scope
from cure.runtime import distributed
from cure.settings.base import Count, Drops, MethodSettings, Momentum, NonNegative, Positive, Share, at_epoch

Actions = dict[str, PerExample]
Choices = dict[str, list[float]]


class Learning(MethodSettings):
    """Settings: when and how a policy is updated."""

    every: Count  # steps between updates
    strategy_lr: NonNegative  # 0: never
    strategy_drops: Drops
    strategy_momentum: Momentum
    strategy_weight_decay: NonNegative
    clip: Positive  # of the gradient's norm
    baseline: Share | None  # decay of b, a running mean of the rewards that includes the present one; null: b is 0

    @property
    def steps_per_cycle(self) -> int:
        """Return `every`: the policy is updated in the first step of each cycle."""
        return self.every


class Policy(nn.Module):
    """A trunk with one categorical head per kind of action, sampled independently; `choices` are each head's values."""

    def __init__(self, trunk: Network, width: int, choices: Choices) -> None:
        super().__init__()
        self.trunk, self.choices = trunk, choices
        for name, values in choices.items():  # already on the device when they are read, so that nothing waits
            self.register_buffer(f"choices_{name}", torch.tensor(values, dtype=torch.float64), persistent=False)
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in choices.items()})

    def remember(self, how: Learning) -> "Policy":
        """Add the buffers that outlive an update and so belong to the state: velocities and the mean reward."""
        if how.baseline is not None:
            self.register_buffer("mean_reward", torch.zeros(()))
        if how.strategy_momentum:
            for i, weight in enumerate(self.parameters()):
                self.register_buffer(f"velocity{i}", torch.zeros_like(weight))
        return self

    def forward(self, x: Images) -> dict[str, Tensor]:
        """Return the log-probabilities (n, values) of each head."""
        h = self.trunk.features(x, ["pooled"])["pooled"]
        return {name: head(h).to(h.dtype).log_softmax(dim=1) for name, head in self.heads.items()}

    def sample(self, x: Images, noise: Noise) -> tuple[Actions, PerExample]:
        """Draw an action of every head for every image; return them and the log-probability of the whole choice."""
        actions, log_pi = {}, torch.zeros_like(x[:, 0, 0, 0])
        for name, log_p in self(x).items():
            u = noise.uniform(x[:, :1, :1, :1], 0.5)[:, :, 0, 0] + 0.5  # inverse transform of one uniform draw
            index = (cumulative(log_p.detach().exp()) < u).sum(dim=1).clamp(max=log_p.shape[1] - 1)
            actions[name] = self.get_buffer(f"choices_{name}").to(x.dtype)[index]
            log_pi = log_pi + log_p.gather(1, index[:, None])[:, 0]
        return actions, log_pi


def cumulative(p: Tensor) -> Tensor:
    """Return the cumulative sums of each row (n, k); cumsum has no deterministic kernel on CUDA."""
    return (p[:, None] * p.new_ones(p.shape[1], p.shape[1]).tril()).sum(dim=2)


def reinforce(policy: Policy, log_pi: PerExample, reward: Tensor | float, how: Learning, lr: float) -> None:
    """Take one SGD step along the gradient of -mean(log pi) * reward, with its norm clipped."""
    weights = list(policy.parameters())
    grads = distributed.mean(torch.autograd.grad(-(distributed.part(log_pi) * reward), weights, materialize_grads=True))
    norm = torch.sqrt(torch.stack([g.square().sum() for g in grads]).sum())
    scale = lr * (how.clip / (norm + 1e-6)).clamp(max=1)
    with torch.no_grad():
        for i, (weight, g) in enumerate(zip(weights, grads, strict=True)):
            move = scale * g
            if how.strategy_weight_decay:
                move = move + lr * how.strategy_weight_decay * weight
            if how.strategy_momentum:
                move = lr * policy.get_buffer(f"velocity{i}").mul_(how.strategy_momentum).add_(move / lr)
            weight.sub_(move)


def advantage(policy: Policy, reward: Tensor, updates: int, decay: float | None) -> Tensor:
    """Return r - b after this many updates; b starts as a plain mean, so that it forgets its initial value."""
    if decay is None:
        return reward
    mean = policy.get_buffer("mean_reward")
    return reward - mean.lerp_(reward.to(mean.dtype), 1 - warmed(decay, updates))


def choose(policy: nn.Module, batch: Batch) -> Actions:
    """Draw actions for the images of a batch, on running statistics."""
    with torch.no_grad(), scope(policy, "eval"):
        actions: Actions = policy.sample(batch.x, batch.noise)[0]  # type: ignore[operator]
    return actions


def learn(policy: nn.Module, batch: Batch, how: Learning, reward: Callable[[Actions], Tensor]) -> None:
    """Draw new actions every `how.every` steps, compute their reward, and reinforce."""
    position = batch.position
    if position.step % how.every or not how.strategy_lr:
        return
    assert isinstance(policy, Policy)
    policy.requires_grad_(True)
    with scope(policy, "train"):
        actions, log_pi = policy.sample(batch.x, batch.noise)
    gain = advantage(policy, reward(actions), position.step // how.every, how.baseline)
    reinforce(policy, log_pi, gain, how, how.strategy_lr * at_epoch(how.strategy_drops, position.epoch, 1.0))
    policy.requires_grad_(False)


def companion(choices: Choices, how: Learning) -> Companion:
    """Return a policy whose trunk has the student's architecture and its own weights."""

    def build(student: nn.Module) -> nn.Module:
        assert isinstance(student, Network)
        return Policy(reinitialised(student), student.width(), choices).remember(how)

    return Companion(build)
