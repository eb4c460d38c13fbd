"""Draw the figures that params.yaml names, write what they are drawn from, and say why where there is nothing."""

import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Sheet
from PIL import Image

from cure import catalogue
from cure.core.figure import LOOK, Figure
from cure.reporting import evidence
from cure.reporting.dark import darken
from cure.reporting.results import Results
from cure.settings.sections import AttackSuite
from cure.storage.files import replacing, write_text


class Drawn(NamedTuple):
    """What came of the figures that params.yaml names, by name."""

    left_out: dict[str, str]  # why there is none
    dark: dict[str, bytes]  # the dark form, as WebP, which only index.html shows


def draw(folders: "Folders", names: list[str], results: Results, suite: AttackSuite) -> Drawn:
    """Write NAME.png and NAME.pdf of every named figure that the results have data for, and captions.json.

    Beside them, in the folder of tables, NAME.csv: the table behind each figure, unless its cells are pictures.

    Pictures carry no date and no version, and matplotlib's own defaults hold, so that they reproduce to the byte.
    """
    captions, left_out, dark = {}, {}, {}
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
        dark[name] = _saved(figure, data, folders, name)
        if not _pictures(data):
            captions[name]["table"] = f"{name}.csv"
            kept = [column for column in data if not str(column).endswith("outcome")]  # a character for each image
            write_text(folders.tables / f"{name}.csv", data.to_csv(columns=kept, index=False, float_format="%.6g"))
    write_text(folders.figures / "captions.json", json.dumps(captions, indent=1) + "\n")
    return Drawn(left_out, dark)


class Folders(NamedTuple):
    """Where figures, their vector form and their tables are written."""

    figures: Path
    vector: Path
    tables: Path


def _saved(figure: Figure, data: pd.DataFrame, folders: Folders, name: str) -> bytes:
    """Draw once, write PNG and PDF, and return the dark form."""
    from matplotlib import style

    with style.context(["default", LOOK]):
        drawn = figure.draw(data)
        with replacing(folders.figures / f"{name}.png") as draft:
            drawn.savefig(draft, format="png", metadata={"Software": None})
        with replacing(folders.vector / f"{name}.pdf") as draft:
            drawn.savefig(draft, format="pdf", metadata=dict.fromkeys(("Creator", "Producer", "CreationDate")))
        darken(drawn)
        return webp(_pixels(drawn))


def webp(picture: Image.Image) -> bytes:
    """Return a picture as WebP: without loss, or, where that is smaller (of photographs), with little."""
    forms = []
    for how in ({"lossless": True}, {"quality": 90}):
        picture.convert("RGB").save(small := io.BytesIO(), "webp", **how)
        forms.append(small.getvalue())
    return min(forms, key=len)


def _pixels(drawn: Sheet) -> Image.Image:
    drawn.savefig(raw := io.BytesIO(), format="raw")
    width, height = map(int, drawn.canvas.get_width_height())
    return Image.frombytes("RGBA", (width, height), raw.getvalue())


def draw_none(folder: Path, names: list[str], reason: str) -> None:
    """Write a captions.json in which every named figure is left out for this reason."""
    figures: dict[str, Figure] = {name: catalogue.entry("figures", name).FIGURE for name in names}
    captions = {name: {"caption": figure.caption, "reason": reason} for name, figure in figures.items()}
    write_text(folder / "captions.json", json.dumps(captions, indent=1) + "\n")


def _pictures(data: pd.DataFrame) -> bool:
    """Whether any cell holds an array."""
    return any(isinstance(cell, np.ndarray) for cell in data.iloc[0])
