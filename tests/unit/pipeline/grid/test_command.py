"""`cure grid` refuses settings before it starts a worker."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

pytest.importorskip("distributed")
from cure.errors import UserError
from cure.pipeline.grid.command import reproduce
from cure.pipeline.grid.options import WorkerOptions
from tests.support.settings import QUICKSTART, changed


@pytest.mark.reliability("wrong inputs")
def test_wrong_settings_are_refused_with_all_reasons_before_any_stage(tmp_path: Path) -> None:
    raw = changed(changed(QUICKSTART, "report.title", 3), "threat.eps", -1)
    YAML(typ="safe", pure=True).dump(raw, tmp_path / "params.yaml")
    with pytest.raises(UserError, match=r"has problems:\n  report\.title: .*\n  threat\.eps: "):
        reproduce(tmp_path, WorkerOptions(1, [], None, None, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
