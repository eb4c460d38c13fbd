"""Draw the figures that params.yaml names, write what they are drawn from, and say why where there is nothing."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from cure import catalogue
from cure.core.figure import Figure
from cure.reporting import evidence
from cure.reporting.results import Results
from cure.settings.sections import AttackSuite
from cure.storage.files import replacing, write_text


def draw(folder: Path, tables: Path, names: list[str], results: Results, suite: AttackSuite) -> dict[str, str]:
    """NAME.png of every named figure that the results have data for, and captions.json; name -> why it was left out.

    Beside them, in the folder `tables`, NAME.csv: the table behind each figure, unless its cells are pictures.

    Pictures carry no date and no version, and matplotlib's own defaults hold, so that they reproduce to the byte.
    """
    from matplotlib import style

    captions, left_out = {}, {}
    for name in names:
        figure: Figure = catalogue.entry("figures", name).FIGURE
        data = evidence.table(figure.data, results, suite)
        captions[name] = {"caption": figure.caption}
        if data.empty:
            left_out[name] = captions[name]["reason"] = figure.without
            continue
        if (seeds := data["seed"].nunique()) > 1:
            captions[name]["caption"] += f" {figure.seeds.format(seeds)}"
        captions[name]["file"] = f"{name}.png"
        with style.context("default"), replacing(folder / f"{name}.png") as draft:
            figure.draw(data).savefig(draft, format="png", metadata={"Software": None})
        if not _pictures(data):
            captions[name]["table"] = f"{name}.csv"
            kept = [column for column in data if not str(column).endswith("outcome")]  # a character for each image
            write_text(tables / f"{name}.csv", data.to_csv(columns=kept, index=False, float_format="%.6g"))
    write_text(folder / "captions.json", json.dumps(captions, indent=1) + "\n")
    return left_out


def draw_none(folder: Path, names: list[str], reason: str) -> None:
    """Write a captions.json in which every named figure is left out for this reason."""
    figures: dict[str, Figure] = {name: catalogue.entry("figures", name).FIGURE for name in names}
    captions = {name: {"caption": figure.caption, "reason": reason} for name, figure in figures.items()}
    write_text(folder / "captions.json", json.dumps(captions, indent=1) + "\n")


def _pictures(data: pd.DataFrame) -> bool:
    """Whether any cell holds an array."""
    return any(isinstance(cell, np.ndarray) for cell in data.iloc[0])
