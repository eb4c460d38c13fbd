"""Draw the layer-wise study over time: does adversarial training of some blocks overfit?"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from cure.core.figure import COLOURS, LINES, Figure, sheet, spread
from cure.core.finding import Claim, Finding, Side, Verdict, accuracies
from cure.core.names import block_set

WORDS = {1: "single blocks", 2: "pairs", 3: "triples"}


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a row per data set, model and variant, and a panel per size of a block set, with bands over seeds."""
    settings, sizes = list(data["setting"].unique()), _sizes(data)
    drawn = sheet(3.4 * len(sizes), 2.9 * len(settings))
    axes = drawn.subplots(len(settings), len(sizes), sharex=True, sharey=True, squeeze=False)
    for row, setting in zip(axes, settings, strict=True):
        part = data[data["setting"] == setting]
        for ax, size in zip(row, sizes, strict=True):
            _panel(ax, part[part["blocks"].isin({size, part["blocks"].max()})])
            ax.set_title(f"{setting}:\n{WORDS.get(size, f'{size} blocks')}")
    axes[0, 0].set_ylim(0, 1.35 * data.groupby(["setting", "method", "epoch"])["val_pgd"].mean().max())  # and a legend
    drawn.supxlabel("epoch")
    drawn.supylabel("validation PGD accuracy (%)")
    return drawn


def _sizes(data: pd.DataFrame) -> list[int]:
    """Return the sizes of the block sets without the largest, which is the reference, unless it is the only one."""
    found = sorted(map(int, data["blocks"].unique()))
    return found[:-1] or found


def _panel(ax: Axes, part: pd.DataFrame) -> None:
    largest = part["blocks"].max()
    for place, (name, lines) in enumerate(part.groupby("method", sort=False)):
        found = spread(lines, ["epoch"], "val_pgd").sort_index()
        line, sd = found["mean"], found["sd"]
        reference = (lines["blocks"] == largest).all()
        look: dict[str, Any] = {"color": "#999999", "linewidth": 2.4}
        if not reference:
            look = {"color": COLOURS[place % len(COLOURS)], "linestyle": LINES[place % len(LINES)], "linewidth": 1.6}
        ax.plot(line.index.to_numpy(), line, label=block_set(str(name)), zorder=1 if reference else 2, **look)
        ax.fill_between(line.index.to_numpy(), line - sd, line + sd, color=look["color"], alpha=0.2, lw=0)
        ax.plot([float(line.index.to_numpy()[line.argmax()])], [line.max()], "o", color=look["color"], markersize=4)
    ax.locator_params(axis="x", integer=True)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, loc="upper left", ncols=2)


def _best_and_fall(data: pd.DataFrame) -> pd.DataFrame:
    """Return for each block set its best and last robust accuracy over epochs, and the fall between them, in points."""
    lines = data.groupby(["method", "epoch"])["val_pgd"].mean().groupby("method")
    return pd.DataFrame({"best": lines.max(), "last": lines.last(), "fall": lines.last() - lines.max()})


def _told(found: pd.DataFrame, names: tuple[str, ...], images: int) -> str:
    each = [f"{block_set(n)} {found['best'][n]:.1f} % ({found['fall'][n]:+.1f})" for n in names]
    return f"best epoch (last minus best) of {images} images: " + ", ".join(each)


def _ends(data: pd.DataFrame, name: str) -> tuple[Side, Side]:
    """Return a block set's accuracies per seed, at the best epoch of the mean over seeds and at the last epoch."""
    mean = data[data["method"] == name].groupby("epoch")["val_pgd"].mean()
    images = int(data["images"].iloc[0])
    best, last = (
        (accuracies(data[data["epoch"] == epoch], name, "val_pgd"), images) for epoch in (mean.idxmax(), mean.index[-1])
    )
    return best, last


def _fall(data: pd.DataFrame, name: str) -> Claim:
    """Return the claim that a block set is less accurate at the last epoch than at its best."""
    return Claim(*_ends(data, name), same_runs=True)


def middle_is_stable(data: pd.DataFrame) -> Verdict:
    """Test whether the update of all parts and U-34 fall behind their best, if both fall further than U-23."""
    found, images = _best_and_fall(data), int(data["images"].iloc[0])
    told = _told(found, ("all", "u34", "u23"), images)
    if found["fall"][["all", "u34"]].max() >= found["fall"]["u23"]:
        return told, False
    return told, [_fall(data, name) for name in ("all", "u34")]


def early_overfits_less(data: pd.DataFrame) -> Verdict:
    """Test whether all parts overfit and early blocks are less robust, if all parts fall further than early blocks."""
    found, images = _best_and_fall(data), int(data["images"].iloc[0])
    told, best = _told(found, (*EARLY, "all"), images), {n: _ends(data, n)[0] for n in (*EARLY, "all")}
    if found["fall"][list(EARLY)].min() <= found["fall"]["all"]:
        return told, False
    return told, [_fall(data, "all"), *(Claim(best["all"], best[early]) for early in EARLY)]


EARLY = ("u1", "u2", "u12")
FIGURE = Figure(
    "PGD accuracy on the validation split after each epoch of adversarial training of some blocks of the natural "
    "network, the rest frozen; grey is all parts updated, a dot is the best epoch, and a fall behind "
    "it is robust overfitting.",
    data="layers_curves",
    without="no model under grid.layers",
    draw=draw,
    seeds="Mean of {} seeds, bands are one standard deviation.",
    findings=(
        Finding(
            "CURE, Fig. 4",
            "Updates of everything and of blocks 3 and 4 overfit, their robust accuracy falls behind its best epoch; "
            "those of blocks 2 and 3 are stable.",
            ("all", "u34", "u23"),
            middle_is_stable,
        ),
        Finding(
            "CURE, Fig. 4",
            "Updates of early blocks alone (1, 2, 12) overfit less than those of everything, but are less robust.",
            (*EARLY, "all"),
            early_overfits_less,
        ),
    ),
)
