"""The interactive figures and the templates of DVC's plots are one."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cure.core.figure import marker, style
from cure.core.names import NAMES
from cure.reporting.html import charts
from tests.support.project import ROOT

TEMPLATES = sorted(charts.TEMPLATES.glob("*.json"))
DATA = {
    "curves": {"epoch": 1, "val_pgd": 0.5, "val_clean": 0.9},
    "survival": {"radius": 0.1, "accuracy": 50.0, "eps": 0.1},
    "severities": {"severity": 1, "accuracy": 50.0, "category": "blur"},
    "tradeoff": {"column": "cw20", "clean_accuracy": 90.0, "accuracy": 50.0, "nrr": 60.0, "images": 10}
    | dict.fromkeys(("clean_low", "clean_high", "low", "high"), 50.0),
}


def table(name: str) -> pd.DataFrame:
    runs = [
        {"setting": "digits/small", "method": method, "seed": 0} | DATA[name] for method in ("at", "cure_eff", "toy")
    ]
    return pd.DataFrame(runs)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_the_projects_hold_the_templates_of_the_page(template: Path) -> None:
    for folder in (ROOT, ROOT / "quickstart", ROOT / "pilot"):
        assert (folder / ".dvc/plots" / template.name).read_text() == template.read_text()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_has_the_palette_and_the_markers_of_all_figures(template: Path) -> None:
    spec = json.loads(template.read_text())["spec"]
    channels = [spec["encoding"], *(layer.get("encoding", {}) for layer in spec["layer"])]
    scales = {key: one[key]["scale"] for one in channels for key in ("color", "shape") if one.get(key)}
    assert scales["color"] == {"domain": list(NAMES), "range": [style(method)[0] for method in NAMES]}
    assert scales["shape"] == {"domain": list(NAMES), "range": [charts.SHAPES[marker(method)] for method in NAMES]}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_chart_is_its_template_with_the_tables_methods(template: Path) -> None:
    spec = charts.chart(template.stem, template, table(template.stem))
    text = json.dumps(spec)
    assert "DVC_METRIC" not in text
    assert '"rev"' not in text
    lines = spec["data"]["values"].splitlines()
    assert [line.split(",")[lines[0].split(",").index("method")] for line in lines[1:]] == ["AT", "CURE_Eff", "toy"]
    assert spec["spec"]["encoding"]["color"]["scale"]["domain"] == ["AT", "CURE_Eff", "toy"]
    assert len(spec["usermeta"]["dark"]) == 3


def test_every_template_has_a_table_and_without_it_no_chart_is_drawn(tmp_path: Path) -> None:
    assert {path.stem for path in TEMPLATES} == set(DATA)
    table("curves").assign(method="</script><b>").to_csv(tmp_path / "curves.csv", index=False)
    ((_, text),) = charts.charts(tmp_path).values()
    assert "</script" not in text


def test_markers_are_known_to_vega_and_to_the_page() -> None:
    assert set(charts.SHAPES) == set(charts.OUTLINES) == {marker(method) for method in NAMES}


def test_the_bundle_repeats_and_ends_no_script() -> None:
    script = charts.bundle()
    assert script == charts.bundle()
    assert "</script" not in script
    assert "vegaEmbed" in script
