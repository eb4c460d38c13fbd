"""Summarise one network's accuracies in a few words, and compute the mean under corruptions."""

from collections.abc import Iterable

from cure.evaluation.statistics.headings import headings
from cure.evaluation.statistics.results import AttackResult, CorruptResult


def attack_summary(result: AttackResult, columns: Iterable[str]) -> str:
    """Return the accuracies of these columns in percent, such as `clean 95.6, PGD-20 75.0`."""
    titled, shares = headings([result]), result.shares()
    return ", ".join(f"{name if name == 'clean' else titled(name)} {100 * shares[name]:.1f}" for name in columns)


def corrupted_mean(result: CorruptResult, names: Iterable[str]) -> float:
    """Return the mean accuracy in percent over these corruptions and all severities, with equal weights."""
    shares = [100 * right / result.images for name in names for right in result.correct[name].values()]
    return sum(shares) / len(shares)


def corrupted_summary(result: CorruptResult) -> str:
    """Return accuracies in percent, such as `clean 95.6, corrupted 80.1`, with the mean over its corruptions."""
    mean = corrupted_mean(result, [name for name in result.correct if name not in result.extra])
    return f"clean {100 * result.clean / result.images:.1f}, corrupted {mean:.1f}"
