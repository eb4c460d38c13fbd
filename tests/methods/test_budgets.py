"""What a step costs, counted and not timed: passes per image, aten operations, and bytes held for backward passes.

Every budget is one of ours; the authors' structure (tests/support/released) is counted beside it, so that what the
benchmarks compare with is what the papers' code does.
"""

from collections.abc import Iterator
from functools import cache

import jaxtyping
import pytest
import torch
import torch.nn.functional as F

from cure import catalogue
from cure.core.method import Batch
from cure.core.noise import PerImage
from cure.evaluation.driver import Driver
from cure.evaluation.survivor import works
from cure.evaluation.work_items import Examples
from cure.methods.parts.criticality import criticality
from cure.nn.folding.folded_copy import folded_copy
from tests.support import race, steps
from tests.support.counters import Held, Operations
from tests.support.released.baselines import criticality as released_criticality
from tests.support.steps import CASES
from tools.passes import Passes

IMAGES = 4
PASSES = {  # case -> (ours, the authors'); those of FAT and LAS-AT depend on the images
    "CURE, Eqs. (4)-(8)": (33, 39),
    "CURE, official_soft": (33, 39),
    "CURE, official_rgp": (29, 29),
    "TRADES": (27, 39),
    "AT": (23, 23),
    "MART": (26, 26),
    "natural": (3, 3),
    "AWP": (26, 37),
    "ST-AT": (60, 69),
    "ACT": (26, 26),
    "ARD": (24, 27),
    "IAD": (28, 32),
    "PART": (24, 36),
    "VFD": (27, 27),
    "AR-AT": (26, 26),
    "AT-EMA": (23, 23),
    "HAT": (31, 31),
    "LBGAT": (28, 39),
    "Generalist": (26, 28),
    "IKL-AT": (23, 27),
    "CURE_Eff, official": (27, 29),
}
ROW = {case.row: case for case in CASES if case.precision == "fp32"}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The benchmarks' steps on a tiny network and a few images, on the host and without checks of shapes."""
    monkeypatch.setattr(race, "NETWORKS", {"small_resnet": {"width": 4}})
    monkeypatch.setattr(steps, "BATCHES", {"small_resnet": IMAGES})
    for module in (race, steps):
        monkeypatch.setattr(module, "DEVICE", torch.device("cpu"))
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def pair(row: str) -> tuple[steps.Turn, steps.Turn]:
    return steps.steps(ROW[row], "small_resnet")


@cache
def counts(row: str) -> list[tuple[float, int]]:
    """Passes per image and operations of a step, ours and the authors'."""
    found = []
    for turn in pair(row):
        turn()  # momenta, and what is made once for a network, are no part of a step
        with Passes((8, 4, 3, 3)) as passes, Operations() as operations:  # that convolution is alone in its shape
            turn()
        found.append((passes.per_image(IMAGES), operations.count))
    return found


@cache
def held_by_a_step(row: str) -> tuple[int, int]:
    """Bytes that it keeps for its backward passes, in ours and the authors'."""
    ours, theirs = pair(row)
    return held(ours), held(theirs)


def held(act) -> int:
    act()
    with Held() as found:
        act()
    return found.most


@pytest.mark.parametrize("row", PASSES)
def test_a_step_keeps_its_budget_of_passes_with_hardly_more_operations_than_the_authors(row: str) -> None:
    (passes, operations), (their_passes, their_operations) = counts(row)
    assert (passes, their_passes) == PASSES[row]
    assert 0 < operations <= 1.1 * their_operations


@pytest.mark.parametrize("row", ["FAT", "LAS-AT, with its reward"])
def test_where_passes_depend_on_the_images_there_are_no_more_than_the_authors(row: str) -> None:
    (passes, _), (their_passes, _) = counts(row)
    assert 3 < passes <= {"FAT": 23, "LAS-AT, with its reward": their_passes}[row]


def test_every_method_is_counted() -> None:
    assert {case.method for case in CASES} | {"rift"} == set(catalogue.names("methods"))
    assert set(ROW) == {*PASSES, "FAT", "LAS-AT, with its reward"}


SAVED = {"TRADES": 0.8, "CURE, Eqs. (4)-(8)": 1.0, "AWP": 0.8, "PART": 0.8, "LBGAT": 0.8, "IKL-AT": 0.8}


@pytest.mark.parametrize(("row", "share"), SAVED.items())
def test_where_passes_are_saved_operations_are(row: str, share: float) -> None:
    (_, operations), (_, their_operations) = counts(row)
    assert operations <= share * their_operations


@pytest.mark.parametrize("row", ["CURE, Eqs. (4)-(8)", "CURE, official_soft", "CURE, official_rgp"])
def test_cure_holds_half_of_what_the_authors_hold(row: str) -> None:
    ours, theirs = held_by_a_step(row)
    assert 0 < ours <= 0.55 * theirs


@pytest.mark.parametrize("row", ["TRADES", "IAD", "LBGAT"])
def test_a_forward_that_is_not_repeated_is_not_held(row: str) -> None:
    ours, theirs = held_by_a_step(row)
    assert ours <= 0.7 * theirs


@pytest.mark.parametrize("row", ["AT", "AWP", "PART"])
def test_one_forward_is_held_at_a_time(row: str) -> None:
    assert held_by_a_step(row)[0] <= 1.05 * held_by_a_step("natural")[0]


def test_criticality_holds_what_the_one_weight_needs() -> None:
    net = race.fresh("small_resnet").eval()
    x, y = race.images(IMAGES), torch.arange(IMAGES)
    how = {"eps": 0.1, "epochs": 2, "lr": 1.0, "rule": "max"}
    ours = held(lambda: criticality(net, [(x, y)], "layer3.0.conv1", **how))
    assert 0 < ours <= held(lambda: released_criticality(net, x, y, "layer3.0.conv1", 2))
    assert ours < 0.5 * held(lambda: F.cross_entropy(net(x), y).backward())
    assert all(weight.requires_grad for weight in net.parameters())


@pytest.mark.parametrize(("name", "steps_"), [("pgd", 20), ("cw", 20)])
def test_twenty_steps_of_an_evaluation_are_forty_passes_and_few_operations(name: str, steps_: int) -> None:
    net, entry = race.fresh("small_resnet").eval().requires_grad_(False), catalogue.entry("attacks", name)
    places = torch.arange(IMAGES)
    batch = Batch(race.images(IMAGES), torch.zeros(IMAGES, dtype=torch.long), places, PerImage(0, places))
    hyper = entry.Hyper(eps=8 / 255, step=2 / 255, steps=steps_, start="uniform", clip_start=True)
    with Operations() as one:
        net(batch.x)
    with Passes((8, 4, 3, 3)) as count, Operations() as found:
        entry.attack(net, batch, hyper)
    assert (count.forward, count.to_input, count.to_weights) == (steps_ * IMAGES, steps_ * IMAGES, 0)
    assert found.count <= 3.2 * steps_ * one.count


@pytest.mark.parametrize("unfrozen", [True, False])
def test_autoattack_differentiates_no_weight(unfrozen: bool) -> None:
    net = race.fresh("small_resnet").eval().requires_grad_(unfrozen)
    x = race.images(IMAGES)
    with torch.no_grad():
        data = Examples(x, net(x).argmax(1), torch.arange(IMAGES))
    entry = catalogue.entry("attacks", "autoattack")
    hyper = entry.Hyper(eps=1e-4, version="standard", iterations=5, queries=20, targets=3)
    with Passes((8, 4, 3, 3)) as count:
        found = Driver(net, data, batch=IMAGES, seed=0, attacked=folded_copy(net, x, "contiguous")).run(
            entry.attack_sequence(hyper, 10, 0)
        )
    assert found.robust.all()
    assert count.to_weights == 0 < count.to_input


def test_autoattack_keeps_its_budget_for_an_image_that_survives() -> None:
    entry = catalogue.entry("attacks", "autoattack")
    published = entry.Hyper(eps=8 / 255, version="standard", **entry.PUBLISHED)
    parts = works(entry.attack_sequence(published, 10, 0), 10).values()
    assert sum(part.forwards + part.gradients + 1 for part in parts) <= 9_900  # one more verifies each


class Saved(torch.nn.Module):
    """Keeps an intermediate value, as a layer does whose gradient needs it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp()


def test_the_counter_of_bytes_counts_each_value_once_and_forgets_what_is_freed() -> None:
    x = torch.rand(1000, requires_grad=True)  # 4000 bytes
    with Held() as found:
        for _ in range(3):
            Saved()(x).sum().backward()
    assert found.most == 4000
    assert found.now == 0
    with Held() as found:
        kept = [Saved()(x) for _ in range(3)]
    assert found.most == 3 * 4000
    assert len(kept) == 3
