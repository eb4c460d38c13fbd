"""The one number that the CURE tables add to accuracies."""


def nrr(natural: float, robust: float) -> float:
    """Natural-robustness ratio 2 n r / (n + r) of two accuracies in the same unit. Gowda et al. 2024, Eq. (9)."""
    return 2 * natural * robust / (natural + robust) if natural + robust else 0.0
