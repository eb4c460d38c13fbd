"""What an evaluation will cost, said before it starts: counts of passes (survivor.py) x the measured time
of a pass (speed.py).

An image that some attack of a chain breaks is spared the later ones, so what counts are the survivors.
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
    """One column of an evaluation: the work of its attacks in order, and forwards per prediction.

    In a `chain` an attack sees what the earlier ones left; else, as in a search for the smallest perturbation, it sees
    every image that is classified correctly. Of all images it sees at most `subset`.
    """

    attacks: dict[str, Work]
    passes: int = 1
    sequential: bool = True
    subset: int | None = None

    def seconds(self, speed: AttackSpeed, images: int, clean: float, robust: float) -> float:
        """Expected on so many images, where these shares are right clean and after all attacks.

        The first attack is taken to break all that will break.
        """
        seen = images if self.subset is None else min(images, self.subset)
        reach = [clean] + [robust if self.sequential else clean] * (len(self.attacks) - 1)
        spent = self.passes * speed.check(seen)
        for share, (name, work) in zip(reach, self.attacks.items(), strict=False):
            spent += speed.seconds(name, work, share * seen) + self.passes * speed.check(share * seen)
        return spent


def images_for(budget: float, total: Callable[[int], float], images: int, robust: float) -> tuple[int, str]:
    """How many of `images` fit into `budget` seconds, n of them taking total(n), and a sentence that says so."""
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
