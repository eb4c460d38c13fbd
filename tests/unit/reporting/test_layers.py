"""The tables of the layer-wise study, by hand-made results of two groups and two seeds."""

import pandas as pd
import pytest

from cure import catalogue
from cure.errors import UserError
from cure.reporting import evidence
from tests.support.results import SUITE, loaded, studied


def test_bars_are_in_percent_and_the_natural_network_comes_once() -> None:
    found = evidence.table("layers", studied(), SUITE)
    assert found["setting"].unique().tolist() == ["digits/small_resnet, re-initialised"]
    assert found[["method", "blocks", "updated", "clean", "pgd"]].to_numpy().tolist() == [
        ["natural", 0, 0.0, 100.0, 0.0],
        ["u1", 1, 12.5, 75.0, 25.0],
        ["u2", 2, 12.5, 75.0, 25.0],
    ]
    assert (found["pgd_low"] <= found["pgd"]).all()
    assert found[["pgd_low", "pgd_high"]].iloc[1].tolist() == [4.56, 69.94]  # Wilson's interval of 1 in 4


def test_curves_hold_the_validated_epochs() -> None:
    found = evidence.table("layers_curves", studied(), SUITE)
    assert found[["method", "blocks", "epoch", "val_clean", "val_pgd"]].to_numpy().tolist() == [
        ["u1", 1, 2, 75.0, 25.0],
        ["u2", 2, 2, 75.0, 25.0],
    ]


@pytest.mark.parametrize("name", ["layers", "layers_curves"])
def test_without_a_study_the_tables_are_empty(name: str) -> None:
    found = evidence.table(name, loaded(), SUITE)
    assert found.empty
    assert "method" in found.columns
    assert catalogue.entry("figures", name).FIGURE.without


def test_a_process_that_has_not_run_is_named() -> None:
    with pytest.raises(UserError, match=r"small_resnet/reinit-third-s0-layers\.json: does not exist yet"):
        evidence.table("layers", studied(groups=["first", "third"]), SUITE)


def test_several_seeds_show_their_spread_in_place_of_an_interval() -> None:
    line = {"setting": "digits/small_resnet, fine-tuned", "method": "all", "blocks": 6, "epochs": 2, "images": 4}
    wide = {f"{measure}_{end}": value for measure in ("clean", "pgd") for end, value in (("low", 0), ("high", 100))}
    data = pd.DataFrame([line | wide | {"seed": s, "clean": c, "pgd": c} for s, c in ((0, 40.0), (1, 60.0))])
    draw = catalogue.entry("figures", "layers").FIGURE.draw
    for part, expected in ((data, [40.0, 60.0]), (data[:1], [0.0, 100.0])):
        (ax,) = draw(part).axes
        (whisker,) = ax.collections[0].get_segments()
        assert [y for _, y in whisker] == expected
