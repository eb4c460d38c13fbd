"""A printed plan: runs that cost the same are one line, and at every width each name and number is whole."""

import pytest

from cure.pipeline.planning.command import counted
from cure.pipeline.planning.cost_model import Estimate
from cure.pipeline.planning.printing import Costs, duration, each_run, formatted, scaled, sums
from cure.pipeline.planning.tasks import Task
from cure.storage.paths import Run
from tests.support.terminal import broken, cells, drawn

METHODS = ("natural", "at", "trades", "mart", "awp", "cure_eff")
WIDTHS = (40, 60, 80, 200)


def cost(passes: float) -> Estimate:
    return Estimate(passes=passes, flops=3.2e15, seconds=9000.0, memory=3 << 30, disk=5 << 20, resume=0)


def task(kind: str, method: str, seed: int = 0, *, done: bool = False, dataset: str = "cifar10") -> Task:
    run = Run(dataset, "resnet18", method, seed)
    return Task(f"{kind}_update_from_natural@{dataset}-resnet18-{method}-{seed}", kind, run, done=done)


@pytest.fixture
def plan() -> Costs:
    trained: Costs = [(task("update", name), cost(1e9 * place)) for place, name in enumerate(METHODS[1:], start=1)]
    return trained + [(task("attack", name, seed), cost(1234.0)) for name in METHODS for seed in (0, 1, 2)]


def test_runs_of_one_cost_are_one_line_with_their_number_methods_and_seeds(plan: Costs) -> None:
    table, members = each_run(plan)
    lines = cells(drawn(table, 250))
    numbers = [number for number in formatted(cost(1234.0)) if number]
    attacked = [line for line in lines if line[0].startswith("attack")]
    assert attacked == [["attack cifar10/resnet18", "18", *numbers]]
    assert members == [f"- attack cifar10/resnet18, 18 runs: {', '.join(METHODS)}; seeds 0, 1, 2"]
    assert [line[:2] for line in lines if line[0].startswith("update")] == [
        [f"update cifar10/resnet18/{name}-s0", "1"] for name in METHODS[1:]
    ]


@pytest.mark.parametrize(
    "other",
    [
        (task("attack", "at", done=True), cost(1.0)),
        (task("corrupt", "at"), cost(1.0)),
        (task("attack", "at", dataset="cifar100"), cost(1.0)),
        (task("attack", "at"), cost(2.0)),
    ],
)
def test_runs_of_another_kind_setting_state_or_cost_are_another_line(other: tuple[Task, Estimate]) -> None:
    same = (task("attack", "trades"), cost(1.0))
    assert len(each_run([same, other])[0].rows) == 2
    assert len(each_run([same, (task("attack", "at"), cost(1.0))])[0].rows) == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_every_name_and_number_is_whole(plan: Costs, width: int) -> None:
    lines = drawn(each_run(plan)[0], width) + drawn(sums(counted(plan)), width)
    names = {line.split()[0] for line in lines if line}
    assert {"update", "attack", "all"} <= names
    assert not broken(lines, {f"update cifar10/resnet18/{name}-s0" for name in METHODS[1:]})
    assert not broken(lines, {number for _, each in plan for number in formatted(each)})


def test_the_last_line_sums_what_is_to_be_done(plan: Costs) -> None:
    plan[0] = (task("update", "at", done=True), plan[0][1])
    plan.append((task("pretrain", "natural", done=True), cost(1.0)))
    lines = cells(drawn(sums(counted(plan)), 200))
    assert [line[:2] for line in lines if line[0] in ("pretrain", "update", "attack", "all")] == [
        ["update", str(len(METHODS) - 2)],
        ["attack", "18"],
        ["all", str(len(METHODS) - 2 + 18)],
    ]


def test_numbers_for_people() -> None:
    assert [scaled(n) for n in (0.0, 12.0, 1234.0, 716e3, 3.2e15)] == ["0 ", "12 ", "1.23 k", "716 k", "3.2 P"]
    assert scaled(3.0 * 2**30, 1024) == "3 Gi"
    assert [duration(s) for s in (3.0, 150.0, 9000.0)] == ["3.0 s", "2.5 min", "2.5 h"]
