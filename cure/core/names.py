"""Spellings of methods and columns in tables and figures."""

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
    "vfd": "VFD (reconstruction)",
    "rift": "RiFT",
    "arat": "AR-AT",
    "cure": "CURE",
    "cure_eff": "CURE_Eff",
    "awp": "AWP",
    "hat": "HAT",
    "generalist": "Generalist",
    "ikl_at": "IKL-AT",
    "lbgat": "LBGAT",
    "at_ema": "AT-EMA",
}
"""The papers' spellings; a method without one is shown by its key."""

RECONSTRUCTIONS = {"vfd": "VFD is a reconstruction from the paper's abstract; neither code nor numbers were found."}
"""Notes beside the numbers of methods that cannot be compared with the numbers of their authors."""

ORDER = [
    "natural",
    "at",
    "at_ema",
    "trades",
    "mart",
    "awp",
    "fat",
    "st_at",
    "act",
    "ard",
    "iad",
    "las_at",
    "lbgat",
    "hat",
    "generalist",
    "ikl_at",
    "part",
    "vfd",
    "rift",
    "arat",
    "cure",
    "cure_eff",
]
"""Order of the rows in tables; other methods follow. The order of NAMES is another: it decides colours and markers."""

RELEASED_LAST = ("trades", "fat", "act", "ikl_at", "part", "arat", "cure", "cure_eff")
"""Methods whose authors' release evaluates the network of the last epoch."""

WORDS = {  # spellings in names of figures and columns; an attack without one here has its own in `title`
    "pgd": "PGD",
    "cw": "C&W",
    "aa": "AA",
    "fgsm": "FGSM",
    "nrr": "NRR",
    "linf": "L-inf",
    "l2": "L2",
    "cka": "CKA",
    "rgp": "RGP",
    "tradeoff": "Trade-off",
    "trades": "TRADES",
    "cure": "CURE",
    "rift": "RiFT",
}


def block_set(name: str) -> str:
    """Return a block set of the layer-wise study as CURE's authors spell it: u23 is U-23, the natural network is ST."""
    return "ST" if name == "natural" else re.sub(r"^u(\d+)$", r"U-\1", name)


def heading(column: str, title: str = "") -> str:
    """Spell the name of a column or figure: pgd20_trades -> PGD-20 TRADES, nrr_cw20 -> NRR, clean -> Clean, cka -> CKA.

    Args:
        column: a column of an evaluation, or a figure.
        title: spelling of the first word, if the column's attack has one; with RayS, rays100_far is RayS-100 Far.
    """
    if column.startswith("nrr_"):
        return "NRR"
    words, known = list[str](), dict(WORDS)
    for part in column.split("_"):
        word, steps = re.fullmatch(r"(.*?)(\d*)", part).groups()  # type: ignore[union-attr]
        if title and not words:
            known[word] = title
        plain = word if words else word.capitalize()
        words.append(known.get(part) or known.get(word, plain) + (f"-{steps}" if steps else ""))
    return " ".join(words)
