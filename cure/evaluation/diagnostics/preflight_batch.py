"""What the lines of the preflight share: a network, a small batch, and forwards that several of them need."""

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
"""Where a forward adds one uniform number, the spread of five is too small for the line `batch` once in 100 times, by
chance; of nine, once in 4,000."""


class PreflightContext:
    """The network, the images and what the checks share."""

    def __init__(self, net: nn.Module, x: Tensor, y: Tensor, classes: int, rules: Preflight) -> None:
        self.net, self.given, self.classes, self.rules = net, x, classes, rules
        rows = torch.linspace(0, len(x) - 1, min(len(x), rules.images), device=x.device).round().long()
        self.x, self.y = x[rows] if x.is_floating_point() else x[rows].float(), y[rows.to(y.device)].to(x.device)
        self.few, self.backwards = self.x[:FEW], 0

    @cached_property
    def output(self) -> Any:
        """The clean output; saved tensors that are asked for meanwhile tell of a backward pass inside the forward."""

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
                self.backwards += 1  # it works unwatched: torch.func, which differentiates, bears no hooks
                return found

    @property
    def z(self) -> Tensor:
        """The clean logits."""
        z: Tensor = self.output.detach()
        return z

    def logits(self, x: Tensor) -> Tensor:
        """Without gradients, as an evaluation asks for predictions."""
        with torch.no_grad():
            found: Tensor = self.net(x)
        return found.nan_to_num()

    @cached_property
    def repeats(self) -> list[Tensor]:
        """Forwards of the same images."""
        return [self.logits(self.few) for _ in range(REPEATS)]

    @cached_property
    def spread(self) -> float:
        """By how much they differ."""
        return max(largest_difference(again, self.repeats[0]) for again in self.repeats[1:])

    @cached_property
    def rounding(self) -> float:
        """By how much logits may differ and still be the same."""
        return self.rules.rounding * float(self.repeats[0].abs().max().clamp(min=1e-6))

    def gradients(self, x: Tensor) -> dict[str, Tensor]:
        """Loss -> its gradient to the images."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            z, y = self.net(x), self.y[: len(x)]
            losses = {"CE": cross_entropy(z, y), "the margin": margin(z, y)}
            return {name: torch.autograd.grad(j.sum(), x, retain_graph=True)[0] for name, j in losses.items()}


def largest_difference(a: Tensor, b: Tensor) -> float:
    """The largest difference of two tensors."""
    return float((a - b).abs().max())
