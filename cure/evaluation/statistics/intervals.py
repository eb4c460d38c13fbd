"""Numbers on top of accuracies: the natural-robustness ratio, and how far a count of images can be trusted."""

from math import hypot, sqrt

NORMAL_95 = 1.959963984540054  # two-sided


def nrr(natural: float, robust: float) -> float:
    """Natural-robustness ratio 2 n r / (n + r) of two accuracies in the same unit. Gowda et al. 2024, Eq. (9)."""
    return 2 * natural * robust / (natural + robust) if natural + robust else 0.0


def wilson(hits: int, images: int) -> tuple[float, float]:
    """The 95 % score interval of a share hits/images, both ends in [0, 1]. Wilson, JASA 1927."""
    z2 = NORMAL_95**2 / images
    middle, half = hits / images + z2 / 2, sqrt(z2 * (hits / images * (1 - hits / images) + z2 / 4))
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))


def nrr_interval(clean: int, robust: int, images: int) -> tuple[float, float]:
    """A 95 % interval of the NRR of `images`, of which `clean` are correct and of these `robust` under attack as well.

    NRR = 2 n s / (1 + s) rises with clean accuracy n and with the share s of clean-correct images that survive. The two
    are estimated independently (a trinomial factors into two binomials), so the ways from NRR to its values at the ends
    of the Wilson intervals of n and of s add up in squares. MOVER: Zou and Donner, Statistics in Medicine 2008.
    """

    def at(n: float, s: float) -> float:
        return 2 * n * s / (1 + s)

    n_low, n_high = wilson(clean, images)
    if not clean:  # nothing is known of s
        return 0.0, n_high
    robust = min(robust, clean)  # of a network that draws at random, more may survive than were correct
    s_low, s_high = wilson(robust, clean)
    n, s = clean / images, robust / clean
    middle = at(n, s)
    below = hypot(middle - at(n_low, s), middle - at(n, s_low))
    above = hypot(at(n_high, s) - middle, at(n, s_high) - middle)
    return max(0.0, middle - below), min(1.0, middle + above)
