"""How methods are spelt in tables and figures."""

import re

NAMES = {
    "natural": "Natural",
    "at": "AT",
    "trades": "TRADES",
    "mart": "MART",
    "fat": "FAT",
    "st_at": "ST-AT",
    "act": "ACT",
    "ard": "ARD",
    "iad": "IAD",
    "las_at": "LAS-AT",
    "part": "PART",
    "vfd": "VFD",
    "rift": "RiFT",
    "arat": "AR-AT",
    "cure": "CURE",
    "cure_eff": "CURE_Eff",
    "awp": "AWP",
}
"""Spellings of the papers; a method without one is shown by its key."""

ORDER = [
    "natural",
    "at",
    "trades",
    "mart",
    "awp",
    "fat",
    "st_at",
    "act",
    "ard",
    "iad",
    "las_at",
    "part",
    "vfd",
    "rift",
    "arat",
    "cure",
    "cure_eff",
]
"""Of the rows in tables; others follow behind. NAMES has an order of its own, which gives every method its look."""


def block_set(name: str) -> str:
    """A block set of the layer-wise study as CURE's authors spell it: u23 is U-23, the natural network is ST."""
    return "ST" if name == "natural" else re.sub(r"^u(\d+)$", r"U-\1", name)
