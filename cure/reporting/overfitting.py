"""overfitting.md and overfitting.csv: how far validation PGD accuracy falls from the best epoch to the last one."""

from typing import Any

import pandas as pd

from cure.core.names import NAMES
from cure.reporting import markdown

ABOUT = """
Robust overfitting. Accuracy in percent on the validation split, after each epoch, under the PGD that selects the best
epoch; not on the test split. Best is a maximum over epochs, so it is biased upward and the difference downward: with
noise alone, some fall would be seen. Rows without a training loop of their own are not here.
"""
NUMBERS = ("best", "last", "difference", "clean_best", "clean_last")


def epochs(history: pd.DataFrame) -> pd.DataFrame:
    """One line per cell, in percent: the best epoch by PGD accuracy (the earlier of equals), the last, last - best."""
    lines = []
    for (setting, method, seed), curve in history.groupby(["setting", "method", "seed"], sort=False):
        known = curve.to_dict("records")
        best, last = max(known, key=lambda at: at["val_pgd"]), max(known, key=lambda at: at["epoch"])
        about = {"setting": setting, "method": method, "seed": seed}
        about |= {"best_epoch": int(best["epoch"]), "last_epoch": int(last["epoch"])}
        numbers = (best["val_pgd"], last["val_pgd"], last["val_pgd"] - best["val_pgd"], best["val_clean"])
        shares = dict(zip(NUMBERS, (*numbers, last["val_clean"]), strict=True))
        lines.append(about | {name: 100 * float(share) for name, share in shares.items()})
    return pd.DataFrame(lines, columns=["setting", "method", "seed", "best_epoch", "last_epoch", *NUMBERS])


def page(found: pd.DataFrame) -> str:
    """overfitting.md: a table per setting; over several seeds the mean and the sample standard deviation."""
    lines = ["# Best and last epoch", *ABOUT.splitlines()]
    for setting, part in found.groupby("setting", sort=False):
        seeds = part["seed"].nunique()
        lines += ["", f"## {setting}", ""]
        lines += [f"Mean ± sample standard deviation of {seeds} seeds.", ""] if seeds > 1 else []
        head = ["Method", "Best epoch", "Last epoch", "PGD, best", "PGD, last", "Last - best", "Clean, best"]
        rows = [_row(method, own) for method, own in part.groupby("method", sort=False)]
        lines += markdown.table([*head, "Clean, last"], rows, left=(0,))
    return "\n".join(lines) + "\n"


def _row(method: Any, own: pd.DataFrame) -> list[str]:
    at = [", ".join(map(str, own[name].unique())) for name in ("best_epoch", "last_epoch")]
    numbers = [markdown.spread(own[name], signed=name == "difference") for name in NUMBERS]
    return [NAMES.get(method, method), *at, *numbers]
