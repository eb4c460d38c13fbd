"""The numbers of docs/reproducing.md: parts that are made, and one line made again."""

import pytest

from cure.pipeline.planning.command import ESTIMATES, build_cost_model
from cure.pipeline.planning.cost_model import Estimate
from cure.pipeline.planning.facts import Facts
from cure.pipeline.planning.tasks import Task
from cure.storage.paths import Run
from tests.support.project import ROOT
from tools import costs


def estimate(seconds: float, memory: int) -> Estimate:
    return Estimate(passes=0.0, flops=5e17, seconds=seconds, memory=memory, disk=2**30, resume=0)


def test_a_method_has_the_hours_of_its_training_and_attack_and_the_larger_memory() -> None:
    run = Run("cifar10", "resnet18", "cure", 0)
    found = [
        (Task("a", "update", run), estimate(3600.0, 2**30)),
        (Task("b", "revise", run), estimate(1800.0, 2**29)),
        (Task("c", "attack", run), estimate(360.0, 3 * 2**30)),
        (Task("d", "layers", Run("cifar10", "resnet18", "reinit-every", 0)), estimate(7200.0, 2**30)),
    ]
    assert costs.grid(found) == [
        "| method | ResNet-18: training | attack | memory, GiB |",
        "|---|---|---|---|",
        "| CURE | 1.5 | 0.1 | 3 |",
        "",
        "With the layer-wise study (2 h), corruptions and analyses: 4 h for ResNet-18,",
        "4 h (2 EFLOP) in all, and 4 GiB of disk.",
    ]


def test_a_part_is_replaced_and_the_words_stay() -> None:
    text = "before\n\n<!-- costs: grid -->\n\nold\n\n<!-- end -->\n\nafter\n"
    again = costs.rewritten(text, {"grid": lambda: ["new"]})
    assert again == text.replace("old", "new")
    with pytest.raises(AssertionError, match="not one part beyond"):
        costs.rewritten(text, {"beyond": lambda: ["new"]})


def test_the_page_is_as_the_plan_has_it_now() -> None:
    on = build_cost_model(Facts.of(ROOT), "cpu", costs.SPEED)
    train = ESTIMATES["update"](Task("", "update", Run("svhn", "resnet18", "at", 0)), on)
    [line] = [line for line in costs.PAGE.read_text().splitlines() if line.startswith("| svhn, ResNet-18 |")]
    assert line.split(" | ")[1:3] == [f"{train.flops / 1e15:.0f}", costs.digits(train.seconds / 3600)]
