"""The step that a plan times is the step that trains."""

from typing import Any

import pytest
import torch

from cure.core.method import Batch
from cure.data.loader import Split
from cure.pipeline.planning import step_profile
from cure.settings.base import Augment
from cure.storage.checkpoint import build
from cure.training.step import Step
from tests.support.pretend_cuda import pretending
from tests.support.training import RUN, task

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("precision", "layout", "graphs"), [("fp32", "contiguous", False), ("bf16", "channels_last", True)]
)
def test_it_has_the_precision_the_layout_and_the_graphs_of_the_run(
    monkeypatch: pytest.MonkeyPatch, precision: str, layout: str, graphs: bool
) -> None:
    seen, job = list[tuple[str, bool, bool]](), task().job
    whole = Step.__call__

    def watched(step: Step, batch: Batch) -> Any:
        weight = step.nets.student.layer1.conv1.weight
        last = weight.is_contiguous(memory_format=torch.channels_last)
        seen.append((step.precision, last, last != weight.is_contiguous()))
        return whole(step, batch)

    monkeypatch.setattr(Step, "__call__", watched)
    monkeypatch.setattr(step_profile, "STEPS", 3)
    run_settings = RUN.model_copy(update={"precision": precision, "layout": layout, "graphs": graphs})
    with pretending() as device:
        nets = step_profile.networks(job.method, job.hyper, lambda: build("small", {"width": 4}, 1, 3))
        split = Split(torch.zeros(8, 1, 8, 8, dtype=torch.uint8).to(CUDA), torch.zeros(8).long().to(CUDA))
        augment = Augment(crop=0, padding="zero", flip=False)
        found = step_profile.timed(nets, job.method, job.hyper, job.fit, split, augment, run_settings)
        assert bool(device.replays) is graphs
    assert found.images == 8
    assert set(seen) == {(precision, layout == "channels_last", True)}
