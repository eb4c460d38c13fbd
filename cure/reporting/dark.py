"""Recolour a drawn figure for dark mode: invert lightness and keep hues. Photographs stay unchanged."""

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
"""The lightness in dark mode of white, and of black."""
VIVID, TINT, BRIGHT = 0.2, 0.75, 0.5
"""A colour above the saturation VIVID and below the lightness TINT marks a method; its lightness is at least BRIGHT."""
GREYS = LinearSegmentedColormap.from_list("DarkGreys", ["#17181a", "#a0a0a0"])
"""Replaces matplotlib's colour map Greys, on which numbers are black."""
PARTS = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


def darken(sheet: Sheet) -> None:
    """Recolour every artist of a drawn figure in place."""
    maps = {ax for ax in sheet.findobj(Axes) if any(isinstance(child, QuadMesh) for child in ax.get_children())}
    on_maps = {child for ax in maps for child in ax.get_children() if child in (*ax.lines, *ax.collections)}
    for artist in sheet.findobj():
        if isinstance(artist, ScalarMappable) and artist.get_array() is not None:
            if artist.get_cmap().name == "Greys":
                artist.set_cmap(GREYS)
        elif artist not in on_maps:
            _recolour(artist)


def _recolour(artist: Artist) -> None:
    if isinstance(artist, (FigureBase, Axes)):  # their colour is that of their patch, which is an artist of its own
        return
    found = {
        part: getattr(artist, f"get_{part}")()
        for part in PARTS
        if hasattr(artist, f"set_{part}") and hasattr(artist, f"get_{part}")
    }
    for part, colours in found.items():  # all were read before the first is written, since some derive from others
        if not isinstance(colours, str) or colours not in ("none", "auto"):
            turned = np.array([turn(colour) for colour in to_rgba_array(colours)])
            getattr(artist, f"set_{part}")(tuple(turned[0]) if len(turned) == 1 else turned)


def turn(colour: Any) -> tuple[float, float, float, float]:
    """Invert the lightness of a colour; take and return red, green, blue and alpha in [0, 1]."""
    red, green, blue, alpha = colour
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    vivid = saturation > VIVID and lightness < TINT
    turned = max(lightness, BRIGHT) if vivid else PAPER + (1 - lightness) * (INK - PAPER)
    return (*colorsys.hls_to_rgb(hue, turned, saturation), alpha)


def turned(colour: str) -> str:
    """Return the dark form of a named or hexadecimal colour, as hexadecimal."""
    return to_hex(turn(to_rgba(colour)))
