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
SETTINGS = ["digits/small", "cifar10/wrn_34_10"]
CORRUPTIONS = ["gaussian_noise", "elastic_transform", "jpeg_compression", *(f"corruption_{i}" for i in range(16))]
MODULES = [f"block{i}.layer.{j}.conv{k}" for i in (1, 2, 3) for j in range(5) for k in (1, 2)]
STUDIES = [
    f"cifar10/{model}, {start}" for model in ("resnet18", "wrn_34_10") for start in ("re-initialised", "fine-tuned")
]
BLOCK_SETS = [("natural", 0), *((f"u{blocks}", len(blocks)) for blocks in ("1", "2", "3", "4", "12", "23", "34"))]
BLOCK_SETS += [("u123", 3), ("u234", 3), ("all", 6)]
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
    assert name == "masks", f"say here what the table {name} looks like"
    arrays = {"image": draws.random((8, 3, 4, 4)), "map": draws.random((8, 1, 4, 4)), "full": np.ones((8, 1, 4, 4))}
    arrays |= {"label": np.arange(8), "predicted": np.zeros(8, int)}
    places = [{"setting": setting, "method": "part", "seed": 0} for setting in SETTINGS]
    return pd.DataFrame([place | arrays | {"classes": ["automobile"] * 10} for place in places])


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
