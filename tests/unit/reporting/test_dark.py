"""The dark form of a figure."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure as Sheet

from cure.core.figure import COLOURS
from cure.reporting.dark import darken, turn


def lightness(colour: object) -> float:
    return sum(to_rgba(colour)[:3]) / 3  # type: ignore[arg-type]


def test_white_turns_to_dark_paper_and_black_to_light_ink_once() -> None:
    sheet = Sheet(figsize=(2, 2))
    ax = sheet.subplots()
    ax.set_title("title")
    (line,) = ax.plot([0, 1], "o-", color="black")
    sheet.canvas.draw()
    darken(sheet)
    found = [lightness(one) for one in (ax.title.get_color(), line.get_color(), line.get_markerfacecolor())]
    assert min(found) > 0.8
    assert max(lightness(one.get_facecolor()) for one in (sheet, ax)) < 0.15


def test_photographs_keep_their_values_and_a_map_of_numbers_does_not() -> None:
    sheet = Sheet(figsize=(2, 2))
    for ax, colours in zip(sheet.subplots(1, 2), ("gray", "Greys"), strict=True):
        ax.imshow(np.eye(2), cmap=colours)
    sheet.canvas.draw()
    darken(sheet)
    assert [ax.images[0].get_cmap().name for ax in sheet.axes] == ["gray", "DarkGreys"]


@pytest.mark.parametrize("colour", COLOURS)
def test_the_colours_of_methods_stay_apart_and_bright(colour: str) -> None:
    dark = {one: turn(to_rgba(one)) for one in COLOURS}
    assert max(dark[colour][:3]) > 0.6
    assert (
        min(sum(abs(a - b) for a, b in zip(dark[colour], dark[o], strict=True)) for o in COLOURS if o != colour) > 0.2
    )
