"""Turn a drawn figure into its dark form: the same hues with light and dark exchanged; photographs stay as they are."""

import colorsys
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgba, to_rgba_array
from matplotlib.figure import Figure as Sheet
from matplotlib.figure import FigureBase

PAPER, INK = 0.097, 0.87
"""Lightness of what was white, and of what was black."""
VIVID, TINT, BRIGHT = 0.2, 0.75, 0.5
"""Above this saturation and below this lightness a colour is a method's, and is made at least as bright as the last."""
GREYS = LinearSegmentedColormap.from_list("DarkGreys", ["#17181a", "#a0a0a0"])
"""In place of matplotlib's Greys, which lies behind black numbers."""
PARTS = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


def darken(sheet: Sheet) -> None:
    """Recolour every artist of a figure that was drawn before."""
    maps = {ax for ax in sheet.findobj(Axes) if any(isinstance(child, QuadMesh) for child in ax.get_children())}
    on_maps = {child for ax in maps for child in ax.get_children() if child in (*ax.lines, *ax.collections)}
    for artist in sheet.findobj():
        if isinstance(artist, ScalarMappable) and artist.get_array() is not None:
            if artist.get_cmap().name == "Greys":
                artist.set_cmap(GREYS)
        elif artist not in on_maps:
            _recolour(artist)


def _recolour(artist: Artist) -> None:
    if isinstance(artist, (FigureBase, Axes)):  # their colour is that of their patch, an artist of its own
        return
    found = {
        part: getattr(artist, f"get_{part}")()
        for part in PARTS
        if hasattr(artist, f"set_{part}") and hasattr(artist, f"get_{part}")
    }
    for part, colours in found.items():  # all are read before one is written: some follow another
        if not isinstance(colours, str) or colours not in ("none", "auto"):
            turned = np.array([turn(colour) for colour in to_rgba_array(colours)])
            getattr(artist, f"set_{part}")(tuple(turned[0]) if len(turned) == 1 else turned)


def turn(colour: Any) -> tuple[float, float, float, float]:
    """Return red, green, blue and alpha of a colour with its lightness turned round."""
    red, green, blue, alpha = colour
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    vivid = saturation > VIVID and lightness < TINT
    turned = max(lightness, BRIGHT) if vivid else PAPER + (1 - lightness) * (INK - PAPER)
    return (*colorsys.hls_to_rgb(hue, turned, saturation), alpha)


def turned(colour: str) -> str:
    """Return a named or hexadecimal colour turned round, as hexadecimal."""
    return to_hex(turn(to_rgba(colour)))
