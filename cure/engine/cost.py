"""What an evaluation will cost, said before it starts: measured time per pass x exact counts of passes.

An image that some attack of a chain breaks is spared the later ones, so what counts are the survivors. The attacks' own
arithmetic is not counted; for tiny networks it is no longer small (FAB sorts every image's pixels).
"""

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import nn

from cure.core.tensors import Images
from cure.engine.measure import frozen
from cure.engine.ratio import wilson
from cure.errors import Refused

FEW = 16  # images of a first forward
LONGEST = 0.25  # seconds of a forward that is worth repeating; a larger batch is timed in part
REPEATS = 3


@dataclass(frozen=True)
class Work:
    """Passes per image that survives an attack: forwards, and how many of them go back to the image."""

    forwards: int
    gradients: int


Facts = Mapping[str, Any]
"""The settings of an attack: steps; iterations, targets and queries of AutoAttack, and eot, gradients per step."""


def work(attack: str, facts: Facts) -> Work:
    """What the attack of this name does to an image that survives it; its verification not included.

    AutoAttack as published: 102, 919, 1828 and 5003 forwards, 101, 909, 900 and 0 of them with gradient.
    """
    family = "fab" if attack.removeprefix("fab-").isdigit() else attack
    if family not in WORK:
        raise Refused(f"cost: the passes of {attack!r} are not known; known: {', '.join(WORK)}")
    return WORK[family](facts)


def _ascent(facts: Facts) -> Work:
    return Work(facts["steps"], facts["steps"])


def _apgd(facts: Facts) -> Work:
    gradients = facts.get("eot", 1) * (facts["iterations"] + 1)
    return Work(1 + gradients, gradients)


def _apgd_targeted(facts: Facts) -> Work:
    n, targets = facts["iterations"], facts["targets"]
    return Work(1 + targets * (n + 2), targets * (n + 1))


def _fab_targeted(facts: Facts) -> Work:
    n, targets = facts["iterations"], facts["targets"]
    return Work(1 + targets * (2 * n + 3), targets * n)


WORK: dict[str, Callable[[Facts], Work]] = {
    **dict.fromkeys(("pgd", "cw", "fmn", "ddn"), _ascent),
    **dict.fromkeys(("apgd-ce", "apgd-dlr", "apgd-margin"), _apgd),
    "apgd-t": _apgd_targeted,
    "fab-t": _fab_targeted,
    "fab": lambda facts: Work(2 * facts["iterations"] + 2, facts["iterations"]),  # towards one class
    "square": lambda facts: Work(facts["queries"] + 3, 0),
}


@dataclass(frozen=True)
class Pace:
    """Measured seconds per image: of a forward, and of a forward with its gradient to the image."""

    forward: float
    gradient: float

    def seconds(self, work: Work) -> float:
        """Of all these passes for one image."""
        return (work.forwards - work.gradients) * self.forward + work.gradients * self.gradient


def pace(net: nn.Module, x: Images) -> Pace:
    """The pace of `net` on the device of x, at this batch size: the median of a few repetitions after a warm-up."""

    def forward(x: Images) -> None:
        with torch.no_grad():
            net(x)

    def gradient(x: Images) -> None:
        inner = x.detach().requires_grad_()
        torch.autograd.grad(net(inner).sum(), inner)

    with frozen(net), torch.enable_grad():
        fit = LONGEST / _each(forward, x[:FEW])
        x = x[: max(FEW, math.floor(fit))]
        return Pace(_each(forward, x), _each(gradient, x))


def _each(act: Callable[[Images], None], x: Images) -> float:
    """Seconds per image."""

    def timed() -> float:
        start = time.perf_counter()
        act(x)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        return time.perf_counter() - start

    timed()
    return median(timed() for _ in range(REPEATS)) / len(x)


@dataclass(frozen=True)
class Column:
    """One column of an evaluation: the work of its attacks in order, and forwards per prediction.

    In a `chain` an attack sees what the earlier ones left; else, as in a search for the smallest perturbation, it sees
    every image that is classified correctly. `share` of all images is seen at all.
    """

    attacks: list[Work]
    passes: int = 1
    chain: bool = True
    share: float = 1.0

    def per_image(self, pace: Pace, clean: float, robust: float) -> float:
        """Expected seconds per image where these shares are right clean and after all attacks.

        The first attack is taken to break all that will break.
        """
        reach = [clean] + [robust if self.chain else clean] * (len(self.attacks) - 1)
        check = self.passes * pace.forward  # clean, and once more after each attack
        spent = sum(met * (pace.seconds(w) + check) for met, w in zip(reach, self.attacks, strict=False))
        return self.share * (check + spent)


def per_image(columns: list[Column], pace: Pace, clean: float, robust: float) -> float:
    """Expected seconds per image of a whole evaluation."""
    return sum((column.per_image(pace, clean, robust) for column in columns), 0.0)


def images_for(budget: float, each: Callable[[int], float], images: int, robust: float) -> tuple[int, str]:
    """How many of `images` fit into `budget` seconds at each(n) seconds per image of n, and a sentence that says so."""
    fit = bisect_right(range(1, images + 1), budget, key=lambda n: n * each(n))
    if fit < 1:
        raise Refused(f"budget: {budget:.3g} s are less than the {each(1):.3g} s that one image takes; allow more time")
    low, high = wilson(round(robust * fit), fit)
    return fit, (
        f"{fit} of {images} images, about {fit * each(fit):.3g} s of {budget:.3g} s; "
        f"robust accuracy then within about {50 * (high - low):.2g} points"
    )
