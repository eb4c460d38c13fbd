"""Define one check of a diagnostic report."""

from dataclasses import dataclass

from scipy.stats import binomtest


def more_than(share: float, seen: int, images: int, level: float) -> bool:
    """Return whether more than this share of the images was counted, and not by chance (exact binomial test)."""
    return seen > share * images and bool(binomtest(seen, images, share, alternative="greater").pvalue < level)


@dataclass(frozen=True)
class Check:
    """One check of a report: green (passed), red (failed) or grey (None: the images cannot decide), with its findings.

    `advice` says what to do about a red one.
    """

    name: str
    passed: bool | None
    found: str
    advice: str

    @property
    def red(self) -> bool:
        """Return whether the check failed."""
        return self.passed is False

    def __str__(self) -> str:
        return f"{self.name}: {self.found}" + (f"; {self.advice}" if self.red else "")
