"""Provide the network, a small batch and the forward passes that several preflight checks share."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from cure.nn.losses import cross_entropy, margin
from cure.settings.sections import Preflight

Verdict = tuple[bool | None, str]
FEW = 16
"""Images of the checks that repeat forwards."""
REPEATS = 9
"""For a network that adds one uniform random number per forward pass, the spread of five is too small for the check
`batch` once in 100 times, by chance; that of nine, once in 4,000."""


class PreflightContext:
    """The network, the images and the results that the checks share."""

    def __init__(self, net: nn.Module, x: Tensor, y: Tensor, classes: int, rules: Preflight) -> None:
        self.net, self.given, self.classes, self.rules = net, x, classes, rules
        rows = torch.linspace(0, len(x) - 1, min(len(x), rules.images), device=x.device).round().long()
        self.x, self.y = x[rows] if x.is_floating_point() else x[rows].float(), y[rows.to(y.device)].to(x.device)
        self.few, self.backwards = self.x[:FEW], 0

    @cached_property
    def output(self) -> Any:
        """Return the clean output, and count tensors unpacked meanwhile: they reveal a backward pass in the forward."""

        def asked(tensor: Tensor) -> Tensor:
            self.backwards += 1
            return tensor

        x = self.x.detach().requires_grad_()
        with torch.enable_grad():
            try:
                with saved_tensors_hooks(lambda tensor: tensor, asked):
                    return self.net(x)
            except RuntimeError:
                found = self.net(x)
                self.backwards += 1  # it works without the hooks: torch.func, which differentiates, does not allow them
                return found

    @property
    def z(self) -> Tensor:
        """Return the clean logits."""
        z: Tensor = self.output.detach()
        return z

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits without gradients, as evaluations compute predictions."""
        with torch.no_grad():
            found: Tensor = self.net(x)
        return found.nan_to_num()

    @cached_property
    def repeats(self) -> list[Tensor]:
        """Return the logits (n, k) of several forward passes on the same images."""
        return [self.logits(self.few) for _ in range(REPEATS)]

    @cached_property
    def spread(self) -> float:
        """Return the largest difference between the logits of `repeats`."""
        return max(largest_difference(again, self.repeats[0]) for again in self.repeats[1:])

    @cached_property
    def rounding(self) -> float:
        """Return the largest difference of logits that counts as rounding."""
        return self.rules.rounding * float(self.repeats[0].abs().max().clamp(min=1e-6))

    def gradients(self, x: Tensor) -> dict[str, Tensor]:
        """Return the gradient of each loss to the images."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            z, y = self.net(x), self.y[: len(x)]
            losses = {"CE": cross_entropy(z, y), "the margin": margin(z, y)}
            return {name: torch.autograd.grad(j.sum(), x, retain_graph=True)[0] for name, j in losses.items()}


def largest_difference(a: Tensor, b: Tensor) -> float:
    """Return the largest absolute difference of two tensors."""
    return float((a - b).abs().max())
