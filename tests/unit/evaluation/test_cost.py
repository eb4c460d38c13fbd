import pytest
import torch
from torch import nn

from cure import catalogue
from cure.core.noise import PerImage
from cure.errors import UserError
from cure.evaluation.cost import ColumnCost, images_for, work
from cure.evaluation.diagnostics.extra_attacks import probes
from cure.evaluation.speed import AttackSpeed, PassTime, Work, arithmetic, measure_speed
from cure.settings.sections import Masking, Threat

PUBLISHED = {"iterations": 100, "targets": 9, "queries": 5000}


class Unbeaten(nn.Module):
    """Right about label 0 whatever the image, with a gradient; counts the images of its forwards by kind."""

    def __init__(self, classes=10):
        super().__init__()
        self.way = nn.Parameter(torch.linspace(-1, 1, classes), requires_grad=False)
        self.plain = self.graded = 0

    def forward(self, x):
        self.plain, self.graded = self.plain + (not x.requires_grad), self.graded + x.requires_grad
        z = x.mean((1, 2, 3))[:, None] * self.way
        return torch.cat([z[:, :1] + 9, z[:, 1:]], 1)

    @property
    def work(self):
        return Work(self.plain + self.graded, self.graded)


def reference(name):
    return pytest.importorskip(f"pyautoattack.{name}")


def autoattack(name, net, n, targets, queries):
    apgd, fab, square = reference("autopgd_base"), reference("fab_pt"), reference("square")
    common = {"eps": 0.01, "seed": 0, "n_restarts": 1}
    return {
        "apgd-ce": lambda: apgd.APGDAttack(net, n_iter=n, loss="ce", **common),
        "apgd-dlr": lambda: apgd.APGDAttack(net, n_iter=n, loss="dlr", eot_iter=4, **common),
        "apgd-t": lambda: apgd.APGDAttack_targeted(net, n_iter=n, n_target_classes=targets, **common),
        "fab-t": lambda: fab.FABAttack_PT(net, n_iter=n, targeted=True, n_target_classes=targets, **common),
        "square": lambda: square.SquareAttack(net, n_queries=queries, **common),
    }[name]()


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square"])
@pytest.mark.parametrize(("n", "targets", "queries"), [(7, 2, 30), (12, 5, 11)])
def test_autoattack_costs_a_survivor_what_is_said(name, n, targets, queries):
    net, x = Unbeaten(), torch.rand(3, 1, 6, 6)
    with torch.no_grad():
        autoattack(name, net, n, targets, queries).perturb(x, torch.zeros(3, dtype=torch.long))
    facts = {"iterations": n, "targets": targets, "queries": queries, "eot": 4 if name == "apgd-dlr" else 1}
    assert net.work == work(name, facts)


@pytest.mark.parametrize("n", [5, 9])
def test_fab_towards_one_class(n):
    net = Unbeaten()
    attack = reference("fab_pt").FABAttack_PT(net, n_iter=n, targeted=True)
    attack.target_class = 2
    with torch.no_grad():
        attack.attack_single_run(torch.rand(3, 1, 6, 6), torch.zeros(3, dtype=torch.long), is_targeted=True)
    assert net.work == work("fab-2", {"iterations": n})


def test_the_published_counts():
    parts = [work(name, PUBLISHED) for name in ("apgd-ce", "apgd-t", "fab-t", "square")]
    assert [(w.forwards, w.gradients) for w in parts] == [(102, 101), (919, 909), (1828, 900), (5003, 0)]


@pytest.mark.parametrize("name", ["pgd", "cw"])
def test_an_ascent_costs_what_is_said(name, make_batch):
    net, entry = Unbeaten(3), catalogue.entry("attacks", name)
    batch = make_batch(dtype=torch.float32)
    batch.noise = PerImage(0, batch.index)
    entry.attack(net, batch, entry.Hyper(eps=0.1, step=0.1, steps=4, start="uniform", clip_start=True))
    assert net.work == work(name, {"steps": 4})


@pytest.mark.parametrize("name", ["pgd20", "pgd100", "far", "unbounded", "path"])
def test_a_probe_of_the_masking_report_costs_what_is_said(name, make_batch):
    net, batch = Unbeaten(3), make_batch(dtype=torch.float32)
    batch.noise, batch.y = PerImage(0, batch.index), torch.zeros_like(batch.y)
    sequence = probes(Threat(eps=0.1, step=0.025), Masking.model_construct(radius=2))[name]
    sequence.attacks["pgd"](net, batch)
    assert net.work == work("pgd", sequence.facts)


def test_an_attack_of_unknown_cost_is_refused():
    with pytest.raises(UserError, match=r"cost: the passes of 'spsa' are not known; known: pgd, cw, "):
        work("spsa", PUBLISHED)


def test_seconds_of_passes_by_hand():
    assert PassTime(call=1.0, image=0.5).seconds(25, batch=10) == 3 * 1 + 25 * 0.5
    speed = AttackSpeed(PassTime(1.0, 0.1), PassTime(2.0, 0.3), batch=10, own={"pgd": PassTime(0.5, 0.0)})
    # on 20 images in two batches: one forward (2 + 2 s), two with gradient (4 + 6 s), three times half a second a batch
    assert speed.seconds("pgd", Work(3, 2), 20) == pytest.approx(4 + 2 * 10 + 3 * 1)
    assert speed.seconds("cw", Work(3, 2), 20) == pytest.approx(4 + 2 * 10)
    assert speed.check(20) == pytest.approx(4)


def test_seconds_of_a_column_by_hand():
    speed = AttackSpeed(PassTime(0.0, 1.0), PassTime(0.0, 3.0), batch=50)
    sequential = ColumnCost({"pgd": Work(3, 2), "square": Work(10, 0)})
    # a clean forward; 0.8 of the images meet the first attack (7 s and a check), 0.5 the second (10 s and a check)
    assert sequential.seconds(speed, 100, clean=0.8, robust=0.5) == pytest.approx(100 * (1 + 0.8 * 8 + 0.5 * 11))
    everywhere = ColumnCost(sequential.attacks, sequential=False)
    assert everywhere.seconds(speed, 100, clean=0.8, robust=0.5) == pytest.approx(100 * (1 + 0.8 * 8 + 0.8 * 11))
    random = ColumnCost({"pgd": Work(3, 2)}, passes=20)
    assert random.seconds(speed, 100, clean=0.8, robust=0.5) == pytest.approx(100 * (20 + 0.8 * 27))
    few = ColumnCost(sequential.attacks, subset=10)
    assert few.seconds(speed, 100, clean=0.8, robust=0.5) == pytest.approx(10 * (1 + 0.8 * 8 + 0.5 * 11))


def test_the_pace_is_measured_and_the_network_left_alone(net, make_batch):
    speed = measure_speed(net, make_batch(40).x, 20, {})
    assert min(speed.forward.seconds(1, 20), speed.gradient.seconds(1, 20)) > 0
    assert net.training
    assert all(weight.requires_grad and weight.grad is None for weight in net.parameters())


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but where something says how long it takes."""
    now = [0.0]
    monkeypatch.setattr("cure.evaluation.speed.time.perf_counter", lambda: now[0])
    return now


class Taking(nn.Module):
    """A forward takes 0.01 s and 0.001 s an image, whatever the clock says."""

    def __init__(self, now):
        super().__init__()
        self.now = now

    def forward(self, x):
        self.now[0] += 0.01 + 0.001 * len(x)
        return x.sum((1, 2, 3))[:, None]


@pytest.mark.parametrize("images", [2, 10, 40])
def test_two_batch_sizes_tell_a_call_from_an_image(clock, images):
    found = measure_speed(Taking(clock), torch.rand(images, 1, 4, 4), 40, {})
    for speed in (found.forward, found.gradient):
        assert (speed.call, speed.image) == (pytest.approx(0.01), pytest.approx(0.001))


def test_of_a_slow_network_no_large_batch_is_timed(clock):
    seen = []

    def slow(module, x):
        seen.append(len(x[0]))
        clock[0] += len(x[0])

    net = Taking(clock)
    net.register_forward_pre_hook(slow)
    measure_speed(net, torch.rand(100, 1, 4, 4), 100, {})
    assert max(seen) == 16


def test_what_an_attack_computes_itself_is_told_from_the_network(clock):
    def attack(net, batch):
        clock[0] += 5 * (0.02 + 0.003 * len(batch.x))  # five forwards, each with so much besides
        return batch.x

    found = arithmetic(attack, Work(5, 2), torch.rand(3, 1, 4, 4))
    assert (found.call, found.image) == (pytest.approx(0.02), pytest.approx(0.003))


def test_a_budget_picks_the_number_of_images_and_says_so():
    assert images_for(100.0, total=lambda n: 0.5 * n, images=1000, robust=0.5) == (
        200,
        "200 of 1000 images, about 100 s of 100 s; robust accuracy then within about 6.9 points",
    )
    assert images_for(1e6, total=lambda n: 0.5 * n, images=1000, robust=0.5)[0] == 1000


def test_a_budget_below_one_image_is_refused():
    with pytest.raises(UserError, match=r"budget: 3 s are less than the 12 s that one image takes; allow more time"):
        images_for(3.0, total=lambda n: 12.0 * n, images=1000, robust=0.5)


def test_a_column_on_fewer_images_does_not_get_dearer_beyond_them() -> None:
    # 10 seconds for a column on at most 60 images, 0.01 for each image of the rest
    fit, _ = images_for(5.0, total=lambda n: 10 * min(n, 60) / 60 + 0.01 * n, images=500, robust=0.5)
    assert fit == 28
