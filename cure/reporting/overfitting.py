"""Report how far robust accuracy falls from the best epoch to the last: overfitting.md and overfitting.csv."""

from typing import Any

import pandas as pd

from cure.core.names import NAMES
from cure.reporting import markdown

ABOUT = """
Robust overfitting, in percent; Δ is last - best. Methods without a training loop of their own are left out.
"""
TEST = """
On the test split: the evaluated network and that of the last epoch. The epoch was chosen on the validation split, so
neither is biased by the choice. A dash: the last network is of another form than the evaluated one.
"""
VALIDATION = """
On the validation split, after each epoch, under the PGD that selects the best epoch; of the trained network, also where
a row evaluates an average of its weights. Best is a maximum over epochs, so it is biased upward and the difference
downward: with noise alone, some fall would be seen.
"""
NUMBERS = ("best", "last", "difference", "clean_best", "clean_last")


def epochs(history: pd.DataFrame) -> pd.DataFrame:
    """Return a line per run, in percent: best epoch by PGD accuracy (the earliest if tied), last epoch, last - best."""
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


def both(found: pd.DataFrame, tested: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Add to `found` these columns on the test split, as test_COLUMN_best, _last and _difference in percent."""
    key = ["setting", "method", "seed"]
    names: dict[str, str] = {}
    for name in columns:
        ends = {name: "best", f"{name}_last": "last", f"{name}_delta": "difference"}
        names |= {column: f"test_{name}_{end}" for column, end in ends.items()}
    return found.merge(tested.reindex(columns=[*key, *names]).rename(columns=names), how="left", on=key)


def page(found: pd.DataFrame, tested: pd.DataFrame, columns: dict[str, str]) -> str:
    """Return overfitting.md; with several seeds its numbers are means and sample standard deviations.

    Args:
        found: Validation accuracies, as `epochs` returns them.
        tested: Test accuracies, a line per run.
        columns: The attack columns of `tested` to show, with their headings.
    """
    lines = ["# Best and last epoch", *ABOUT.splitlines()]
    for setting, part in found.groupby("setting", sort=False):
        seeds = part["seed"].nunique()
        lines += ["", f"## {setting}", ""]
        lines += [f"Mean ± sample standard deviation of {seeds} seeds.", ""] if seeds > 1 else []
        if columns:
            looped = tested.merge(part[["setting", "method", "seed"]])
            lines += [*TEST.splitlines()[1:], "", *_tested(looped, columns), ""]
        head = ["Method", "Best epoch", "Last epoch", "PGD, best", "PGD, last", "Δ", "Clean, best"]
        rows = [_row(method, own) for method, own in part.groupby("method", sort=False)]
        lines += [*VALIDATION.splitlines()[1:], "", *markdown.table([*head, "Clean, last"], rows, left=(0,))]
    return "\n".join(lines) + "\n"


def _tested(lines: pd.DataFrame, columns: dict[str, str]) -> list[str]:
    head = ["Method", *(f"{title}, {what}" for title in columns.values() for what in ("best", "last", "Δ"))]
    body = []
    for method, own in lines.groupby("method", sort=False):
        runs = [NAMES.get(str(method), str(method))]
        for name in columns:
            runs += [markdown.spread(own[name]), *markdown.last(own, name)]
        body.append(runs)
    return markdown.table(head, body, left=(0,))


def _row(method: Any, own: pd.DataFrame) -> list[str]:
    at = [", ".join(map(str, own[name].unique())) for name in ("best_epoch", "last_epoch")]
    numbers = [markdown.spread(own[name], signed=name == "difference") for name in NUMBERS]
    return [NAMES.get(method, method), *at, *numbers]
