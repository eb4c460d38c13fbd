"""The page of pairs: which unit it names, what it says of seeds, and whom it compares."""

from cure.reporting.comparison import pairs, pairs_page
from cure.reporting.comparison.samples import sampled
from tests.support.results import outcomes_of

CLEAN = {"a": [98, 97], "b": [60, 62], "c": [95, 96]}
TITLES = {"clean": "Clean", "pgd20": "PGD-20", "nrr_pgd20": "NRR"}


def page(right: dict[str, list[int]], column: str = "clean", starts: dict[str, str] | None = None) -> list[str]:
    tested = outcomes_of(right)
    methods = sampled(tested, [column], column, starts or {})
    return pairs_page.page(
        pairs.compared(tested, [column], methods), methods, ["b"], TITLES | {"nrr_clean": "NRR"}
    ).splitlines()


def test_methods_beat_each_other_and_are_compared_with_the_rows_named() -> None:
    lines = page(CLEAN)
    assert lines[0] == "# Who beats whom"
    assert lines[2].startswith("The unit is the method")
    assert "| Method | Accuracy | Wins, ties, losses | a | c | b |" in lines
    assert "| a | 97.50 | 1, 1, 0 |  | = | + |" in lines
    assert "| b | 61.00 | 0, 0, 2 | - | - |  |" in lines
    assert any(line.startswith("| c | b | +34.50 | +") and line.endswith("| c beats b |") for line in lines)
    assert any(line.startswith("| c | a (best) | -2.00 | -") and line.endswith("| not told apart |") for line in lines)
    assert not any(line.startswith("| a | c |") for line in lines)


def test_each_column_says_how_steady_training_is_and_what_so_few_seeds_do_not_show() -> None:
    said = next(line for line in page(CLEAN) if line.startswith("Standard deviation between seeds"))
    assert said.startswith(
        "Standard deviation between seeds: 1.00 points, pooled (3 degrees of freedom), "
        "of single methods from 0.71 (a) to 1.41 (b)."
    )
    assert "points at 80 % power" in said


def test_a_method_that_is_not_in_the_pool_is_named() -> None:
    lines = page(CLEAN | {"natural": [0, 1], "rift": [95, 96]}, starts={"rift": "c"})
    said = "Not in the pool, since nearly all outcomes are alike or another's runs are fine-tuned: Natural, RiFT."
    assert any(said in line for line in lines)
    assert not any("Not in the pool" in line for line in page(CLEAN))


def test_the_page_of_one_seed_ranks_nothing() -> None:
    lines = page({name: counts[:1] for name, counts in CLEAN.items()})
    assert lines[0] == "# Pairs of networks"
    assert not any(word in line for line in lines for word in ("beat", "best", "Method"))
    assert any("It compares" in line for line in lines)
    assert "| a | 98.00 | 1, 1, 0 |  | = | + |" in lines
    assert "| b | 60.00 | 0, 0, 2 | - | - |  |" in lines
    assert any(line.startswith("| c | b | +35.00 | +") and line.endswith("| differs |") for line in lines)
    assert any(line.startswith("| Network of | Against the network of |") for line in lines)
