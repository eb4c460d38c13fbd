"""Draw the figures that params.yaml names, write their tables, and record a reason for each that is left out."""

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
    """The figures that were left out, and the dark forms of the others, by name."""

    left_out: dict[str, str]  # the reason for each
    dark: dict[str, bytes]  # as WebP; only index.html shows them


def draw(folders: "Folders", names: list[str], results: Results, suite: AttackSuite) -> Drawn:
    """Write NAME.png, NAME.pdf and the table NAME.csv of every named figure that has data, and captions.json.

    A table whose cells are arrays is not written. Files have no date and no version in their metadata, and a user's
    matplotlibrc is ignored, so that the same results give the same bytes.
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
    """The folders for PNG files, PDF files and tables."""

    figures: Path
    vector: Path
    tables: Path


def _saved(figure: Figure, data: pd.DataFrame, folders: Folders, name: str) -> bytes:
    """Draw a figure, write it as PNG and PDF, and return its dark form as WebP."""
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
    """Encode a picture as WebP, lossless or at quality 90, whichever is smaller."""
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
    """Write a captions.json that gives this reason for every named figure."""
    figures: dict[str, Figure] = {name: catalogue.entry("figures", name).FIGURE for name in names}
    captions = {name: {"caption": figure.caption, "reason": reason} for name, figure in figures.items()}
    write_text(folder / "captions.json", json.dumps(captions, indent=1) + "\n")


def _pictures(data: pd.DataFrame) -> bool:
    """Return whether any cell of the first line holds an array."""
    return any(isinstance(cell, np.ndarray) for cell in data.iloc[0])
