"""The driver: bitwise the reference's evaluation, unit by unit, in any order, from any interruption."""

import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pyautoattack
import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from cure.core.attack import AttackSequence, distance
from cure.core.method import Batch
from cure.data.loader import Split
from cure.errors import UserError
from cure.evaluation.driver import Driver, Unfinished
from cure.evaluation.measure import outcomes
from cure.evaluation.work_items import Examples, Outcome, WorkItemFolder
from tests.support.attacks import ASCENT, EPS, EPS_L2, SHORT, autoattack, autoattack_l2, images, pgd, sequence

MINIMUM = {"norm": "linf", "steps": 30, "step": 1.0, "gamma": 0.05, "targets": 2, "iterations": 10}


@pytest.fixture
def net(make_net) -> nn.Module:
    """A network in training mode with unfrozen weights; the driver must see to both."""
    net = make_net(classes=10, width=8, dtype=torch.float32)
    with torch.no_grad():
        net.eval().linear.bias -= net(images(60)).mean(0)
    return net.train()


@pytest.fixture
def data(net) -> Examples:
    """60 images near the borders between classes, of which the network gets all right but every tenth."""
    x = images(60)
    with torch.no_grad():
        y = net.eval()(x).argmax(1)
    net.train()
    y[::10] = (y[::10] + 1) % 10
    return Examples(x, y, torch.arange(60))


def driver(net: nn.Module, data: Examples, **more) -> Driver:
    return Driver(net, data, **({"batch": 16, "seed": 0} | more))


def reference(
    net: nn.Module, data: Examples, batch: int, iterations: int, queries: int, eps: float = EPS, norm: str = "Linf"
) -> tuple[Tensor, Tensor]:
    """The package's own evaluation, with its published settings but for two numbers."""
    whole = pyautoattack.AutoAttack(net.eval(), eps=eps, norm=norm, seed=0)
    ball = {"n_restarts": 1, "eps": eps, "norm": norm, "seed": 0}
    how = {"n_iter": iterations, **ball}
    whole.apgd, whole.apgd_targeted = APGDAttack(net, **how), APGDAttack_targeted(net, n_target_classes=9, **how)
    whole.fab = FABAttack_PT(net, n_target_classes=9, **how)
    whole.square = SquareAttack(net, n_queries=queries, p_init=0.8, resc_schedule=False, **ball)
    return whole.run_standard_evaluation(data.x, data.y, batch_size=batch)


PUBLISHED = (16, 16, 100, 5000)


@pytest.mark.parametrize(
    ("images", "batch", "iterations", "queries"), [(60, 16, 12, 60), (60, 100, 12, 60), (9, 1, 12, 60), PUBLISHED]
)
def test_it_is_the_references_own_evaluation_bit_for_bit(net, data, images, batch, iterations, queries) -> None:
    data = data[torch.arange(images)]
    found = driver(net, data, batch=batch).run(autoattack(iterations=iterations, queries=queries))
    x_adv, y_adv = reference(net, data, batch, iterations, queries)
    assert torch.equal(found.x_adv, x_adv)
    assert torch.equal(found.predicted, y_adv)
    assert 0 < found.robust.sum() < found.clean.sum()
    assert sum(map(len, found.broken_by.values())) == found.clean.sum() - found.robust.sum()


@pytest.mark.parametrize(
    ("images", "batch", "iterations", "queries"), [(60, 16, 12, 60), (60, 100, 12, 60), (9, 1, 12, 60), PUBLISHED]
)
def test_in_l2_too_it_is_the_references_own_evaluation_bit_for_bit(
    net, data, images, batch, iterations, queries
) -> None:
    data, short = data[torch.arange(images)], {"iterations": iterations, "queries": queries}
    found = driver(net, data, batch=batch).run(autoattack_l2(**short))
    x_adv, y_adv = reference(net, data, batch, iterations, queries, EPS_L2, "L2")
    assert torch.equal(found.x_adv, x_adv)
    assert torch.equal(found.predicted, y_adv)
    assert 0 < found.robust.sum() < found.clean.sum()
    broken = ~found.distance.isinf() & found.clean
    assert torch.equal(found.distance[broken], distance(x_adv, data.x, "l2")[broken])


def test_what_leaves_the_l2_ball_does_not_count(net, data, capsys) -> None:
    def far(net: nn.Module, batch: Batch) -> Tensor:
        return 1 - batch.x

    near = AttackSequence({"far": far}, {"far": 1}, EPS_L2, ball="l2")
    reach = float(distance(1 - data.x, data.x, "l2").max())
    assert torch.equal(driver(net, data).run(near).robust, driver(net, data).run(AttackSequence({}, {})).robust)
    assert "left the ball" in capsys.readouterr().err
    assert driver(net, data).run(replace(near, eps=reach, facts={"far": 2})).robust.sum() < 54


@dataclass(frozen=True)
class Whole:
    """What AutoAttack found in one go, with its work items and its ticks."""

    outcome: Outcome
    folder: Path
    ticks: list[tuple[str, int, int]]


@pytest.fixture(scope="module")
def kept() -> list[Whole]:
    return []


@pytest.fixture
def whole(net, data, kept, tmp_path_factory) -> Whole:
    """Computed by the first test that asks; the networks and images of all tests are the same."""
    if not kept:
        folder, ticks = tmp_path_factory.mktemp("whole"), []
        found = driver(net, data, store=WorkItemFolder(folder), on_progress=lambda *tick: ticks.append(tick))
        kept.append(Whole(found.run(autoattack()), folder, ticks))
    return kept[0]


def same(one, other) -> bool:
    pairs = [(one.x_adv, other.x_adv), (one.predicted, other.predicted), (one.distance, other.distance)]
    pairs += [(one.broken_by[name], other.broken_by[name]) for name in one.broken_by]
    return all(torch.equal(*pair) for pair in pairs)


def test_units_of_two_shares_in_any_order_and_any_random_state_make_the_same_whole(net, data, whole) -> None:
    store, turns = {}, 0
    found = None
    while found is None:
        turns += 1
        torch.manual_seed(turns)  # somebody else's draws
        try:
            found = driver(net, data, store=store, share=(turns % 2, 2)).run(autoattack())
        except Unfinished:
            assert turns < 10
    assert turns > 4  # each attack but the first waits for the other share's survivors
    assert same(found, whole.outcome)


def test_the_callers_random_numbers_gradients_modes_and_tracer_are_left_alone(net, data) -> None:
    torch.manual_seed(5)
    net.bn1.eval()
    net.conv2.requires_grad_(False)
    before, state = torch.get_rng_state(), {key: value.clone() for key, value in net.state_dict().items()}
    situation = [m.training for m in net.modules()], [w.requires_grad for w in net.parameters()], sys.gettrace()
    driver(net, data).run(autoattack(iterations=4, queries=20))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())
    after = [m.training for m in net.modules()], [w.requires_grad for w in net.parameters()], sys.gettrace()
    assert after == situation


class Killed(Exception):
    pass


class Fragile(WorkItemFolder):
    """A folder whose process dies after so many units."""

    def __init__(self, path, lives: int) -> None:
        super().__init__(path)
        self.lives = lives

    def __setitem__(self, key, unit) -> None:
        if not self.lives:
            raise Killed
        self.lives -= 1
        super().__setitem__(key, unit)


@pytest.mark.parametrize("lives", [0, 1, 5, 9])
def test_killed_after_some_units_and_run_again_it_leaves_the_same_files(net, data, tmp_path, whole, lives) -> None:
    with pytest.raises(Killed):
        driver(net, data, store=Fragile(tmp_path, lives)).run(autoattack())
    assert len(WorkItemFolder(tmp_path)) == lives
    ticks: list[str] = []
    again = Fragile(tmp_path, len(WorkItemFolder(whole.folder)) - lives)  # dies if it must do more than the rest
    found = driver(net, data, store=again, on_progress=lambda name, *_: ticks.append(name)).run(autoattack())
    assert same(found, whole.outcome)
    assert len(ticks) == 4 * 4
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in (whole.folder, tmp_path)]
    assert files[0] == files[1]


def test_a_damaged_unit_is_computed_again(net, data, tmp_path, whole) -> None:
    shutil.copytree(whole.folder, tmp_path, dirs_exist_ok=True)
    victim = max(tmp_path.iterdir())  # the checks of types want to read the first
    sound = victim.read_bytes()
    victim.write_bytes(sound[:40])
    assert same(driver(net, data, store=WorkItemFolder(tmp_path)).run(autoattack()), whole.outcome)
    assert victim.read_bytes() == sound


def moved(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        net.linear.bias[0] += 1e-4
    return net


OTHERS = {
    "weights": lambda net, data: (moved(net), data, {}, pgd()),
    "seed": lambda net, data: (net, data, {"seed": 1}, pgd()),
    "batch": lambda net, data: (net, data, {"batch": 15}, pgd()),
    "settings": lambda net, data: (net, data, {}, sequence("pgd", **ASCENT | {"steps": 9})),
    "objective": lambda net, data: (net, data, {}, sequence("cw", **ASCENT)),
    "images": lambda net, data: (net, Examples(1 - data.x, data.y, data.index), {}, pgd()),
    "labels": lambda net, data: (net, Examples(data.x, (data.y + 1) % 10, data.index), {}, pgd()),
    "places": lambda net, data: (net, Examples(data.x, data.y, data.index + 60), {}, pgd()),
}


@pytest.mark.parametrize("what", OTHERS)
def test_nothing_is_taken_from_an_evaluation_that_differs(net, data, what) -> None:
    store: dict = {}
    driver(net, data, store=store).run(pgd())
    before = set(store)
    net, data, more, other = OTHERS[what](net, data)
    driver(net, data, store=store, **more).run(other)
    fresh: dict = {}
    driver(net, data, store=fresh, **more).run(other)
    assert not before & set(fresh)


class Counter(nn.Module):
    """A linear classifier that nothing within reach breaks, counting forwards, and those that keep a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards = self.with_gradient = 0
        self.weight = nn.Parameter(torch.randn(64, 10, generator=torch.Generator().manual_seed(0)) * 0.01)
        self.bias = nn.Parameter(torch.tensor([9.0] + [0.1 * k for k in range(9)]))

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += 1
        self.with_gradient += int(x.requires_grad)
        return x.flatten(1) @ self.weight + self.bias


PASSES = {"apgd-ce": (102, 101), "apgd-t": (919, 909), "fab-t": (1828, 900), "square": (5003, 0)}


@pytest.mark.parametrize("name", PASSES)
def test_a_survivor_costs_the_published_number_of_passes(name: str) -> None:
    one = Examples(images(1), torch.zeros(1, dtype=torch.long), torch.arange(1))
    whole, net, passes = sequence("autoattack", eps=EPS, **SHORT | {"iterations": 100, "queries": 5000}), Counter(), []
    attack = whole.attacks[name]

    def counted(attacked, batch):
        attacked.forwards = attacked.with_gradient = 0
        x_adv = attack(attacked, batch)
        passes.append((attacked.forwards, attacked.with_gradient))
        return x_adv

    found = driver(net, one).run(AttackSequence({name: counted}, {}, EPS))
    assert found.robust.all()
    assert passes == [PASSES[name]]
    assert net.forwards == PASSES[name][0] + 1  # the one that verifies


def test_verification_is_one_forward_of_the_network_per_batch(net, data) -> None:
    seen: list[int] = []
    net.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    driver(net, data, attacked=nn.Sequential(nn.Flatten(), nn.Linear(64, 10))).run(pgd())
    assert seen == [16, 16, 16, 12, 16, 16, 16, 6]  # clean, then the 54 that are classified correctly


def test_what_the_attacked_copy_predicts_does_not_count(net, data) -> None:
    blind = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    misled = driver(net, data, attacked=blind).run(pgd())
    with torch.no_grad():
        right = net.eval()(misled.x_adv).argmax(1) == data.y
    assert torch.equal(misled.robust, misled.clean & right)
    assert misled.robust.sum() > driver(net, data).run(pgd()).robust.sum()


def test_an_image_outside_the_ball_is_no_success(net, data) -> None:
    far = AttackSequence({"far": lambda net, batch: 1 - batch.x}, {}, eps=EPS)
    assert torch.equal(driver(net, data).run(far).robust, driver(net, data).run(far).clean)
    assert driver(net, data).run(AttackSequence(far.attacks, {}, eps=1.0)).robust.sum() < 54


@pytest.mark.parametrize(
    "lie",
    [
        lambda net, batch: batch.x + 2 * EPS,
        lambda net, batch: batch.x - 0.9 * EPS - batch.x.amin((1, 2, 3), keepdim=True),  # in the ball, but negative
        lambda net, batch: batch.x * float("nan"),
    ],
    ids=["ball", "cube", "nan"],
)
def test_an_attack_that_leaves_ball_or_cube_is_told_and_does_not_count(net, data, lie, capsys) -> None:
    class Fooled(nn.Module):
        """Wrong on everything but the images themselves."""

        def forward(self, x: Tensor) -> Tensor:
            right = torch.nn.functional.one_hot(data.y[: len(x)], 10).float()
            seen = torch.stack([(data.x == one).flatten(1).all(1).any() for one in x])
            return torch.where(seen[:, None], right, 1 - right)

    liar = Driver(Fooled(), data, batch=60, seed=0).run(AttackSequence({"liar": lie}, {}, eps=EPS))
    assert torch.equal(liar.robust, liar.clean)
    assert "liar: 60 images left the ball or [0, 1] and do not count" in capsys.readouterr().err


def test_pgd_gives_the_flags_of_validation(net, data) -> None:
    as_uint8 = (data.x * 255).round().to(torch.uint8)
    rounded = Examples(as_uint8.float() / 255, data.y, data.index)
    flags = outcomes(net, Split(as_uint8, data.y), {"pgd": next(iter(pgd().attacks.values()))}, batch=16, seed=0)
    found = driver(net, rounded).run(pgd())
    assert torch.equal(found.clean, flags["clean"])
    assert torch.equal(found.robust, flags["pgd"])
    assert 0 < found.robust.sum() < found.clean.sum()


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_neither_batch_size_nor_order_changes_what_our_ascents_find(net, data, batch) -> None:
    data = data[torch.arange(24)]
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3))
    whole, found = driver(net, data).run(pgd()), driver(net, data[order], batch=batch).run(pgd())
    assert torch.equal(found.robust, whole.robust[order])
    both = found.robust | whole.robust[order]
    torch.testing.assert_close(found.x_adv[both], whole.x_adv[order][both], rtol=0, atol=1e-5)


def test_autoattack_leaves_no_more_images_than_pgd(net, data, whole) -> None:
    assert whole.outcome.robust.sum() <= driver(net, data).run(pgd()).robust.sum()


def test_each_tick_is_a_batch_of_an_attack_and_they_all_come(whole) -> None:
    broken_by = whole.outcome.broken_by
    assert [name for name, _, _ in whole.ticks] == [name for name in broken_by for _ in range(4)]
    for name, rows in broken_by.items():
        assert sum(broken for attack, broken, _ in whole.ticks if attack == name) == len(rows)


# ---- few classes, random networks


@pytest.mark.parametrize(
    ("classes", "version", "label", "names"),
    [
        (10, "standard", "standard", ["apgd-ce", "apgd-t", "fab-t", "square"]),
        (100, "standard", "standard", ["apgd-ce", "apgd-t", "fab-t", "square"]),
        (7, "standard", "custom", ["apgd-ce", "apgd-t", "fab-t", "square"]),
        (4, "standard", "custom", ["apgd-ce", "apgd-t", "fab-t", "square"]),
        (3, "standard", "custom", ["apgd-ce", "apgd-margin", "fab-t", "square"]),
        (2, "standard", "custom", ["apgd-ce", "apgd-margin", "fab-t", "square"]),
        (10, "rand", "rand", ["apgd-ce", "apgd-dlr"]),
        (2, "rand", "custom", ["apgd-ce", "apgd-margin"]),
    ],
)
def test_the_label_says_whether_it_is_the_published_attack(classes, version, label, names) -> None:
    how = {"eps": EPS, "version": version, "iterations": 100, "queries": 5000, "targets": 9}
    found = sequence("autoattack", classes, **how)
    assert (found.label, list(found.attacks)) == (label, names)


@pytest.mark.parametrize("change", [{"iterations": 99}, {"queries": 4999}, {"targets": 8}])
def test_any_other_number_makes_it_custom(change) -> None:
    published = {"eps": EPS, "version": "standard", "iterations": 100, "queries": 5000, "targets": 9}
    assert sequence("autoattack", **published | change).label == "custom"


@pytest.mark.parametrize("classes", [2, 3, 4, 7])
def test_few_classes_are_attacked_by_every_attack(make_net, classes) -> None:
    net, x = make_net(classes=classes, dtype=torch.float32).eval(), images(30)
    with torch.no_grad():
        net.linear.bias -= net(x).mean(0)
        data = Examples(x, net(x).argmax(1), torch.arange(30))
    whole = sequence("autoattack", classes, eps=0.06, **SHORT)
    for name, attack in whole.attacks.items():
        alone = driver(net, data).run(AttackSequence({name: attack}, {}, whole.eps))
        assert alone.robust.sum() < 30, name


class Noisy(nn.Module):
    """A network that draws at random, as defences do that break gradients."""

    def __init__(self, net: nn.Module, sigma: float) -> None:
        super().__init__()
        self.net, self.sigma = net, sigma

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + self.sigma * torch.randn_like(x))


def test_a_random_network_is_judged_by_its_mean_and_repeats_itself(net, data) -> None:
    whole = autoattack(version="rand", iterations=3)
    assert whole.passes == 20
    noisy = Noisy(net, 0.05)
    first = driver(noisy, data).run(whole)
    torch.manual_seed(77)
    assert same(driver(noisy, data).run(whole), first)
    single = driver(noisy, data).run(AttackSequence(whole.attacks, whole.facts, EPS))
    assert not torch.equal(single.predicted, first.predicted)
    assert first.robust.sum() < first.clean.sum()


# ---- smallest perturbations


def test_the_shortest_verified_way_of_every_attack_counts(net, data) -> None:
    whole = sequence("minimum", **MINIMUM)
    assert list(whole.attacks) == ["fmn", "fab-1", "fab-2"]
    found = driver(net, data).run(whole)
    each = [
        driver(net, data).run(AttackSequence({name: attack}, {}, norm="linf")).distance
        for name, attack in whole.attacks.items()
    ]
    assert torch.equal(found.distance, torch.stack(each).amin(0))
    assert torch.equal((found.x_adv - data.x).flatten(1).abs().amax(1), found.distance)
    with torch.no_grad():
        wrong = net.eval()(found.x_adv).argmax(1) != data.y
    assert wrong[found.distance.isfinite()].all()
    assert (found.distance[~found.clean] == 0).all()
    assert len({name for name, rows in found.broken_by.items() if len(rows)}) > 1
    assert sorted(torch.cat(list(found.broken_by.values())).tolist()) == found.clean.nonzero()[:, 0].tolist()


def test_an_image_without_a_way_out_is_infinitely_far(data) -> None:
    constant = Counter()
    data = Examples(data.x, torch.zeros_like(data.y), data.index)
    found = driver(constant, data).run(sequence("minimum", **MINIMUM | {"steps": 2, "step": 1e-6, "targets": 0}))
    assert found.distance.isinf().all()
    assert found.robust.all()


# ---- refusals


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_images_outside_the_unit_cube_are_refused(net, data, bad) -> None:
    x = data.x.clone()
    x[3, 0, 0, 0] = bad
    with pytest.raises(UserError, match=r"^images: values from .* not in \[0, 1\]; normalise inside the network$"):
        driver(net, Examples(x, data.y, data.index))


def test_logits_that_are_not_finite_are_refused(net, data) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net(x) / (x.flatten(1).sum(1, keepdim=True) > 32)

    with pytest.raises(UserError, match="logits are not finite"):
        driver(Broken(), data).run(pgd())
