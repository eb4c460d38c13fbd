"""The figures: validation curves and corruption bars. PNG without a date, so that they reproduce to the byte."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from cure.files import replacing
from cure.reporting.table import NAMES

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#444444", "#8c6bb1"]
LINES: list[Any] = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]
HATCHES = ["", "///", "...", "xxx", "\\\\\\"]


def style(method: str) -> tuple[str, Any, str]:
    """(colour, line, hatch) of a method, the same in every figure and tellable in grey."""
    place = [*NAMES, method].index(method)  # not its place among the files, which a new method would shift
    return COLOURS[place % len(COLOURS)], LINES[place % len(LINES)], HATCHES[place % len(HATCHES)]


@contextmanager
def figure(path: Path, panels: int) -> Iterator[Any]:
    """Axes side by side; written to `path` when the block ends."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    drawn, axes = plt.subplots(1, panels, squeeze=False, figsize=(6.4 * panels, 4.0), dpi=120, layout="constrained")
    yield axes[0]
    handles, labels = axes[0][0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=8, frameon=False)
    with replacing(path) as draft:
        drawn.savefig(draft, format="png", metadata={"Software": None})
    plt.close(drawn)


def curves(path: Path, history: pd.DataFrame) -> None:
    """Validation PGD accuracy per epoch; a dot marks the best epoch. Falling after it is robust overfitting."""
    settings = list(history["setting"].unique())
    with figure(path, len(settings)) as axes:
        for ax, setting in zip(axes, settings, strict=True):
            part = history[history["setting"] == setting]
            for method in part["method"].unique():
                line = 100 * part[part["method"] == method].groupby("epoch")["val_pgd"].mean()
                colour, dash, _ = style(method)
                ax.plot(line.index, line, linestyle=dash, color=colour, label=NAMES.get(method, method))
                ax.plot([line.idxmax()], [line.max()], "o", color=colour, markersize=5)
            ax.set(title=setting, xlabel="epoch", ylabel="validation PGD accuracy (%)", ylim=(0, 100))
            ax.grid(alpha=0.3)


def corruptions(path: Path, measured: pd.DataFrame) -> None:
    """Accuracy per corruption, mean over severities; the whisker spans the severities."""
    settings = list(measured["setting"].unique())
    with figure(path, len(settings)) as axes:
        for ax, setting in zip(axes, settings, strict=True):
            part = measured[measured["setting"] == setting]
            methods, names = list(part["method"].unique()), list(part["corruption"].unique())
            width = 0.8 / len(methods)
            for i, method in enumerate(methods):
                by = part[part["method"] == method].groupby("corruption", sort=False)["accuracy"]
                mean, low, high = by.mean(), by.min(), by.max()
                colour, _, hatch = style(method)
                places = [k + (i - (len(methods) - 1) / 2) * width for k in range(len(names))]
                ends = [mean - low, high - mean]
                bars = {"color": colour, "hatch": hatch, "edgecolor": "white", "label": NAMES.get(method, method)}
                ax.bar(places, mean, width, yerr=ends, error_kw={"lw": 0.8, "ecolor": "#333333"}, **bars)
            ax.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
            ax.set(title=setting, ylabel="accuracy (%), severities 1 to 5", ylim=(0, 100))
