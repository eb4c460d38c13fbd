"""Compute the natural-robustness ratio, and 95 % intervals of accuracies and ratios."""

from math import hypot, sqrt

NORMAL_95 = 1.959963984540054  # two-sided


def nrr(natural: float, robust: float) -> float:
    """Return the natural-robustness ratio 2 n r / (n + r) of two accuracies in one unit. Gowda et al. 2024, Eq. (9)."""
    return 2 * natural * robust / (natural + robust) if natural + robust else 0.0


def wilson(hits: int, images: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share hits/images, both ends in [0, 1]. Wilson, JASA 1927."""
    z2 = NORMAL_95**2 / images
    middle, half = hits / images + z2 / 2, sqrt(z2 * (hits / images * (1 - hits / images) + z2 / 4))
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))


def nrr_interval(clean: int, robust: int, images: int) -> tuple[float, float]:
    """Return a 95 % interval of the NRR: of `images`, `clean` are correct, and `robust` of these also under attack.

    NRR = 2 n s / (1 + s) rises with clean accuracy n and with the share s of clean-correct images that survive. Both
    are estimated independently (a trinomial factors into two binomials). So the distances from NRR to its values at the
    ends of the Wilson intervals of n and of s add up in squares. MOVER: Zou and Donner, Statistics in Medicine 2008.
    """

    def at(n: float, s: float) -> float:
        return 2 * n * s / (1 + s)

    n_low, n_high = wilson(clean, images)
    if not clean:  # s is unknown
        return 0.0, n_high
    robust = min(robust, clean)  # for a network that draws at random, more images may survive than were correct
    s_low, s_high = wilson(robust, clean)
    n, s = clean / images, robust / clean
    middle = at(n, s)
    below = hypot(middle - at(n_low, s), middle - at(n, s_low))
    above = hypot(at(n_high, s) - middle, at(n, s_high) - middle)
    return max(0.0, middle - below), min(1.0, middle + above)
