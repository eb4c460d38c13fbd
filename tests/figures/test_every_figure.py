"""Every figure of the catalogue, drawn from as many rows, corruptions and modules as the paper's grid has."""

import io
import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from cure import catalogue
from cure.core.figure import style as look
from cure.core.names import NAMES

METHODS = [*NAMES, "cure_eff", "toy"]
ANALYSED = [*list(NAMES)[:8], "toy"]
LAYERS = [f"layer{i}.{j}.{part}" for i in range(1, 5) for j in (0, 1) for part in ("conv1", "bn1", "conv2", "bn2")]
SHARES = [0.0, 0.5, 1.0]
SETTINGS = ["digits/small", "cifar10/wrn_34_10"]
CORRUPTIONS = ["gaussian_noise", "elastic_transform", "jpeg_compression", *(f"corruption_{i}" for i in range(16))]
MODULES = [f"block{i}.layer.{j}.conv{k}" for i in (1, 2, 3) for j in range(5) for k in (1, 2)]
every_figure = pytest.mark.parametrize("name", catalogue.names("figures"))


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
        return data.assign(mrc=12 * draws.random(len(data)), drop=50.0, chosen=data["module"] == MODULES[3])
    if name == "interpolation":
        data = lines("rift", variant=["update", "freeze", "bn_only"], a=[i / 10 for i in range(11)])
        data = data.assign(clean=80 + 3 * data["a"], pgd=53 - data["a"] + draws.random(len(data)))
        return data.assign(chosen=data["a"] == 0.4, exported=(data["a"] == 0.4) & (data["variant"] == "update"))
    if name == "actions":
        return lines("las_at", epoch=[1, 2, 3]).assign(chosen_eps=0.03, chosen_step=0.01, chosen_steps=8.0)
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


AXES = {
    "cka": {"clean_layer": LAYERS, "adversarial_layer": LAYERS},
    "conflict": {"layer": LAYERS},
    "distance": {"layer": LAYERS},
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


def drawn(name: str):
    figure = catalogue.entry("figures", name).FIGURE
    return figure.draw(table(figure.data))


@every_figure
def test_its_caption_is_a_sentence_and_so_is_what_it_lacks(name: str) -> None:
    figure = catalogue.entry("figures", name).FIGURE
    assert figure.caption[0].isupper()
    assert figure.caption.endswith(".")
    assert figure.without


@every_figure
def test_no_text_covers_another_or_leaves_the_sheet(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written, draw_text = {}, Text.draw

    def draw_and_remember(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip() and self.get_rotation() % 90 == 0:  # else a box says little
            written[id(self)] = (self.get_text(), self.get_window_extent(renderer))
        draw_text(self, renderer, *args, **kwargs)

    monkeypatch.setattr(Text, "draw", draw_and_remember)
    with style.context("default"):
        sheet = drawn(name)
        FigureCanvasAgg(sheet).draw()
    assert written
    pairs = itertools.combinations(written.values(), 2)
    assert [(a, b) for (a, first), (b, second) in pairs if first.shrunk(0.9, 0.9).overlaps(second)] == []
    edge = sheet.bbox.padded(2)
    assert [text for text, box in written.values() if not (edge.contains(*box.min) and edge.contains(*box.max))] == []


@every_figure
def test_it_reproduces_to_the_byte(name: str) -> None:
    def picture() -> bytes:
        out = io.BytesIO()
        with style.context("default"):
            drawn(name).savefig(out, format="png", metadata={"Software": None})
        return out.getvalue()

    assert picture() == picture()


def test_methods_differ_in_colour_or_line_and_in_colour_or_hatch() -> None:
    looks = [look(method) for method in NAMES]
    assert len({(colour, str(line)) for colour, line, _ in looks}) == len(NAMES)
    assert len({(colour, hatch) for colour, _, hatch in looks}) == len(NAMES)
