"""Lines of the masking report that ask what happened on the way of an attack, and what happens without a bound."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from cure import catalogue
from cure.adversarial.pgd import misclassified, pgd
from cure.core.method import Batch
from cure.core.noise import PerImage
from cure.evaluation.diagnostics.attack_path import USUAL, convergence, first_adversarial
from cure.evaluation.diagnostics.extra_attacks import masking_checks, missing, probes
from cure.evaluation.driver import Driver
from cure.evaluation.statistics.results import AttackResult
from cure.evaluation.work_items import Examples
from tests.support.diagnostics import HOW, RULES, THREAT
from tests.support.networks import Behind


def report(net, data, **how):
    """Every line about a network of which nothing but its clean predictions is known."""
    clean = "".join("01"[int(hit)] for hit in Driver(net, data, **HOW).clean() == data.y)
    known = {"images": len(data), "outcomes": {"clean": clean}, "columns": {}, "problems": []}
    result = AttackResult(**known, eps=THREAT.eps, seed=0, batch=100)
    lines, _ = masking_checks(net, data, result, probes(THREAT, RULES), RULES, **HOW, **how)
    return {line.name: line for line in lines}


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return torch.from_numpy(images).float().reshape(-1, 1, 8, 8) / 16, torch.from_numpy(labels).long()


@pytest.fixture(scope="module")
def data(digits):
    x, y = digits
    return Examples(x[1400:1600], y[1400:1600], torch.arange(200))


def naturally_trained(digits, model, width):
    x, y = digits
    torch.manual_seed(0)
    entry = catalogue.entry("models", model)
    net = entry.MODEL(entry.Hyper(width=width), 1, 10)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for _ in range(4):
        for rows in torch.randperm(1400).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def small(digits):
    return naturally_trained(digits, "small", 16)


def grey(images=90):
    return Examples(torch.full((images, 1, 8, 8), 0.5), torch.zeros(images, dtype=torch.long), torch.arange(images))


def of_margin(margin):
    """Logits of ten classes in which class 1 leads class 0 by so much, and all others stay behind."""
    return torch.stack([torch.zeros_like(margin), margin, *[torch.full_like(margin, -120.0)] * 8], 1)


class Crossing(nn.Module):
    """Adversarial between 0.4 and 0.8 of the way out of the ball, and never at its border, towards which it rises."""

    def forward(self, x):
        out = ((x - 0.5) / THREAT.eps).mean((1, 2, 3))
        return of_margin(torch.where(out < 0.8, out - 0.4, out - 2))


class Slope(nn.Module):
    """Rises with every pixel in turn: a pixel has a gradient once the one before it is out of the way."""

    def forward(self, x):
        out = ((x.flatten(1) - 0.5) / THREAT.eps).clamp(max=0.9)
        opened = F.pad(torch.cumprod((out > 0.85).float(), 1)[:, :-1], (1, 0), value=1.0)
        return of_margin(((1 + out) * opened).sum(1) - 80)


def test_sound_networks_raise_no_line(digits, data, small):
    for net in (small, naturally_trained(digits, "small_resnet", 8)):
        lines = report(net, data)
        assert {"unbounded", "silent success", "converged", "progress"} <= set(lines)
        assert [line for line in lines.values() if not line.passed] == []


@pytest.mark.reliability("flags")
def test_an_adversarial_iterate_that_the_last_one_is_not_is_seen():
    line = report(Crossing().eval(), grey())["silent success"]
    assert not line.passed
    assert line.found == "pgd20 up to its first adversarial iterate leaves 0 of 90 images, pgd20 90"


@pytest.mark.reliability("flags")
def test_a_loss_that_still_rises_at_the_end_is_seen_where_more_steps_do_not_show_it():
    lines = report(Slope().eval(), grey())
    assert lines["steps"].passed
    assert not lines["converged"].passed
    assert lines["converged"].found.startswith("the margin still rises in the last 5 of 20 steps on ")


@pytest.mark.reliability("flags")
@pytest.mark.parametrize(
    "way", [lambda net, x: net((x * 5).round() / 5), lambda net, x: net(x) * 1e5], ids=["rounded", "saturated"]
)
def test_a_loss_that_does_not_rise_in_many_steps_is_seen(data, small, way):
    line = report(Behind(small, way).eval(), data)["progress"]
    assert not line.passed
    assert line.found.startswith("20 steps do not raise the margin on ")


@pytest.mark.reliability("flags")
def test_images_that_an_attack_without_a_bound_leaves_are_seen(data, small):
    def blind(net, images):
        found = (images[:, None] == data.x[:20]).flatten(2).all(2).any(1)  # these alone, not what lies around them
        z = net(images)
        return torch.where(found[:, None], z.detach(), z)

    lines = report(Behind(small, blind).eval(), data)
    assert not lines["unbounded"].passed
    assert lines["far"].passed


def path(*margins):
    return torch.tensor([margins])


def names(margins, rules=RULES):
    return [line.name for line in convergence(margins, USUAL["linf"], rules) if not line.passed]


SETTLED, MOVING, STUCK = path(-5, -2, -1, -1), path(-5, -4, -3, -2), path(-5, -4.99, -5, -5)


@pytest.mark.parametrize(
    ("margins", "red"),
    [
        (SETTLED.repeat(90, 1), []),
        (MOVING.repeat(90, 1), ["converged"]),
        (STUCK.repeat(90, 1), ["progress"]),
        (torch.cat([SETTLED.repeat(70, 1), MOVING.repeat(20, 1)]), ["converged"]),
        (torch.cat([SETTLED.repeat(81, 1), MOVING.repeat(9, 1)]), []),  # as many as may be otherwise
        (torch.cat([SETTLED.repeat(2, 1), MOVING]), []),  # few images prove nothing
        (path(-5, -1, -4, -3).repeat(90, 1), []),  # the best so far counts: an attack may step back
    ],
)
def test_shares_of_the_images_decide(margins, red):
    assert names(margins) == red


def test_thresholds_are_settings():
    assert names(MOVING.repeat(90, 1), RULES.model_copy(update={"late_rise": 0.4})) == []
    assert names(STUCK.repeat(90, 1), RULES.model_copy(update={"least_rise": 0.001})) == []
    assert names(STUCK.repeat(90, 1), RULES.model_copy(update={"exceptions": 1.0})) == []


def test_the_first_adversarial_iterate_is_returned_and_margins_are_shown(data, small):
    search = probes(THREAT, RULES)["path"].attacks["pgd"].keywords["search"]
    shown = {}

    def batch(**more):
        return Batch(data.x, data.y, data.index, PerImage(0, data.index), **more)

    found = first_adversarial(small, batch(watch=shown.__setitem__), search)
    stopped = pgd(small, batch(), search, lambda net, b: lambda z: F.cross_entropy(z, b.y), stop=misclassified)
    assert torch.equal(found, stopped)
    margins = shown["margins"]
    assert margins.shape == (len(data), search.steps)
    wrong = small(found).argmax(1) != data.y
    assert bool((margins[~wrong] <= 0).all())
    ended = margins[:, -1] > 0
    assert bool(wrong[ended].all())
    assert 0 < int(ended.sum()) < len(data)


def test_where_every_image_has_ended_the_margins_are_as_long(small, data):
    search = probes(THREAT, RULES)["path"].attacks["pgd"].keywords["search"]
    shown = {}
    wrong = (data.y + 1) % 10
    first_adversarial(small, Batch(data.x, wrong, data.index, PerImage(0, data.index), watch=shown.__setitem__), search)
    assert shown["margins"].shape == (len(data), search.steps)


def test_what_was_shown_outlives_a_killed_run(small, data):
    store, sequence = {}, {"path": probes(THREAT, RULES)["path"]}
    first = missing(small, data, {}, sequence, RULES, store=store, **HOW)["path"].outcome.shown["margins"]
    again = missing(small, data, {}, sequence, RULES, store=store, **HOW)["path"].outcome.shown["margins"]
    assert torch.equal(first.nan_to_num(9), again.nan_to_num(9))
    assert bool(first.isfinite().any())


def test_the_path_is_seen_through_what_attacks_see(small, data):
    through = Behind(small, lambda net, x: net(x) * 3).eval()
    ours, theirs = (
        missing(small, data, {}, {"path": probes(THREAT, RULES)["path"]}, RULES, through=seen, **HOW)["path"]
        for seen in (None, through)
    )
    start = [column.outcome.shown["margins"][:, 0] for column in (ours, theirs)]
    torch.testing.assert_close(start[1], 3 * start[0], equal_nan=True)
