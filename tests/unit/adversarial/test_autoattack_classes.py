"""Which AutoAttack is used: the repository itself where it is on the path, else pyautoattack."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tests.support.project import ROOT

SAY = "from cure.adversarial.autoattack_classes import package; print(package())"


def said(**more: str) -> str:
    return subprocess.run([sys.executable, "-c", SAY], env=more, capture_output=True, text=True, check=True).stdout


def test_a_checkout_on_the_path_is_taken_and_named_although_it_has_no_version(tmp_path: Path) -> None:
    spec = find_spec("pyautoattack")
    assert spec is not None
    assert spec.origin is not None
    theirs = tmp_path / "autoattack"
    theirs.mkdir()
    for file in Path(spec.origin).parent.glob("*.py"):
        (theirs / file.name).write_text(file.read_text().replace("pyautoattack", "autoattack"))
    here = str(ROOT)
    assert said(PYTHONPATH=f"{tmp_path}:{here}") == "autoattack (not installed, on the path)\n"
    assert said(PYTHONPATH=here).startswith("pyautoattack 0.2")
