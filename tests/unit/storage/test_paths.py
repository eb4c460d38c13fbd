"""The spelling of artefacts, and its reading back."""

from pathlib import Path

from cure.storage.paths import Run


def test_a_run_is_read_back_from_its_result() -> None:
    run = Run("cifar10", "wrn_34_10", "las_at-s1", 12)
    assert Run.of_result(Path("elsewhere") / run.result("attack")) == run
