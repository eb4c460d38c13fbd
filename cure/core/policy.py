"""A network that chooses from finite sets for each image, and learns from a scalar reward."""

import torch
from torch import nn

from cure.core.network import Network
from cure.core.noise import Noise
from cure.core.tensors import Images, PerExample, Tensor


class Policy(nn.Module):
    """A trunk with one categorical head per kind of action, sampled independently.

    pi(a | x) = prod_h softmax(head_h(features(x)))_{a_h}. `choices` gives each head's values.
    """

    def __init__(self, trunk: Network, width: int, choices: dict[str, list[float]]) -> None:
        super().__init__()
        self.trunk, self.choices = trunk, choices
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in choices.items()})

    def forward(self, x: Images) -> dict[str, Tensor]:
        """Log-probabilities (n, values) of each head."""
        h = self.trunk.features(x, ["pooled"])["pooled"]
        return {name: head(h).log_softmax(dim=1) for name, head in self.heads.items()}

    def sample(self, x: Images, noise: Noise) -> tuple[dict[str, PerExample], PerExample]:
        """An action of every head for every image, and the log-probability of the whole choice."""
        actions, log_pi = {}, torch.zeros_like(x[:, 0, 0, 0])
        for name, log_p in self(x).items():
            u = noise.uniform(x[:, :1, :1, :1], 0.5)[:, :, 0, 0] + 0.5  # inverse transform of one uniform draw
            index = (log_p.detach().exp().cumsum(dim=1) < u).sum(dim=1).clamp(max=log_p.shape[1] - 1)
            actions[name] = torch.tensor(self.choices[name], dtype=x.dtype, device=x.device)[index]
            log_pi = log_pi + log_p.gather(1, index[:, None])[:, 0]
        return actions, log_pi


def reinforce(log_pi: PerExample, reward: Tensor | float, weights: list[nn.Parameter], lr: float, clip: float) -> None:
    """One REINFORCE step: w <- w - lr g, g the gradient of -mean(log pi) * reward, its norm clipped.

    Williams 1992, without a baseline.
    """
    grads = torch.autograd.grad(-(log_pi.mean() * reward), weights, materialize_grads=True)
    norm = torch.sqrt(torch.stack([g.square().sum() for g in grads]).sum())
    scale = lr * (clip / (norm + 1e-6)).clamp(max=1)
    with torch.no_grad():
        for weight, g in zip(weights, grads, strict=True):
            weight.sub_(scale * g)
