"""Draw the figures that params.yaml names, and say of each what it shows or why there is nothing to show."""

import json
from pathlib import Path

from cure import catalogue
from cure.core.figure import Figure
from cure.files import replacing, write_text
from cure.reporting import evidence
from cure.schema import Grid


def draw(folder: Path, names: list[str], grid: Grid) -> dict[str, str]:
    """NAME.png of every named figure that the grid has data for, and captions.json; name -> why it was left out.

    Pictures carry no date and no version, and matplotlib's own defaults hold, so that they reproduce to the byte.
    """
    from matplotlib import style

    captions, left_out = {}, {}
    for name in names:
        figure: Figure = catalogue.entry("figures", name).FIGURE
        data = evidence.table(figure.data, grid)
        captions[name] = {"caption": figure.caption}
        if data.empty:
            left_out[name] = captions[name]["reason"] = figure.without
            continue
        captions[name]["file"] = f"{name}.png"
        with style.context("default"), replacing(folder / f"{name}.png") as draft:
            figure.draw(data).savefig(draft, format="png", metadata={"Software": None})
    write_text(folder / "captions.json", json.dumps(captions, indent=1) + "\n")
    return left_out
