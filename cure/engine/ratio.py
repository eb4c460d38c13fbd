"""Numbers on top of accuracies: the natural-robustness ratio, and how far a count of images can be trusted."""

from math import sqrt

NORMAL_95 = 1.959963984540054  # two-sided


def nrr(natural: float, robust: float) -> float:
    """Natural-robustness ratio 2 n r / (n + r) of two accuracies in the same unit. Gowda et al. 2024, Eq. (9)."""
    return 2 * natural * robust / (natural + robust) if natural + robust else 0.0


def wilson(hits: int, images: int) -> tuple[float, float]:
    """The 95 % score interval of a share hits/images, both ends in [0, 1]. Wilson, JASA 1927."""
    z2 = NORMAL_95**2 / images
    middle, half = hits / images + z2 / 2, sqrt(z2 * (hits / images * (1 - hits / images) + z2 / 4))
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))
