"""Read the options of `cure eval` that are written as text."""

from cure.core.network import Normalisation
from cure.errors import UserError


def names(attacks: str | None) -> list[str] | None:
    """Read --attacks clean,pgd20."""
    return None if attacks is None else [name.strip() for name in attacks.split(",") if name.strip()]


def normalisation(mean: str | None, std: str | None) -> Normalisation | None:
    """Read --mean 0.49,0.48,0.45 --std 0.25,0.24,0.26."""
    if (mean is None) != (std is None):
        raise UserError("--mean and --std belong together")
    if mean is None or std is None:
        return None
    try:
        return Normalisation(mean=[float(v) for v in mean.split(",")], std=[float(v) for v in std.split(",")])
    except ValueError:
        raise UserError("--mean and --std are numbers separated by commas, std above 0: 0.49,0.48,0.45") from None


def seconds(budget: str | None) -> float | None:
    """Read 90, 90s, 10m or 2h as seconds."""
    if budget is None:
        return None
    unit = {"s": 1, "m": 60, "h": 3600}.get(budget[-1:])
    try:
        value = float(budget[:-1] if unit else budget) * (unit or 1)
    except ValueError:
        value = 0.0
    if not value > 0 or value == float("inf"):
        raise UserError(f"--budget {budget}: not a time; allowed: 90s, 10m, 2h")
    return value
