"""What a step costs, counted and not timed: passes per image, aten operations, and bytes held for backward passes.

Every budget is one of ours; the authors' structure (tests/support/released) is counted beside it, so that what the
benchmarks compare with is what the papers' code does.
"""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch
import torch.nn.functional as F

from cure import catalogue
from cure.core.method import Batch
from cure.core.noise import PerImage
from cure.evaluation.cost import work
from cure.evaluation.driver import Driver
from cure.evaluation.work_items import Examples
from cure.methods.parts.criticality import criticality
from cure.nn.folded_copy import folded_copy
from tests.support import race, steps
from tests.support.counters import Held, Operations
from tests.support.released.baselines import criticality as released_criticality
from tests.support.steps import CASES, Case
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
    "CURE_Eff, official": (29, 29),
}
ROW = {case.row: case for case in CASES if case.precision == "fp32"}
counted = pytest.mark.parametrize("case", [ROW[row] for row in PASSES], ids=lambda case: case.row)


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


def pair(case: Case) -> tuple[steps.Turn, steps.Turn]:
    return steps.steps(case, "small_resnet")


def passes(turn: steps.Turn) -> float:
    turn()  # what is made once for a network is no part of a step
    with Passes((8, 4, 3, 3)) as count:  # a convolution that is alone in its shape at width 4
        turn()
    return count.per_image(IMAGES)


def operations(turn: steps.Turn) -> int:
    turn()  # momenta and the like are made in the first step
    with Operations() as found:
        turn()
    return found.count


def held(act) -> int:
    act()
    with Held() as found:
        act()
    return found.most


@counted
def test_a_step_keeps_its_budget_of_passes(case: Case) -> None:
    ours, theirs = pair(case)
    assert (passes(ours), passes(theirs)) == PASSES[case.row]


@pytest.mark.parametrize("row", ["FAT", "LAS-AT, with its reward"])
def test_where_passes_depend_on_the_images_there_are_no_more_than_the_authors(row: str) -> None:
    ours, theirs = pair(ROW[row])
    assert 3 < passes(ours) <= {"FAT": 23, "LAS-AT, with its reward": passes(theirs)}[row]


def test_every_method_is_counted() -> None:
    assert {case.method for case in CASES} | {"rift"} == set(catalogue.names("methods"))
    assert set(ROW) == {*PASSES, "FAT", "LAS-AT, with its reward"}


@counted
def test_a_step_launches_hardly_more_operations_than_the_authors(case: Case) -> None:
    ours, theirs = pair(case)
    assert 0 < operations(ours) <= 1.1 * operations(theirs)


@pytest.mark.parametrize(("row", "share"), [("TRADES", 0.8), ("CURE, Eqs. (4)-(8)", 1.0), ("AWP", 0.8), ("PART", 0.8)])
def test_where_passes_are_saved_operations_are(row: str, share: float) -> None:
    ours, theirs = pair(ROW[row])
    assert operations(ours) <= share * operations(theirs)


@pytest.mark.parametrize("row", ["CURE, Eqs. (4)-(8)", "CURE, official_soft", "CURE, official_rgp"])
def test_cure_holds_half_of_what_the_authors_hold(row: str) -> None:
    ours, theirs = pair(ROW[row])
    assert 0 < held(ours) <= 0.55 * held(theirs)


@pytest.mark.parametrize("row", ["TRADES", "IAD"])
def test_a_forward_that_is_not_repeated_is_not_held(row: str) -> None:
    ours, theirs = pair(ROW[row])
    assert held(ours) <= 0.7 * held(theirs)


@pytest.mark.parametrize("row", ["AT", "AWP", "PART"])
def test_one_forward_is_held_at_a_time(row: str) -> None:
    ours, _ = pair(ROW[row])
    natural, _ = pair(ROW["natural"])
    assert held(ours) <= 1.05 * held(natural)


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
    published = {"iterations": 100, "queries": 5000, "targets": 9}
    parts = [work(name, published) for name in ("apgd-ce", "apgd-t", "fab-t", "square")]
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
