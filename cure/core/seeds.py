"""How large a seed may be."""

SEEDS = 2**31
"""A seed lies below: what every generator takes, NumPy's of 32 bits included."""
