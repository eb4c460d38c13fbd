"""Build the interactive charts: Vega-Lite templates of DVC plots, filled with the report's tables.

The templates are charts/NAME.json, named like their figures; .dvc/plots holds copies of them.
"""

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd

from cure.core.figure import marker, style
from cure.core.names import NAMES, heading
from cure.reporting.dark import turned

TEMPLATES = Path(__file__).with_name("charts")
SHAPES = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "M-1,-.5L-.5,-1L0,-.5L.5,-1L1,-.5L.5,0L1,.5L.5,1L0,.5L-.5,1L-1,.5L-.5,0Z",
}
"""Marker of matplotlib -> shape of Vega."""
OUTLINES = {
    "o": "M0,-1A1,1 0 1 1 0,1A1,1 0 1 1 0,-1Z",
    "s": "M-.9,-.9H.9V.9H-.9Z",
    "^": "M0,-1L1,.8H-1Z",
    "D": "M0,-1L1,0L0,1L-1,0Z",
    "v": "M0,1L1,-.8H-1Z",
    "P": "M-.35,-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z",
    "X": SHAPES["X"],
}
"""Marker of matplotlib -> SVG path in a square from -1 to 1."""
DASHES: dict[str, list[float]] = {"-": [1, 0], "--": [6, 3], ":": [1.5, 2.5], "-.": [7, 2.5, 1.5, 2.5]}
"""Line style of matplotlib -> lengths of strokes and gaps, in pixels."""
VERSION = "6.4"
"""The version of Vega-Lite in the page. The page of `dvc plots` uses its own."""
OUT = 1 / 3
"""The first view of the trade-off omits robust accuracies below this share of the best; zooming out shows them."""


def charts(folder: Path) -> dict[str, tuple[str, str]]:
    """Return caption and JSON specification of every template that has a table NAME.csv in `folder`, by name."""
    found = {path.stem: path for path in sorted(TEMPLATES.glob("*.json")) if (folder / f"{path.stem}.csv").exists()}
    made = {name: chart(name, path, pd.read_csv(folder / f"{name}.csv")) for name, path in found.items()}
    return {
        name: (spec["description"], json.dumps(spec, separators=(",", ":")).replace("<", "\\u003c"))
        for name, spec in made.items()
    }


def chart(name: str, template: Path, data: pd.DataFrame) -> dict[str, Any]:
    """Fill a template with a table, in which methods and columns have their names of the report."""
    spec: dict[str, Any] = json.loads(template.read_text(encoding="utf-8"))
    methods = list(data["method"].unique())
    looks = {"color": [style(one)[0] for one in methods], "shape": [SHAPES[marker(one)] for one in methods]}
    names = [NAMES.get(one, one) for one in methods]
    dashes = {"domain": names, "range": [_dash(style(one)[1]) for one in methods]}
    text = _csv(_spelt(data), spec)
    spec["data"] = {"values": text, "format": {"type": "csv"}}
    spec["params"] = [{"name": "chosen", "value": None}]
    del spec["title"], spec["$schema"]  # the bundle has only one version of Vega-Lite
    colours = spec["spec"]["encoding"]["color"]
    for channels in _encodings(spec["spec"]):
        for channel, about in list(channels.items()):
            if isinstance(about, dict) and about.get("field") == "rev":
                del channels[channel]  # the page shows no other git revision
                if channel == "strokeDash":  # revisions in dvc plots, here methods of one colour
                    channels[channel] = colours | {"scale": dashes}
            elif channel in looks and isinstance(about, dict):
                about["scale"] = {"domain": names, "range": looks[channel]}
            elif channel == "tooltip":
                channels[channel] = [one for one in about if one.get("field") != "rev"]
    if name == "tradeoff":
        robust = data["accuracy"]
        spec["spec"]["encoding"]["y"]["scale"]["domain"] = _view(robust[robust >= OUT * robust.max()])
    spec["usermeta"] = {
        "panels": data[spec["facet"]["field"]].nunique(),
        "dark": [turned(colour) for colour in looks["color"]],
    }
    return spec


def _dash(line: Any) -> list[float]:
    """Convert a line style of matplotlib to lengths of strokes and gaps for Vega."""
    return DASHES[line] if isinstance(line, str) else list(line[1])


def _view(values: "pd.Series[float]") -> list[float]:
    return [max(0.0, round(float(values.min()) - 3)), min(100.0, round(float(values.max()) + 3))]


def _spelt(data: pd.DataFrame) -> pd.DataFrame:
    spelt = data.assign(method=[NAMES.get(one, one) for one in data["method"]])
    return spelt.assign(column=spelt["column"].map(heading)) if "column" in spelt else spelt


def _csv(data: pd.DataFrame, spec: dict[str, Any]) -> str:
    """Return as CSV those columns of a table that a specification names."""
    named = json.dumps(spec)
    out = io.StringIO()
    data[[one for one in data if f'"{one}"' in named]].to_csv(out, index=False, lineterminator="\n")
    return out.getvalue()


def _encodings(view: dict[str, Any]) -> list[dict[str, Any]]:
    return [view["encoding"], *(layer.get("encoding", {}) for layer in view["layer"])]


def bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that works offline."""
    import vl_convert

    script: str = vl_convert.javascript_bundle(vl_version=VERSION)  # type: ignore[call-arg]  # its stub lacks a default
    return script.replace("</script", "<\\/script")
