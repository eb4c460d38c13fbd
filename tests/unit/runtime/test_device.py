"""Where `run.device` is refused."""

import pytest
import torch

from cure.runtime.device import WITHOUT_GPU, missing_device
from cure.settings.sections import RunSettings
from tests.support.settings import QUICKSTART


@pytest.mark.parametrize(
    ("device", "marked", "refused"), [("cuda", "", True), ("cuda", "1", False), ("cpu", "", False)]
)
def test_cuda_is_refused_without_a_device_unless_the_stage_needs_none(
    monkeypatch: pytest.MonkeyPatch, device: str, marked: str, refused: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv(WITHOUT_GPU, marked)
    settings = RunSettings.model_validate(QUICKSTART["run"] | {"device": device})
    assert bool(missing_device(settings)) is refused
