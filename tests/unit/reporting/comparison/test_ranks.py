"""The table and the page of ranks, and what the figure is drawn from."""

from pathlib import Path

import pytest

from cure.reporting.comparison import ranks
from cure.reporting.comparison.samples import sampled
from tests.support.results import SUITE, attack_result, loaded, outcomes_of, run, write

RIGHT = {"a": [60, 62, 61], "b": [95, 96, 94], "c": [61, 61, 62]}


def test_every_column_ranks_every_method_with_intervals() -> None:
    found = ranks.table(sampled(outcomes_of(RIGHT), ["clean"], "pgd20", {}))
    assert found["column"].drop_duplicates().tolist() == ["clean", "nrr_pgd20"]
    clean = found[found["column"] == "clean"].set_index("method")
    assert clean["mean"].round(2).to_dict() == {"a": 61.0, "b": 95.0, "c": 61.33}
    assert clean["rank"].to_dict() == {"a": 3, "b": 1, "c": 2}
    assert clean[["rank_low", "rank_high"]].to_numpy().tolist() == [[2, 3], [1, 1], [2, 3]]
    assert clean["first"].to_dict() == {"a": 0, "b": 100, "c": 0}
    assert ((clean["low"] < clean["mean"]) & (clean["mean"] < clean["high"])).all()


def test_the_page_comes_by_rank() -> None:
    found = ranks.table(sampled(outcomes_of(RIGHT), ["clean"], "pgd20", {}))
    lines = ranks.page(found, {"clean": "Clean", "nrr_pgd20": "NRR"}).splitlines()
    first = lines.index("### Clean: 100 images, 3 seeds")
    assert [line.split(" | ")[0] for line in lines[first + 4 : first + 7]] == ["| b", "| c", "| a"]
    assert lines[first + 4].endswith("| 1 | 1 to 1 | 100 % |")


def test_one_seed_ranks_nothing_and_says_how_to_get_ranks() -> None:
    found = ranks.table(
        sampled(outcomes_of({name: counts[:1] for name, counts in RIGHT.items()}), ["clean"], "pgd20", {})
    )
    assert found.empty
    assert found.to_csv(index=False).startswith("setting,column,")
    said = " ".join(ranks.page(found, {}).split())
    assert "List three seeds or more under `grid.seeds`, such as [0, 1, 2]" in said


@pytest.mark.parametrize("seeds", [(1, 0), (0,)])
def test_the_figure_has_the_mean_of_each_seed_and_who_is_not_told_apart(
    seeds: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rights = {"natural": [90, 91], "at": [60, 62], "trades": [61, 63]}
    for method, counts in rights.items():
        for seed, right in enumerate(counts):
            write(run(method, seed).result("attack"), attack_result(right))
    found = ranks.drawn(loaded(seeds=seeds, update=["at", "trades"]), SUITE)
    if len(seeds) == 1:
        assert found.empty
        return
    clean = found[found["column"] == "clean"]
    assert clean[["method", "seed", "own"]].to_numpy().tolist() == [
        [method, seed, pytest.approx(right)] for method, counts in rights.items() for seed, right in enumerate(counts)
    ]
    assert dict(zip(clean["method"], clean["alike"], strict=True)) == {"natural": "", "at": "trades", "trades": "at"}
