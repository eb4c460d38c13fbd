"""Every figure of the catalogue, drawn from as many rows, corruptions and modules as the paper's grid has."""

import io
import itertools
import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Sheet
from matplotlib.text import Text

from cure import catalogue
from cure.core.figure import LOOK, marker
from cure.core.figure import style as look
from cure.core.names import NAMES

METHODS = [*NAMES, "cure_eff", "toy"]
ANALYSED = [*list(NAMES)[:8], "toy"]
LAYERS = [f"layer{i}.{j}.{part}" for i in range(1, 5) for j in (0, 1) for part in ("conv1", "bn1", "conv2", "bn2")]
SHARES = [0.0, 0.5, 1.0]
SETTINGS = ["digits/small", "cifar10/wrn_34_10"]
CORRUPTIONS = ["gaussian_noise", "elastic_transform", "jpeg_compression", *(f"corruption_{i}" for i in range(16))]
MODULES = [f"block{i}.layer.{j}.conv{k}" for i in (1, 2, 3) for j in range(5) for k in (1, 2)]
STUDIES = [
    f"cifar10/{model}, {start}" for model in ("resnet18", "wrn_34_10") for start in ("re-initialised", "fine-tuned")
]
BLOCK_SETS = [("natural", 0), *((f"u{blocks}", len(blocks)) for blocks in ("1", "2", "3", "4", "12", "23", "34"))]
BLOCK_SETS += [("u123", 3), ("u234", 3), ("all", 6)]


def lines(method: str, **columns: list) -> pd.DataFrame:
    """Every combination of the columns' values, for each setting."""
    places = itertools.product(SETTINGS, *columns.values())
    return pd.DataFrame(places, columns=["setting", *columns]).assign(method=method, seed=0)


def table(name: str) -> pd.DataFrame:
    draws = np.random.default_rng(0)
    if name == "curves":
        data = pd.concat([lines(m, epoch=list(range(1, 31))) for m in METHODS])
        return data.assign(val_pgd=draws.random(len(data)) * 0.6, val_clean=0.9)
    if name == "corruptions":
        data = pd.concat([lines(m, corruption=CORRUPTIONS, severity=[1, 5]) for m in METHODS])
        return data.assign(accuracy=100 * draws.random(len(data)), category="noise")
    if name == "criticality":
        data = lines("rift", module=MODULES)
        data = data.assign(mrc=12 * draws.random(len(data)), drop=50.0, chosen=data["module"] == MODULES[3])
        return data.assign(images=1000, batch=128, epochs=10, steps=80, lr=1.0, eps=0.1)
    if name == "interpolation":
        data = lines("rift", variant=["update", "freeze", "bn_only"], a=[i / 10 for i in range(11)])
        data = data.assign(clean=80 + 3 * data["a"], pgd=53 - data["a"] + draws.random(len(data)))
        data = data.assign(images=1000, draws=5, another=41.0, weaker=3.0)
        return data.assign(chosen=data["a"] == 0.4, exported=(data["a"] == 0.4) & (data["variant"] == "update"))
    if name == "actions":
        chosen = {"chosen_eps": 0.03, "chosen_step": 0.01, "chosen_steps": 8.0, "chosen_beta": 7.0}
        return lines("las_at", epoch=[1, 2, 3]).assign(**chosen)
    if name in ("tradeoff", "ratio"):
        data = pd.concat([lines(m, column=["cw20", "aa"] if name == "tradeoff" else ["pgd20"]) for m in METHODS])
        clean, robust = 80 + 15 * draws.random(len(data)), 40 + 20 * draws.random(len(data))
        spans = {"clean_low": clean - 1, "clean_high": clean + 1, "low": robust - 4, "high": robust + 4}
        return data.assign(clean_accuracy=clean, accuracy=robust, nrr=60.0, **spans).reset_index(drop=True)
    if name == "ranks":
        columns = ["clean", "pgd20", "cw20", "aa", "nrr_cw20"]
        methods = dict.fromkeys(METHODS)
        data = pd.concat([lines(m, column=columns) for m in methods]).reset_index(drop=True).assign(images=10_000)
        data["mean"] = 100 * draws.random(len(data))
        places = data.groupby(["setting", "column"])["mean"].rank(ascending=False).astype(int)
        data = data.assign(rank=places, rank_low=(places - 3).clip(1), rank_high=(places + 3).clip(upper=len(methods)))
        return data.assign(alike=[near(data, line) for line in data.itertuples()])
    if name == "survival":
        data = pd.concat([lines(m, column=["min_linf"], radius=[k / 80 for k in range(17)]) for m in METHODS])
        return data.assign(eps=0.1, accuracy=100 - 400 * data["radius"] * draws.random(len(data)))
    if name == "minima":
        data = pd.concat([lines(m, column=["min_linf", "min_l2"], surviving=[0.75, 0.5, 0.25]) for m in METHODS])
        norm = data["column"].str.removeprefix("min_")
        return data.assign(norm=norm, radius=(1 - data["surviving"]) * (0.5 + draws.random(len(data))))
    if name == "layers":
        data = pd.DataFrame(BLOCK_SETS, columns=["method", "blocks"]).merge(
            pd.DataFrame({"setting": STUDIES}), how="cross"
        )
        data = data.assign(seed=0, updated=10.0, epochs=200, images=1000)
        for measure in ("clean", "pgd"):
            data[measure] = 10 + 85 * draws.random(len(data))
            data = data.assign(**{f"{measure}_low": data[measure] - 2, f"{measure}_high": data[measure] + 2})
        return data
    if name == "layers_curves":
        data = pd.DataFrame(BLOCK_SETS[1:], columns=["method", "blocks"])
        data = data.merge(pd.DataFrame({"setting": STUDIES}), how="cross")
        data = data.merge(pd.DataFrame({"epoch": range(1, 201)}), how="cross").assign(seed=0, val_clean=90.0)
        return data.assign(val_pgd=30 + 20 * draws.random(len(data)))
    if name in AXES:
        methods = ["cure", "cure_eff"] if name in ("rgp", "overlap") else ANALYSED
        data = pd.concat([lines(m, **AXES[name]) for m in methods])
        data = data.assign(**{value: draws.random(len(data)) for value in VALUES[name]})
        other = data.assign(seed=1, **{value: data[value] * 0.9 for value in VALUES[name]})
        return pd.concat([data, other]).assign(dims=4)
    assert name in ("masks", "pictures"), f"say here what the table {name} looks like"
    methods = ["part"] if name == "masks" else ANALYSED
    places = [{"setting": setting, "method": method, "seed": 0} for setting in SETTINGS for method in methods]
    return pd.DataFrame([place | pictures(draws) | {"classes": ["automobile"] * 10} for place in places])


def near(data: pd.DataFrame, line: Any) -> str:
    """The methods up to four ranks away."""
    here = data[(data["setting"] == line.setting) & (data["column"] == line.column)]
    return " ".join(here["method"][(here["rank"] - line.rank).abs().between(1, 4)])


AXES = {
    "cka": {"clean_layer": LAYERS, "adversarial_layer": LAYERS},
    "conflict": {"layer": LAYERS},
    "distance": {"layer": LAYERS},
    "invariance": {"layer": LAYERS, "pulled": ["adversarial", "clean", "both"]},
    "gradients": {"share": SHARES, "layer": LAYERS},
    "rgp": {"share": SHARES, "layer": LAYERS},
    "overlap": {"share": SHARES, "other": SHARES, "layer": LAYERS},
    "calibration": {"view": ["clean", "adversarial"], "bin": list(range(1, 16))},
    "landscape": {"adversarial": [0.0, 1.0, 2.0], "random": [-1.0, 0.0, 1.0]},
}
VALUES = {
    "cka": ["cka"],
    "conflict": ["cosine"],
    "distance": ["distance"],
    "invariance": ["cosine", "opposed"],
    "gradients": ["magnitude"],
    "rgp": ["network_wide", "per_tensor", "moved"],
    "overlap": ["jaccard", "chance"],
    "calibration": ["images", "accuracy", "confidence"],
    "landscape": ["loss", "wrong"],
}


def pictures(draws: np.random.Generator) -> dict[str, np.ndarray]:
    """Everything that an analysis leaves of five colour images."""
    shape = (5, 3, 4, 4)
    found = {key: draws.random(shape) for key in ("image", "adversarial", "gradient")}
    found |= {key: draws.random((5, 1, 4, 4)) for key in ("map", "full")}
    found |= {key: np.arange(5) for key in ("label", "fooled")}
    return found | {"predicted": np.zeros(5, int), "distance": np.array([0.0, 0.1, 0.2, 0.3, 0.4])}


def tables(name: str) -> list[pd.DataFrame]:
    """What the figure may be drawn from: one seed and three that differ a little, or the several that it comes with."""
    draws = np.random.default_rng(1)
    first = table(catalogue.entry("figures", name).FIGURE.data)
    if first["seed"].nunique() > 1:
        return [first]
    more = [first.assign(seed=seed) for seed in range(3)]
    for data in more[1:]:
        for column in data.select_dtypes(float).columns.difference(["a", "radius", "surviving", "eps"]):
            data[column] *= 1 + 0.02 * draws.random(len(data))
    several = pd.concat(more, ignore_index=True)
    return [several] if "image" in first else [first, several]  # pictures are those of one seed, whatever else there is


class Drawing:
    """A figure as it was drawn from a table: the sheet, its picture, and where which text stands on it."""

    def __init__(self, name: str, data: pd.DataFrame) -> None:
        written, draw_text = {}, Text.draw

        def draw_and_remember(self, renderer, *args, **kwargs):
            upright = self.get_rotation() % 90 == 0  # else a box says little
            if self.get_visible() and self.get_text().strip() and upright:
                written[id(self)] = (self.get_text(), Text.get_window_extent(self, renderer))
            draw_text(self, renderer, *args, **kwargs)

        out = io.BytesIO()
        with pytest.MonkeyPatch.context() as patch, style.context(["default", LOOK]):
            self.sheet: Sheet = catalogue.entry("figures", name).FIGURE.draw(data)
            patch.setattr(Text, "draw", draw_and_remember)  # not before: a figure that looks for room may have drawn
            FigureCanvasAgg(self.sheet).print_png(out, metadata={"Software": None})
        self.written, self.png = list(written.values()), out.getvalue()


@pytest.fixture(scope="module", params=catalogue.names("figures"))
def name(request: pytest.FixtureRequest) -> str:
    """Every figure in turn, with all tests of one behind each other, so that each is drawn for all of them."""
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def drawings(name: str) -> list[Drawing]:
    return [Drawing(name, data) for data in tables(name)]


def test_its_caption_is_a_sentence_and_so_is_what_it_lacks(name: str) -> None:
    figure = catalogue.entry("figures", name).FIGURE
    assert figure.caption[0].isupper()
    assert figure.caption.endswith(".")
    assert figure.seeds.endswith(".")
    assert figure.seeds.format(3) != figure.seeds
    assert figure.without


def test_no_text_covers_another_or_leaves_the_sheet(drawings: list[Drawing]) -> None:
    for drawing in drawings:
        assert drawing.written
        low, high = (np.array([getattr(box, end) for _, box in drawing.written]) for end in ("min", "max"))
        most = low + 0.9 * (high - low)  # boxes are a little larger than what is seen of a text
        overlap = (low[:, None] <= high).all(2) & (low <= most[:, None]).all(2)
        pairs = np.argwhere(np.triu(overlap, k=1))
        assert [(drawing.written[a][0], drawing.written[b][0]) for a, b in pairs] == []
        edge = drawing.sheet.bbox.padded(2)
        inside = [edge.contains(*box.min) and edge.contains(*box.max) for _, box in drawing.written]
        assert [text for (text, _), stays in zip(drawing.written, inside, strict=True) if not stays] == []


def test_the_lowest_panel_of_each_column_names_its_values(drawings: list[Drawing]) -> None:
    for drawing in drawings:
        lowest = {}
        for ax in drawing.sheet.axes:
            if ax.get_visible() and (place := ax.get_subplotspec()):
                lowest[place.get_gridspec(), place.colspan.start] = ax  # panels come from the top
        assert [ax.get_title() for ax in lowest.values() if not ax.xaxis.get_tick_params()["labelbottom"]] == []


def ranked(alike: dict[str, str]) -> pd.DataFrame:
    """One panel: the methods are ranked in this order."""
    data = pd.DataFrame({"method": list(alike), "alike": list(alike.values()), "rank": range(1, len(alike) + 1)})
    ends = {"rank_low": data["rank"], "rank_high": data["rank"], "mean": 90.0 - data["rank"], "images": 100}
    return data.assign(setting="digits/small", column="clean", seed=0, **ends)


@pytest.mark.parametrize(
    ("alike", "bars"),
    [
        ({"at": "trades", "trades": "at", "cure": ""}, [[0, 1]]),
        ({"at": "", "trades": "", "cure": ""}, []),
        ({"at": "trades cure", "trades": "at cure", "cure": "at trades"}, [[0, 1, 2]]),
        ({"at": "trades", "trades": "at cure", "cure": "trades"}, [[0, 1], [1, 2]]),
        ({"at": "cure", "trades": "", "cure": "at"}, [[0, 2]]),  # the test of a pair has a deviation of its own
    ],
)
def test_two_methods_have_a_bar_in_common_where_they_are_not_told_apart(alike: dict, bars: list[list[int]]) -> None:
    (ax,) = catalogue.entry("figures", "ranks").FIGURE.draw(ranked(alike)).axes
    black = [line.get_ydata() for line in ax.lines if line.get_color() == "black"]
    assert [list(places) for places in black] == bars
    assert [label.get_text().split()[0] for label in ax.get_yticklabels()] == ["AT", "TRADES", "CURE"]


@pytest.mark.parametrize("name", ["perturbations", "saliency"])
def test_the_images_shown_are_those_that_most_methods_classify_correctly(name: str) -> None:
    draws, label = np.random.default_rng(0), np.arange(8)
    found = {key: draws.random((8, 1, 4, 4)) for key in ("image", "adversarial", "gradient")}
    found |= {"label": label, "fooled": label, "distance": np.ones(8), "classes": list("abcdefgh")}
    wrong = {"at": [0, 2], "trades": [2], "cure": [2, 5, 7]}
    rows = [
        {"setting": "digits/small", "method": method, "seed": seed, "predicted": label + np.isin(label, these), **found}
        for method, these in wrong.items()
        for seed in (0, 1)
    ]
    rows[1]["predicted"] = label + 1  # the second seed is not shown
    axes = catalogue.entry("figures", name).FIGURE.draw(pd.DataFrame(rows)).axes
    assert [title for ax in axes if (title := ax.get_title())] == list("abdeg") * 2  # two columns of methods


def test_the_ratio_names_the_attack_that_it_is_of() -> None:
    ratio = catalogue.entry("figures", "ratio").FIGURE
    axes = ratio.draw(table("ratio").assign(column="cw20")).axes
    assert {ax.get_xlabel() for ax in axes} == {"accuracy (%): clean, and under C&W-20 (hatched)"}


@pytest.mark.parametrize(("without", "panels"), [([], 4), (["chosen_beta"], 3)])
def test_beta_has_a_panel_where_it_is_chosen(without: list[str], panels: int) -> None:
    actions = catalogue.entry("figures", "actions").FIGURE
    axes = actions.draw(table("actions").drop(columns=without)).axes
    assert [ax.get_ylabel().startswith("beta") for ax in axes] == [False] * 3 + [True] * (panels - 3)


def test_criticality_says_what_it_was_measured_on() -> None:
    figure = catalogue.entry("figures", "criticality").FIGURE
    said = [
        "1000 images in batches of 128, ball of 0.1 of the weight's norm,",
        "10 epochs of ascent, 80 steps of size 1",
    ]
    assert [ax.get_xlabel().splitlines()[1:] for ax in figure.draw(table("criticality")).axes] == [said] * len(SETTINGS)


def test_it_reproduces_to_the_byte(name: str, drawings: list[Drawing]) -> None:
    random.seed(1)
    np.random.seed(1)  # what draws at random would find other numbers than the first time
    assert Drawing(name, tables(name)[0]).png == drawings[0].png


def test_methods_differ_in_colour_or_line_and_in_colour_or_hatch() -> None:
    looks = [look(method) for method in NAMES]
    assert len({(colour, str(line)) for colour, line, _ in looks}) == len(NAMES)
    assert len({(colour, hatch) for colour, _, hatch in looks}) == len(NAMES)
    assert len({(look(method)[0], marker(method)) for method in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", ["gradients", "conflict", "distance"])
def test_at_and_cure_lie_above_the_other_lines_of_layers(name: str) -> None:
    figure = catalogue.entry("figures", name).FIGURE
    data = pd.concat([lines(m, **AXES[name]) for m in ("natural", "at", "part", "cure", "cure_eff")])
    sheet = figure.draw(data.assign(dims=4, **dict.fromkeys(VALUES[name], 0.5)))
    for ax in sheet.axes:
        heights = {bars.get_label(): bars.lines[0].get_zorder() for bars in ax.containers}
        assert min(heights["AT"], heights["CURE"]) > max(heights[name] for name in ("Natural", "PART", "CURE_Eff"))


def test_a_method_has_the_same_marker_over_layers_and_in_the_trade_off() -> None:
    figures = [catalogue.entry("figures", name).FIGURE for name in ("conflict", "tradeoff")]
    layers, tradeoff = (figure.draw(table(figure.data)).axes[0] for figure in figures)
    over_layers = {bars.get_label(): bars.lines[0].get_marker() for bars in layers.containers}
    own = {line.get_color(): line.get_marker() for line in tradeoff.lines if line.get_marker() not in ("None", "")}
    assert over_layers["AT"] == marker("at")
    assert own[look("at")[0]] in {marker(method) for method in METHODS if look(method)[0] == look("at")[0]}
