"""Which samples a report is computed from."""

import pytest

from cure.evaluation.statistics.intervals import nrr
from cure.reporting.comparison.samples import by_method, sampled
from cure.storage.paths import Run
from tests.support.results import outcomes_of

RIGHT = {"a": [60, 70], "b": [95, 96]}


def test_each_setting_and_column_has_its_methods_seed_by_seed() -> None:
    tested = outcomes_of(RIGHT)
    tested |= {Run("svhn", "small", run.method, run.seed): one for run, one in tested.items()}
    found = sampled(tested, ["clean"], "pgd20", {})
    columns = [(where, column) for where in ("digits/small", "svhn/small") for column in ("clean", "nrr_pgd20")]
    assert list(found) == columns
    assert found["svhn/small", "clean"].scores["a"].per_seed.tolist() == [0.6, 0.7]
    ratio = found["digits/small", "nrr_pgd20"].scores["a"].per_seed
    assert ratio == pytest.approx([nrr(0.6, 0.5), nrr(0.7, 0.5)])


def test_seeds_come_by_number_whatever_the_order_of_the_runs() -> None:
    tested = outcomes_of(RIGHT)
    turned = dict(reversed(tested.items()))
    assert by_method(turned)["a"] == by_method(tested)["a"]


def test_one_seed_is_no_sample() -> None:
    assert sampled(outcomes_of({name: counts[:1] for name, counts in RIGHT.items()}), ["clean"], "pgd20", {}) == {}
