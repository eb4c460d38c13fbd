"""What a corruption is: a function of images, a severity 1..5 and noise, with CIFAR-10-C's constants.

Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019;
the constants are those of the CIFAR version. Lengths are in pixels whatever the image size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cure.core.noise import Noise
from cure.core.tensors import Images

Corrupt = Callable[[Images, float, Noise], Images]


@dataclass(frozen=True)
class Corruption:
    """An entry of cure/corruptions: `severities` holds its constant at severity 1, 2, 3, 4, 5."""

    category: Literal["noise", "blur", "weather", "digital"]
    severities: tuple[float, float, float, float, float]
    apply: Corrupt

    def __call__(self, x: Images, severity: int, noise: Noise) -> Images:
        """x in [0, 1], corrupted, clipped and, as in CIFAR-10-C, truncated (not rounded) to 8 bits."""
        y = self.apply(x, self.severities[severity - 1], noise).clamp(0, 1)
        return (y * 255).floor() / 255
