"""From what the sequences found to the result of the stage attack, and to the numbers that are read from it."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import nn

from cure.core.attack import AttackSequence
from cure.data.loader import Split
from cure.evaluation.attack_columns import (
    AttackColumn,
    AttackProgress,
    attack_sequences,
    attacked,
    examples_of,
    in_l2,
    result,
    work_items,
)
from cure.evaluation.driver import Driver
from cure.evaluation.statistics.intervals import nrr, nrr_interval, wilson
from cure.evaluation.statistics.results import AttackResult
from cure.evaluation.work_items import Examples, Outcome
from cure.settings.base import Norm
from cure.settings.params import read as read_params
from cure.settings.sections import AttackSuite, L2Threat, Threat
from cure.storage.checkpoint import build
from cure.storage.records import parse
from tests.support.attacks import COLUMNS, suite
from tests.support.method_harness import QUICKSTART
from tests.support.pretend_cuda import pretending

EPS = 0.1
INF = float("inf")
ASCENT = {"steps": 4, "start": "uniform", "clip_start": True}


def column(clean: list[int], distances: list[float], rows: list[int] | None = None, **sequence) -> AttackColumn:
    """A column that found these distances; what stands at 0 was wrong from the start."""
    n = len(distances)
    images, predicted = torch.zeros(n, 1, 1, 1), torch.zeros(n).long()
    outcome = Outcome(torch.tensor(clean).bool(), predicted, images, torch.tensor(distances), suite().batch)
    return AttackColumn(AttackSequence({}, {}, **sequence), torch.tensor(rows or list(range(n))), outcome)


BALL = {"eps": EPS}
PGD = column([1, 1, 1, 1, 0], [0.1, INF, INF, INF, 0], **BALL)
AA = column([1, 1, 0], [INF, INF, 0], [1, 3, 4], label="standard", **BALL)
NEAR = column([1, 1, 0], [0.05, 0.3, 0], [1, 3, 4], norm="linf")
FAR = column([1, 1, 0], [0.11, 0.3, 0], [1, 3, 4], norm="linf")
L2 = column([1, 1, 0], [0.05, INF, 0], [1, 3, 4], norm="l2")


def judged(columns: dict[str, AttackColumn], norm: Norm = "linf") -> AttackResult:
    """The result of these columns on five images, of which the fifth is wrong from the start."""
    five = Examples(torch.zeros(5, 1, 1, 1), torch.zeros(5).long(), torch.arange(5))
    return result({"clean": column([1, 1, 1, 1, 0], [INF, INF, INF, INF, 0]), **columns}, five, suite(), EPS, norm)


def test_each_image_has_a_character_in_each_column() -> None:
    found = judged({"pgd": PGD, "aa": AA, "min": FAR, "l2": L2}).outcomes
    wanted = {"clean": "11110", "pgd": "01110", "aa": "-1-10", "min": "-1-10", "worst": "-1-10"}
    assert found == wanted


def test_the_worst_case_is_over_everything_and_apart_from_autoattack() -> None:
    found = judged({"pgd": PGD, "aa": AA, "min": NEAR}).outcomes
    assert found["aa"] == "-1-10"
    assert found["worst"] == "-0-10"
    assert judged({"pgd": PGD, "min": NEAR}).outcomes["worst"] == "00110"


def test_an_adversarial_image_outside_eps_does_not_enter_the_worst_case() -> None:
    wide = column([1, 1, 1, 1, 0], [0.2, 0.2, INF, INF, 0], eps=0.2)
    small = column([1, 1, 1, 1, 0], [INF, INF, 0.05, INF, 0], eps=0.05)
    found = judged({"wide": wide, "small": small}).outcomes
    assert (found["wide"], found["small"], found["worst"]) == ("00110", "11010", "11010")


def test_in_l2_the_smallest_l2_perturbations_are_counted_and_those_of_l_inf_stand_apart() -> None:
    pgd, near = column([1, 1, 1, 1, 0], [0.1, INF, INF, INF, 0], eps=EPS, ball="l2"), L2
    found = judged({"pgd": pgd, "min_linf": NEAR, "min_l2": near}, "l2")
    assert found.outcomes == {"clean": "11110", "pgd": "01110", "min_l2": "-0-10", "worst": "00110"}
    assert found.minima["min_linf"].distances == [pytest.approx(0.05), pytest.approx(0.3), 0]


def test_a_result_records_the_norm_and_one_without_it_is_of_l_inf() -> None:
    found = judged({"pgd": PGD}, "l2").document()
    assert found["norm"] == "l2"
    assert "norm" not in judged({"pgd": PGD}).document()
    assert parse(AttackResult, json.dumps(found)).norm == "l2"
    assert parse(AttackResult, json.dumps({key: value for key, value in found.items() if key != "norm"})).norm == "linf"


def test_a_column_has_a_meaning_in_l2_without_a_radius_or_step_of_its_own_and_with_an_l2_form() -> None:
    columns = read_params(QUICKSTART)["attack"]["columns"]
    assert [name for name, settings in columns.items() if in_l2(settings)] == ["pgd20", "aa", "min_linf", "min_l2"]


def test_l2_columns_lie_under_the_l2_threat_model() -> None:
    alone = suite().model_copy(update={"columns": {"pgd20": COLUMNS["pgd20"]}})
    found = attack_sequences(alone, L2Threat(eps=0.5, step=0.1), 10)["pgd20"]
    assert (found.eps, found.ball) == (0.5, "l2")
    assert {"eps": 0.5, "step": 0.1, "ball": "l2", "attack": "pgd"}.items() <= found.facts.items()


def test_a_way_of_exactly_eps_is_inside() -> None:
    exact = float(torch.tensor(0.1) + 5e-8)
    assert column([1], [exact], norm="linf").safe(EPS).tolist() == [False]


def test_smallest_perturbations_that_beat_autoattack_are_a_problem() -> None:
    assert judged({"pgd": PGD, "aa": AA, "min": FAR}).problems == []
    said = "min leaves 1 of 3 images at eps 0.1, aa 2: aa overestimates robustness, "
    said += "since it missed verified adversarial images of 1"
    assert judged({"pgd": PGD, "aa": AA, "min": NEAR}).problems == [said]


def test_they_are_compared_on_the_images_that_both_saw() -> None:
    elsewhere = column([1, 0], [0.05, 0], [0, 4], norm="linf")
    assert judged({"pgd": PGD, "aa": AA, "min": elsewhere}).problems == []


def test_a_column_records_the_title_of_its_attack_if_it_has_one() -> None:
    found = judged({"mine": column([1], [1.0], title="RayS"), "pgd20": column([1], [1.0])}).document()["columns"]
    assert found["mine"]["title"] == "RayS"
    assert "title" not in found["pgd20"]


def test_distances_that_were_not_found_are_null() -> None:
    about = judged({"pgd": PGD, "l2": L2}).minima["l2"]
    assert about.distances == [pytest.approx(0.05), None, 0]
    assert (about.rows, about.norm) == ([1, 3, 4], "l2")


def read(outcomes: dict[str, str], distances: list[float | None], rows: list[int]) -> AttackResult:
    """A result with these outcomes and the column `min` of these smallest perturbations."""
    about = {"label": "", "package": "", "broken_by": {}}
    columns = {"min": about | {"norm": "l2", "rows": rows, "distances": distances}}
    columns |= dict.fromkeys(outcomes.keys() - {"clean", "worst"}, about)
    how = {"problems": [], "eps": EPS, "seed": 0, "batch": 1}
    text = json.dumps({"images": len(outcomes["clean"]), "outcomes": outcomes, "columns": columns} | how)
    return parse(AttackResult, text)


READ = read(
    {"clean": "1111111100", "pgd20": "1111000000", "aa": "11--0---0-", "worst": "10--0---0-"},
    distances=[0.4, 0.1, None, 0.2, 0, 0.3],
    rows=[0, 1, 2, 3, 8, 4],
)


def test_a_quantile_is_not_moved_by_rounding() -> None:
    twenty = [float(k) for k in range(20)]
    flat = read({"clean": "1" * 20}, twenty, list(range(20)))
    assert [flat.quantile("min", k / 20) for k in range(1, 21)] == twenty


def test_counts_are_over_the_images_that_were_looked_at() -> None:
    assert READ.counts("clean") == (8, 10, 8)
    assert READ.counts("pgd20") == (4, 10, 8)
    assert READ.counts("aa") == (2, 4, 3)


def test_the_ratio_takes_clean_accuracy_on_the_same_images() -> None:
    assert READ.ratio("aa") == nrr(3 / 4, 2 / 4)
    wanted = {"clean": 0.8, "pgd20": 0.4, "aa": 0.5, "worst": 0.25}
    ratios = {"nrr_pgd20": nrr(0.8, 0.4), "nrr_aa": nrr(0.75, 0.5), "nrr_worst": nrr(0.75, 0.25)}
    assert READ.shares() == wanted | ratios


@pytest.mark.parametrize(("share", "radius"), [(0.2, 0.1), (0.4, 0.2), (0.5, 0.3), (0.6, 0.3), (0.8, 0.4), (1.0, INF)])
def test_a_quantile_is_the_radius_that_breaks_this_share_of_the_clean_correct(share, radius) -> None:
    assert list(READ.minima) == ["min"]
    assert READ.quantile("min", share) == radius


@pytest.mark.parametrize(
    ("hits", "images", "low", "high"),
    [(50, 100, 0.403832, 0.596168), (0, 100, 0, 0.036994), (100, 100, 0.963006, 1), (5000, 10000, 0.490201, 0.509799)],
)
def test_wilsons_interval_has_its_published_values(hits, images, low, high) -> None:
    assert wilson(hits, images) == pytest.approx((low, high), abs=2e-6)


@pytest.mark.parametrize(
    ("clean", "robust", "low", "high"),
    [
        # by hand: 6 of 10 survive, so s = 0.6 in [0.3127, 0.8318]; clean 10 of 10 in [0.7225, 1]; NRR 0.75
        (10, 6, 0.75 - (0.20815**2 + (0.75 - 0.47640) ** 2) ** 0.5, 0.75 + 0.15817),
        (8, 0, 0, 2 * 0.8 * 0.324406 / 1.324406),
        (0, 0, 0, 0.277533),
        (10, 10, 0.679140, 1),
    ],
)
def test_the_interval_of_the_ratio_by_hand(clean, robust, low, high) -> None:
    assert nrr_interval(clean, robust, 10) == pytest.approx((low, high), abs=1e-4)


@pytest.fixture(scope="module")
def intervals() -> np.ndarray:
    """Clean, robust, and both ends of the interval, for every possible outcome of 60 images."""
    outcomes = [(clean, robust) for clean in range(61) for robust in range(clean + 1)]
    return np.array([(clean, robust, *nrr_interval(clean, robust, 60)) for clean, robust in outcomes])


@pytest.mark.parametrize("n", [0.5, 0.85, 0.98])
def test_the_interval_of_the_ratio_holds_its_95_percent(n, intervals) -> None:
    # exact: every possible outcome with its probability, at survival rates next to nothing included
    clean, robust, low, high = intervals.T
    covered = []
    for s in (0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        held = (low <= 2 * n * s / (1 + s)) & (2 * n * s / (1 + s) <= high)
        covered.append(float((binom.pmf(clean, 60, n) * binom.pmf(robust, clean, s))[held].sum()))
    assert sum(covered) / len(covered) == pytest.approx(0.95, abs=0.01)
    assert min(covered) > 0.88


# ---- all columns on one network


@pytest.fixture
def tested(make_net) -> tuple[torch.nn.Module, Split]:
    net = make_net(classes=10, width=8, dtype=torch.float32).eval()
    x = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        net.linear.bias -= net(x / 255).mean(0)
        return net, Split(x, net(x / 255).argmax(1))


def whole(
    tested: tuple[torch.nn.Module, Split], how: AttackSuite, ticks: list[AttackProgress] | None = None
) -> AttackResult:
    net, data = tested[0], examples_of(tested[1])
    columns = attack_sequences(how, Threat(eps=0.01, step=0.0025), 10)
    said = attacked(net, data, columns, how, (ticks if ticks is not None else []).append)
    return result(said, data, how, 0.01)


def test_every_column_sees_its_number_of_images_and_the_worst_case_is_below_all(tested) -> None:
    found = whole(tested, suite())
    seen = {name: found.counts(name).images for name in found.outcomes}
    assert seen == {"clean": 40, "pgd20": 40, "cw20": 40, "aa": 10, "min_linf": 20, "worst": 10}
    for name, flags in found.outcomes.items():
        pairs = [(worst, here) for worst, here in zip(found.outcomes["worst"], flags, strict=True)]
        assert [pair for pair in pairs if pair == ("1", "0")] == []
        assert name == "worst" or ("1", "1") in pairs
    assert found.columns["aa"].label == "custom"
    assert found.columns["aa"].package.split()[0] in ("pyautoattack", "autoattack")
    assert list(found.columns["aa"].broken_by) == ["apgd-ce", "apgd-t", "fab-t", "square"]


def test_rows_in_broken_by_are_places_among_all_images(tested) -> None:
    found = whole(tested, suite())
    broken = sorted(row for rows in found.columns["aa"].broken_by.values() for row in rows)
    assert broken == [row for row, hit in enumerate(found.outcomes["aa"]) if hit == "0"]
    assert broken
    assert broken[-1] > 10


def test_the_number_of_ticks_is_known_beforehand(tested) -> None:
    ticks: list[AttackProgress] = []
    whole(tested, suite(), ticks)
    assert len(ticks) == work_items(40, attack_sequences(suite(), Threat(eps=0.01, step=0.0025), 10), suite())


def test_the_layout_changes_no_flag(tested) -> None:
    contiguous, last = (whole(tested, suite(layout=layout)) for layout in ("contiguous", "channels_last"))
    assert contiguous.outcomes == last.outcomes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subset": {"pgd": 3}}, "subset names 'pgd', which is not among columns"),
        ({"table": ["aaa"]}, "table names 'aaa', which is not among columns"),
        ({"subset": dict.fromkeys(COLUMNS, 3)}, "subset names every column; at least one must use all images"),
    ],
)
def test_names_that_are_no_columns_are_refused(changes, said) -> None:
    with pytest.raises(ValueError, match=said):
        suite(**changes)


def evaluated(precision: str, net: nn.Module, data: Examples) -> tuple[dict[str, AttackColumn], AttackResult]:
    how = suite(precision=precision)
    sequences = attack_sequences(how, Threat(eps=EPS, step=EPS / 4), 10)
    columns = attacked(net, data, sequences, how, lambda event: None)
    return columns, result(columns, data, how, EPS)


@pytest.fixture
def fitted() -> tuple[nn.Module, Examples]:
    """A network and images of which it knows the labels, some of them barely."""
    torch.manual_seed(0)
    net, x = build("small", {"width": 8}, 1, 10), torch.rand(40, 1, 8, 8)
    for _ in range(50):
        net(x)  # running statistics of these images
    net.eval()
    return net, Examples(x, net(x).argmax(1), torch.arange(40))


def test_what_attacks_in_bfloat16_find_is_judged_by_the_network_itself(fitted) -> None:
    net, data = fitted
    columns, found = evaluated("bf16", net, data)
    for column in columns.values():
        broken = ~column.outcome.robust
        x_adv = column.outcome.x_adv[broken]
        assert (net(x_adv).argmax(1) != data.y[column.rows][broken]).all()
        if column.sequence.norm is None:
            assert ((x_adv - data.x[column.rows][broken]).abs() <= EPS + 1e-6).all()
    assert any((~column.outcome.robust).any() for column in columns.values())
    assert (found.precision, found.columns["aa"].label, found.columns["pgd20"].label) == ("bf16", "custom, bf16", "")


def test_a_cpu_has_no_tf32_and_does_not_say_that_it_had(fitted) -> None:
    (_, plain), (_, found) = (evaluated(precision, *fitted) for precision in ("fp32", "tf32"))
    assert found == plain
    assert (found.precision, found.columns["aa"].label) == ("fp32", "custom")


@pytest.mark.parametrize(("precision", "wanted"), [("fp32", False), ("tf32", True), ("bf16", False)])
def test_a_device_multiplies_in_tf32_while_it_attacks_and_never_while_it_judges(
    fitted, monkeypatch: pytest.MonkeyPatch, precision: str, wanted: bool
) -> None:
    seen = {"attack": set[bool](), "judge": set[bool]()}

    class Watched(nn.Module):
        def __init__(self, net: nn.Module, who: str) -> None:
            super().__init__()
            self.net, self.who = net, who

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
            seen[self.who] |= set(flags)
            return self.net(x)

    net, data = fitted
    with pretending():
        there = Examples(data.x.to("cuda"), data.y.to("cuda"), data.index)
        net = net.to("cuda")
        how = {"batch": 16, "seed": 0, "precision": precision, "attacked": Watched(net, "attack")}
        sequence = attack_sequences(suite(), Threat(eps=EPS, step=EPS / 4), 10)["pgd20"]
        Driver(Watched(net, "judge"), there, **how).run(sequence)
    assert seen == {"attack": {wanted}, "judge": {False}}


def test_work_items_of_one_precision_are_not_taken_for_anothers(fitted) -> None:
    net, data = fitted
    with pretending():
        there = Examples(data.x.to("cuda"), data.y.to("cuda"), data.index)
        drivers = [Driver(net.to("cuda"), there, batch=16, seed=0, precision=name) for name in ("fp32", "tf32")]
    assert len({driver.identity for driver in drivers}) == 2
