"""Estimate the cost of an evaluation before it starts: counts of passes (survivor.py) x the time of a pass (speed.py).

An image that some attack of a sequence breaks is spared the later ones, so only the survivors count.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from cure.errors import UserError
from cure.evaluation.speed import AttackSpeed
from cure.evaluation.statistics.intervals import wilson
from cure.evaluation.survivor import Work


@dataclass(frozen=True)
class ColumnCost:
    """One column of an evaluation: the work of its attacks in order, and forward passes per prediction.

    If `sequential`, an attack runs on the survivors of the earlier ones. Otherwise, as in a search for the smallest
    perturbation, it runs on every image that is classified correctly. `subset` limits the number of images.
    """

    attacks: dict[str, Work]
    passes: int = 1
    sequential: bool = True
    subset: int | None = None

    def seconds(self, speed: AttackSpeed, images: int, clean: float, robust: float) -> float:
        """Return the expected seconds for these images and for shares that are correct clean and after all attacks.

        The first attack is assumed to break all images that will be broken.
        """
        seen = images if self.subset is None else min(images, self.subset)
        reach = [clean] + [robust if self.sequential else clean] * (len(self.attacks) - 1)
        spent = self.passes * speed.check(seen)
        for share, (name, work) in zip(reach, self.attacks.items(), strict=False):
            spent += speed.seconds(name, work, share * seen) + self.passes * speed.check(share * seen)
        return spent


def images_for(budget: float, total: Callable[[int], float], images: int, robust: float) -> tuple[int, str]:
    """Return how many of `images` fit into `budget` seconds, if n of them take total(n), and a sentence about it."""
    fit = bisect_right(range(1, images + 1), budget, key=total)
    if fit < 1:
        raise UserError(
            f"--budget: {budget:.3g} s are less than the {total(1):.3g} s that one image takes; allow more time"
        )
    low, high = wilson(round(robust * fit), fit)
    return fit, (
        f"{fit} of {images} images, about {total(fit):.3g} s of {budget:.3g} s; "
        f"robust accuracy then within about {50 * (high - low):.2g} points"
    )
