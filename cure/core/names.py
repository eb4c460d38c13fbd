"""How methods are spelt in tables and figures."""

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
