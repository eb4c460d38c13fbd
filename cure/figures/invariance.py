"""Draw whether pulling clean and adversarial representations together opposes classification, per batch norm."""

import pandas as pd
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, sheet
from cure.core.finding import Finding, untested
from cure.figures.parts.layout import legend_below, over_layers

TITLES = {
    "adversarial": "adversarial pulled to clean (AR-AT)",
    "clean": "clean pulled to adversarial",
    "both": "both pulled (naive)",
}


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a row per data set and model and a panel per pulled side, with a line per method, as a mean over seeds."""
    settings = data["setting"].unique()
    drawn = sheet(4.2 * len(TITLES), 4.4 * len(settings) + 0.4)
    rows = drawn.subplots(len(settings), len(TITLES), sharey="row", squeeze=False)
    for row, setting in zip(rows, settings, strict=True):
        for ax, (pulled, title) in zip(row, TITLES.items(), strict=True):
            over_layers(ax, data[(data["setting"] == setting) & (data["pulled"] == pulled)], "cosine")
            ax.axhline(0, color="black", linewidth=0.8)
            ax.set(xlabel="batch norm", title=f"{setting}\n{title}")
        row[0].set_ylabel("cosine (below 0: conflict)")
    legend_below(drawn, rows[0][0])
    return drawn


@untested
def conflicting(data: pd.DataFrame) -> tuple[str, bool]:
    """Compare the two sides of the pull in AR-AT's network, over the batch norms of its last stage, as AR-AT pulls."""
    own = data[data["method"] == "arat"]
    stage = own["layer"].str.partition(".")[0]
    last = own[stage == stage.iloc[-1]].groupby("pulled")[["cosine", "opposed"]].mean()
    clean, adversarial = last["cosine"][["clean", "adversarial"]]
    told = (
        f"cosine with the gradient of classification, last stage: clean side {clean:+.2f}, adversarial side "
        f"{adversarial:+.2f}; with both pulled {last['opposed']['both']:.0%} of the weights differ in sign"
    )
    return told, bool(clean < 0 <= adversarial)


FIGURE = Figure(
    "Cosine between two gradients of the weights: that of the cross-entropy on clean and PGD-20 adversarial validation "
    "images, and that of AR-AT's distance between their pooled representations at a batch norm, when only the "
    "adversarial one may move, only the clean one, or both. Mean over mini-batches of the evaluated network in eval "
    "mode, without AR-AT's predictor.",
    data="invariance",
    without="no analysed row in this grid",
    draw=draw,
    seeds="Mean of {} seeds, bars are one standard deviation.",
    findings=(
        Finding(
            "AR-AT, abstract",
            "Pulling representations together conflicts with classification where the clean ones move, which a "
            "stop-gradient prevents.",
            ("arat",),
            conflicting,
        ),
    ),
)
