"""Bounds of numbers that params.yaml, commands and Python calls share."""

SEEDS = 2**31
"""Seeds are below this bound, which every generator accepts, NumPy's 32-bit ones included."""
COUNTS = 2**31
"""Counts are below this bound, which PyTorch's splits and shapes accept on every platform."""
