import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from cure import catalogue
from cure.adversarial.pgd import pgd_loop
from cure.core.attack import AttackSequence, distance
from cure.core.noise import PerImage
from cure.evaluation.diagnostics.extra_attacks import masking_checks, missing, probes, transfer
from cure.evaluation.diagnostics.gradient_masking import CHECKS, apart, masking, parts
from cure.evaluation.driver import Driver
from cure.evaluation.statistics.results import AttackResult, ColumnResult, MinimumResult
from cure.evaluation.work_items import Examples
from cure.models.small import Hyper, Small
from cure.nn.batchnorm import scope
from cure.settings.sections import L2Threat
from tests.support.diagnostics import HOW, RULES, THREAT
from tests.support.networks import Behind

SOUND = {  # correct images of 1000, the first ones in every column, as numbers of AT on CIFAR-10 go
    "clean": 840,
    "pgd20": 540,
    "pgd100": 535,
    "cw20": 510,
    "apgd-ce": 530,
    "apgd-t": 490,
    "fab-t": 490,
    "square": 490,
    "aa": 490,
    "transfer": 700,
    "min_linf": 492,
    "far": 0,
    "unbounded": 0,
    "path": 538,
}


def outcomes(counts, images=1000):
    return {name: "1" * right + "0" * (images - right) for name, right in counts.items()}


def red(counts, rules=RULES, images=1000):
    return [line.name for line in masking(outcomes(counts, images), rules) if not line.passed]


def test_sound_numbers_are_green_all_over():
    lines = masking(outcomes(SOUND), RULES)
    assert [line.name for line in lines] == list(CHECKS)
    assert all(line.passed for line in lines)


@pytest.mark.parametrize(
    ("changes", "name", "found"),
    [
        ({"square": 480}, "black box", "white box and Square leaves 480 of 1000 images, white box alone 490"),
        ({"transfer": 480}, "transfer", "transfer leaves 480 of 1000 images, white box 490"),
        ({"pgd20": 561, "path": 561}, "steps", "pgd100 leaves 535 of 1000 images, pgd20 561"),
        ({"cw20": 650}, "losses", "pgd20 leaves 540 of 1000 images, cw20 650"),
        ({"pgd20": 650, "pgd100": 650, "path": 650}, "losses", "pgd20 leaves 650 of 1000 images, cw20 510"),
        ({"far": 80}, "far", "PGD-20 at 8 eps or more leaves 80 of 1000 images"),
        ({"unbounded": 8}, "unbounded", "PGD-20 without a bound leaves 8 of 1000 images"),
        (
            {"path": 530},
            "silent success",
            "pgd20 up to its first adversarial iterate leaves 530 of 1000 images, pgd20 540",
        ),
        ({"aa": 550}, "autoattack", "cw20 leaves 510 of 1000 images, aa 550"),
        ({"min_linf": 480}, "minimum", "min_linf at eps leaves 480 of 1000 images, aa 490"),
        ({"clean": 680}, "clean", "clean leaves 680 of 1000 images, transfer 700"),
    ],
)
def test_each_sign_reddens_its_own_line_and_no_other(changes, name, found):
    counts = SOUND | changes | ({"min_linf": 550} if changes == {"aa": 550} else {})
    assert red(counts) == [name]
    line = next(line for line in masking(outcomes(counts), RULES) if line.name == name)
    assert line.found == found
    assert line.advice


@pytest.mark.parametrize(
    "changes",
    [
        {"square": 488},
        {"transfer": 488},
        {"pgd20": 550, "path": 549},
        {"cw20": 600},
        {"far": 50},
        {"unbounded": 2},
        {"path": 539},
    ],
)
def test_gaps_up_to_their_thresholds_are_green(changes):
    assert red(SOUND | changes) == []


def test_few_images_prove_nothing():
    # 6 points lower, but of six discordant images all fall on one side once in 64 times
    assert red({"pgd20": 50, "square": 44}, images=100) == []
    assert red({"pgd20": 50, "square": 40}, images=100) == ["black box"]
    assert red({"far": 1}, images=10) == []


def test_noise_on_the_same_images_raises_no_flag():
    # an attack no better than another, on 300 images of which each draws a tenth anew: within its level of false alarms
    draws, raised = np.random.default_rng(0), 0
    for _ in range(400):
        easy = draws.random(300) < 0.5
        one, other = (np.where(draws.random(300) < 0.1, draws.random(300) < 0.5, easy) for _ in range(2))
        columns = {"aa": one, "pgd20": other}
        lines = masking({name: "".join("01"[int(hit)] for hit in flags) for name, flags in columns.items()}, RULES)
        raised += sum(not line.passed for line in lines)
    assert raised <= 8


def test_discordant_images_count_not_accuracies():
    # as far apart as in the line above, but each column is right where the other is wrong
    assert red({"pgd20": 30, "square": 20}, images=100) == ["black box"]
    crossed = {"pgd20": "1" * 30 + "0" * 70, "pgd100": "0" * 72 + "1" * 28}
    assert all(line.passed for line in masking(crossed, RULES))


def test_only_what_was_measured_is_judged():
    assert [line.name for line in masking(outcomes({"clean": 840}), RULES)] == []
    assert [line.name for line in masking(outcomes({"clean": 840, "pgd20": 540}), RULES)] == ["clean"]
    assert [line.name for line in masking(outcomes({"pgd20": 540, "aa": 500}), RULES)] == ["autoattack"]


def test_a_column_of_few_images_is_judged_on_these():
    seen = outcomes({"pgd20": 540}) | {"square": "0" * 100 + "-" * 900}
    (line,) = masking(seen, RULES)
    assert (line.passed, line.found) == (False, "white box and Square leaves 0 of 100 images, white box alone 100")


def test_the_parts_of_a_chain():
    columns = {"clean": "111101", "aa": "10010-"}
    broken = {"apgd-ce": [1], "apgd-t": [], "square": [2]}
    assert parts(columns, "aa", broken) == {"apgd-ce": "10110-", "apgd-t": "10110-", "square": "10010-"}


@pytest.fixture(scope="module")
def trained():
    """A small network adversarially trained on digits, and test images that it has not seen."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.from_numpy(images).float().reshape(-1, 1, 8, 8) / 16, torch.from_numpy(labels).long()
    torch.manual_seed(0)
    net = Small(Hyper(width=16), 1, 10)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for _ in range(12):
        for rows in torch.randperm(1400).split(64):
            with scope(net, "eval"):
                loss = lambda z, rows=rows: F.cross_entropy(z, y[rows], reduction="none")  # noqa: E731
                x_adv = pgd_loop(net, x[rows], x[rows], loss, eps=0.1, step=0.05, steps=4)
            optimizer.zero_grad()
            F.cross_entropy(net(x_adv), y[rows]).backward()
            optimizer.step()
    return net.eval(), Examples(x[1400:1600], y[1400:1600], torch.arange(200))


def column(entry, threat=THREAT, **settings):
    """One column of an evaluation."""
    kind = catalogue.entry("attacks", entry)
    return kind.attack_sequence(kind.Hyper(eps=threat.eps, **settings), 10, 0)


def judged(outcomes, **columns):
    """The result of an evaluation with these outcomes, and what else is known of some of its columns."""
    about = {name: ColumnResult(label="", package="", broken_by={name: []}) for name in outcomes if name != "clean"}
    how = {"images": len(outcomes["clean"]), "problems": [], "eps": THREAT.eps, "seed": 0, "batch": 100}
    return AttackResult(outcomes=outcomes, columns=about | columns, **how)


def report(net, data):
    """Of an evaluation that ran PGD-20 and C&W, with Square alone as a further probe."""
    ascent = {"step": THREAT.step, "steps": 20, "start": "uniform", "clip_start": True}
    attack_sequences = {"pgd20": column("pgd", **ascent), "cw20": column("cw", **ascent)}
    ran = {name: Driver(net, data, **HOW).run(sequence) for name, sequence in attack_sequences.items()}
    flags = {"clean": ran["pgd20"].clean, **{name: outcome.robust for name, outcome in ran.items()}}
    result = judged({name: "".join("01"[int(hit)] for hit in hits) for name, hits in flags.items()})
    whole = column("autoattack", version="standard", iterations=1, queries=300, targets=9)
    square = {"square": AttackSequence({"square": whole.attacks["square"]}, whole.facts, whole.eps)}
    return masking_checks(net, data, result, probes(THREAT, RULES) | square, RULES, **HOW)[0]


def test_a_sound_network_is_green_under_real_attacks(trained):
    lines = report(*trained)
    assert [line.name for line in lines] == [
        "black box",
        "steps",
        "losses",
        "far",
        "unbounded",
        "silent success",
        "clean",
        "converged",
        "progress",
    ]
    assert [line for line in lines if not line.passed] == []


@pytest.mark.reliability("flags")
@pytest.mark.parametrize(
    ("hide", "names"),
    [
        (
            lambda net, x: net((x * 5).round() / 5),
            {"black box", "far", "unbounded", "progress"},
        ),  # no gradient anywhere
        (lambda net, x: net(x) * 1e4, {"losses", "far", "unbounded", "progress"}),  # none of the cross-entropy
        (lambda net, x: net(x + 0.06 * torch.sin(400 * x)), {"black box", "far", "progress"}),  # they point nowhere
    ],
    ids=["rounded", "saturated", "rippled"],
)
def test_masked_gradients_are_seen_under_real_attacks(trained, hide, names):
    net, data = trained
    found = {line.name for line in report(Behind(net, hide).eval(), data) if not line.passed}
    assert found == names


class Winding(nn.Module):
    """A path of eight doors around a grey image: four pixels have a gradient once the four before them are far out."""

    def forward(self, x):
        out = ((x.flatten(1)[:, :32] - 0.5) / THREAT.eps).clamp(max=0.95).reshape(-1, 8, 4).mean(2)
        opened = torch.cumprod((out > 0.9).float(), 1)
        way = out[:, 0] + (out[:, 1:] * opened[:, :-1]).sum(1)
        return torch.stack([torch.full_like(way, 7.5), way, *[torch.zeros_like(way)] * 8], 1)


@pytest.mark.reliability("flags")
def test_an_attack_that_needs_more_steps_than_it_was_given_is_seen():
    grey = Examples(torch.full((90, 1, 8, 8), 0.5), torch.zeros(90, dtype=torch.long), torch.arange(90))
    lines = {line.name: line for line in report(Winding().eval(), grey)}
    assert not lines["steps"].passed
    assert lines["steps"].found == "pgd100 leaves 0 of 90 images, pgd20 90"


@pytest.mark.reliability("flags")
def test_images_that_a_search_for_the_nearest_finds_and_autoattack_does_not_are_seen():
    grey = Examples(torch.full((40, 1, 8, 8), 0.5), torch.zeros(40, dtype=torch.long), torch.arange(40))
    nearest = catalogue.entry("attacks", "minimum")
    settings = {"norm": "linf", "steps": 100, "step": 10, "gamma": 0.05, "targets": 1, "iterations": 20}
    attack_sequences = {
        "aa": column("autoattack", version="standard", iterations=5, queries=50, targets=9),
        "min_linf": nearest.attack_sequence(nearest.Hyper(**settings), 10, 0),
    }
    found = {name: Driver(Winding().eval(), grey, **HOW).run(sequence) for name, sequence in attack_sequences.items()}
    flags = {"aa": found["aa"].robust, "min_linf": found["min_linf"].distance > THREAT.eps}
    (line,) = masking({name: "".join("01"[int(hit)] for hit in hits) for name, hits in flags.items()}, RULES)
    assert (line.name, line.passed) == ("minimum", False)


class Changing(nn.Module):
    """Is one network for so many images and another one afterwards, as a defence that learns from queries is."""

    def __init__(self, images, before, after):
        super().__init__()
        self.images, self.before, self.after = images, before, after

    def forward(self, x):
        self.images -= len(x) if self.images > 0 else 0
        return (self.before if self.images > 0 else self.after)(x)


@pytest.mark.reliability("flags")
def test_an_autoattack_that_was_misled_is_seen(trained):
    net, data = trained
    rounding = Behind(net, lambda net, x: net((x * 5).round() / 5)).eval()
    ascent = {"step": THREAT.step, "steps": 20, "start": "uniform", "clip_start": True}
    short = {"version": "standard", "iterations": 3, "queries": 20, "targets": 9}
    found, right = {}, int((net(data.x).argmax(1) == data.y).sum())
    queries = len(data) + 21 * right  # clean images, 20 steps, and what they found
    learning = Changing(queries + 1, net, rounding).eval()
    for name, sequence in {"pgd20": column("pgd", **ascent), "aa": column("autoattack", **short)}.items():
        outcome = Driver(learning, data, **HOW).run(sequence)
        found |= {name: "".join("01"[int(hit)] for hit in outcome.robust)}
    (line,) = (line for line in masking(found, RULES) if line.name == "autoattack")
    assert not line.passed
    assert line.found.startswith("pgd20 leaves ")


@pytest.mark.reliability("flags")
def test_more_images_right_under_attack_than_clean_are_seen(trained):
    net, data = trained
    confused = Behind(net, lambda net, x: net(x).roll(1, 1)).eval()
    warming = Changing(len(data) + 1, confused, net).eval()
    clean = Driver(warming, data, **HOW).clean() == data.y
    seen = {"clean": "".join("01"[int(hit)] for hit in clean)}
    lines, _ = masking_checks(warming, data, judged(seen), probes(THREAT, RULES), RULES, **HOW)
    assert "clean" in {line.name for line in lines if not line.passed}


@pytest.mark.reliability("flags")
def test_images_that_transfer_from_another_network_better_than_its_own_are_seen(trained):
    net, data = trained
    rounding = Behind(net, lambda net, x: net((x * 5).round() / 5)).eval()
    own = Driver(rounding, data, **HOW).run(probes(THREAT, RULES)["pgd20"])
    flags = {"clean": own.clean, "pgd20": own.robust}
    result = judged({name: "".join("01"[int(hit)] for hit in hits) for name, hits in flags.items()})
    lines, _ = masking_checks(rounding, data, result, {"transfer": transfer(net, THREAT, data.x[:1])}, RULES, **HOW)
    assert "transfer" in {line.name for line in lines if not line.passed}


def test_only_what_is_missing_is_measured(trained):
    net, data = trained
    have = {"pgd20": "1" * len(data)}
    ticks = []
    columns = missing(net, data, have, probes(THREAT, RULES), RULES, on_progress=ticks.append, **HOW)
    found = {name: column.text(len(data)) for name, column in columns.items()}
    assert [(on_progress.column, on_progress.images) for on_progress in ticks] == [
        (name, int(column.outcome.clean.sum())) for name, column in columns.items()
    ]
    assert set(found) == {"pgd100", "far", "unbounded", "path"}
    assert {len(outcome) for outcome in found.values()} == {len(data)}
    assert {sum(mark != "-" for mark in outcome) for outcome in found.values()} == {RULES.images}
    assert missing(net, data, have | found, probes(THREAT, RULES), RULES, **HOW) == {}


def test_what_is_missing_is_measured_where_the_others_looked(trained):
    net, data = trained
    have = {"pgd20": "1" * len(data), "aa": "10-" * (len(data) // 3) + "-" * (len(data) % 3)}
    found = missing(net, data, have, {"far": probes(THREAT, RULES)["far"]}, RULES, **HOW)["far"].text(len(data))
    seen = [place for place, mark in enumerate(found) if mark != "-"]
    assert len(seen) == RULES.images
    assert all(have["aa"][place] != "-" for place in seen)


def test_probes_leave_the_ball_of_pgd20_only_where_they_should(net, make_batch):
    batch, reach = make_batch(dtype=torch.float64), {}
    for name, sequence in probes(THREAT, RULES).items():
        batch.noise = PerImage(0, batch.index)
        reach[name] = float((sequence.attacks["pgd"](net.eval(), batch) - batch.x).abs().max())
        assert reach[name] <= (sequence.eps or 1) + 1e-9
    assert reach["pgd20"] == pytest.approx(0.1)
    assert reach["pgd100"] == pytest.approx(0.1)
    assert reach["far"] > 0.5


def test_probes_in_l2_leave_the_ball_only_where_they_should(net, make_batch):
    batch, reach = make_batch(dtype=torch.float64), {}
    batch.x = batch.x * 0.2 + 0.4  # far from the borders of the unit cube
    for name, sequence in probes(L2Threat(eps=0.05, step=0.02), RULES).items():
        batch.noise = PerImage(0, batch.index)
        x_adv = sequence.attacks["pgd"](net.eval(), batch)
        reach[name] = float(distance(x_adv, batch.x, "l2").max())
        assert sequence.metric == "l2"
    assert reach["pgd20"] == pytest.approx(0.05)
    assert reach["pgd100"] == pytest.approx(0.05)
    assert reach["path"] <= 0.05 + 1e-9
    assert reach["far"] > RULES.radius * 0.05 + 1e-6  # more than the multiple, since the radius is less than the usual
    assert reach["unbounded"] > 0.3 * batch.x[0].numel() ** 0.5


def test_in_l2_the_smallest_l2_perturbations_stand_beside_autoattack():
    outcomes = {"clean": "1" * 100, "aa": "1" * 50 + "0" * 50, "min_l2": "1" * 20 + "0" * 80}
    found = {line.name: line for line in masking(outcomes, RULES)}["minimum"]
    assert (found.passed, found.found) == (False, "min_l2 at eps leaves 20 of 100 images, aa 50")


def test_a_result_is_taken_apart():
    outcomes = {"clean": "1111", "pgd20": "1110", "aa": "1000", "min_linf": "1000"}
    about = {"label": "", "package": ""}
    columns = {
        "pgd20": ColumnResult(**about, broken_by={"pgd": [3]}),
        "aa": ColumnResult(**about, broken_by={"apgd-ce": [3], "square": [1, 2]}),
        "min_linf": MinimumResult(
            **about, broken_by={"fmn": [1], "fab-1": [2, 3]}, norm="linf", rows=[0], distances=[0.1]
        ),
    }
    result = judged(outcomes | {"worst": "1000"}, **columns)
    assert apart(result) == outcomes | {"apgd-ce": "1110", "square": "1000"}
