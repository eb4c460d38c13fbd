"""The code in docs/own_loop.md runs as it stands."""

import re

import pytest
import torch

from cure.storage.checkpoint import build
from cure.training.own_loop import TrainingStep
from tests.support.project import ROOT

PAGE = (ROOT / "docs" / "own_loop.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def told() -> dict[str, object]:
    """What the blocks see and leave behind, one after the other."""
    torch.manual_seed(0)
    net, natural, robust = (build("small", {"width": 4}, 1, 10) for _ in range(3))
    images, labels = torch.rand(16, 1, 8, 8), torch.arange(16) % 10
    loader = [(images, labels)]
    names = {"net": net, "natural": natural, "robust": robust, "loader": loader, "images": images, "labels": labels}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"docs/own_loop.md, block {number}", "exec"), names)
        names[f"step {number}"] = names["step"]
    return names


def test_the_first_block_trains_at_the_rates_of_its_schedule(told: dict) -> None:
    assert set(told["losses"]) == {"natural", "robust"}
    assert told["losses"]["natural"] < 2  # of 2.3 for ten classes
    assert told["scheduler"].get_last_lr() == [pytest.approx(0.01)]


def test_cure_starts_from_the_natural_network_with_a_revision_of_it(told: dict) -> None:
    step, natural = told["step 1"], told["natural"]
    assert isinstance(step, TrainingStep)
    for network in (step.nets.student, step.nets.revision):
        for name, weight in network.state_dict().items():
            assert torch.equal(weight, natural.state_dict()[name]), name


@pytest.mark.parametrize("number", [1, 2])
def test_the_loop_above_runs_the_other_steps(told: dict, number: int) -> None:
    step = told[f"step {number}"]
    step.begin_epoch(100, told["loader"])
    for x, y in told["loader"]:
        assert all(mean.isfinite() for mean in step(x, y).values())
