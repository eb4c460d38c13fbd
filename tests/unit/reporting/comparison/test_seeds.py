"""What a table of one seed says of other seeds: the list that `python -m tools.seeds` measures, and its line."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from cure.errors import UserError
from cure.reporting.comparison.seeds import COLUMNS, told
from cure.settings.check import check
from cure.settings.params import read
from tests.support.project import ROOT
from tools.seeds import SEEDS, measured, reduced

LINES = f"""\
{",".join(COLUMNS)}
digits,small,at,clean,5,0.400,abc
digits,small,at,pgd20,5,1.260,abc
digits,small,cure,pgd20,5,2.000,abc
"""
RESULT = {
    "images": 4,
    "outcomes": {"clean": "1110", "pgd20": "1000"},
    "columns": {"pgd20": {"label": "", "package": "", "broken_by": {"pgd20": [1, 2]}}},
    "problems": [],
    "eps": 0.1,
    "seed": 0,
    "batch": 4,
    "epoch": 1,
    "last": None,
}


def test_it_names_the_deviation_of_every_method_in_the_column(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    assert told(path, "pgd20", "PGD-20") == []
    path.write_text(LINES)
    (line,) = told(path, "pgd20", "PGD-20")
    assert line.startswith("Over 5 seeds PGD-20 has a standard deviation of this many points")
    assert "AT 1.3, CURE 2.0 (seeds.csv)" in line
    assert told(path, "aa", "AA") == []


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("text", ["a,b\n1,2\n", LINES.replace("1.260", "x"), LINES.replace(",deviation", "")])
def test_a_damaged_list_is_refused(tmp_path: Path, text: str) -> None:
    (path := tmp_path / "seeds.csv").write_text(text)
    with pytest.raises(UserError, match=r"seeds.csv: cannot be read"):
        told(path, "pgd20", "PGD-20")


def test_the_quickstart_is_reduced_to_a_grid_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "quickstart/params.yaml").read_text())
    reduced(path)
    check(read(path)).refuse(path)
    grid = YAML(typ="safe").load(path.read_text())["grid"]
    assert grid["seeds"] == SEEDS
    found = [grid[key] for key in ("update", "update_from_natural_to_revise", "revise_from_robust")]
    assert found == [["at", "trades"], ["cure"], []]


def test_every_result_gives_a_line_for_each_column(tmp_path: Path) -> None:
    path = tmp_path / "digits" / "small" / "at-s3-attack.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(RESULT))
    found = measured(tmp_path).set_index("column")
    assert set(found["method"]) == {"at"}
    assert set(found["seed"]) == {3}
    assert found.loc["pgd20", "hit"] == pytest.approx(25)
    assert found.loc["clean", "hit"] == pytest.approx(75)
