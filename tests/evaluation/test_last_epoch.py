"""The network of the last epoch beside the evaluated one."""

import pytest
import torch

from cure.data.loader import Split
from cure.errors import UserError
from cure.evaluation.attack_columns import attacked, chains, examples_of, result
from cure.evaluation.evaluated_run import Bench
from cure.evaluation.last_epoch import Last
from cure.settings.sections import AttackSuite, RunSettings, Threat
from cure.storage import checkpoint
from cure.storage.checkpoint import Description, build
from cure.storage.paths import Cell

CELL = Cell("digits", "small", "at", 0)
PGD = {"attack": "pgd", "steps": 2, "start": "uniform", "clip_start": True}
HOW = {"images": 12, "batch": 6, "seed": 0, "layout": "contiguous", "subset": {}, "table": ["pgd2"], "nrr": "pgd2"}
SUITE = AttackSuite(**HOW, last=["pgd2"], columns={"pgd2": PGD, "pgd4": PGD | {"steps": 4}}, on_request={})
THREAT = Threat(eps=0.1, step=0.05)


def about(kind: str, epoch: int, digest: str = "0") -> Description:
    known = {"model": "small", "settings": {"width": 4}, "channels": 1, "classes": list("0123456789"), "seed": 0}
    known |= {"dataset": "digits", "data_digest": digest, "method": "at", "params": {}, "best_epoch": 1}
    return Description(kind=kind, epoch=epoch, validation={}, **known)


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build("small", {"width": 4}, 1, 10).eval()


@pytest.fixture
def bench(tmp_path, monkeypatch) -> Bench:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    split = Split(torch.randint(256, (12, 1, 8, 8), dtype=torch.uint8), torch.arange(12) % 10)
    run = RunSettings.model_construct()
    return Bench(about("network", 1), network(0), split, run, torch.device("cpu"))


def trained(last: torch.nn.Module, epoch: int = 2, digest: str = "0") -> None:
    CELL.trajectory.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(CELL.trajectory, {"last": last.state_dict()}, about("trajectory", epoch, digest))


def measured(net: torch.nn.Module, bench: Bench) -> dict:
    data = examples_of(bench.split)
    return result(attacked(net, data, chains(SUITE, THREAT, 10), SUITE, lambda _: None), data, SUITE, THREAT.eps)


def test_its_outcomes_are_those_of_the_network_itself(bench: Bench) -> None:
    other = network(1)
    trained(other)
    last, ticks = Last(CELL, bench, SUITE, THREAT), []
    found = last.outcomes(measured(bench.net, bench), ticks.append, {})
    wanted = measured(other, bench)["outcomes"]
    assert found == {"epoch": 2, "outcomes": {name: wanted[name] for name in ("clean", "pgd2")}}
    assert len(ticks) == last.units == 3


def test_where_the_last_epoch_is_evaluated_nothing_is_computed_twice(bench: Bench) -> None:
    trained(network(1), epoch=1)
    last, best = Last(CELL, bench, SUITE, THREAT), measured(bench.net, bench)
    found = last.outcomes(best, lambda _: pytest.fail("a unit was computed"), {})
    assert found == {"epoch": 1, "outcomes": {name: best["outcomes"][name] for name in ("clean", "pgd2")}}
    assert last.units == 0


def test_without_a_trajectory_or_with_one_of_another_form_there_is_none(bench: Bench) -> None:
    best = measured(bench.net, bench)
    assert Last(CELL, bench, SUITE, THREAT).outcomes(best, print, {}) is None
    trained(torch.nn.Linear(2, 2))
    assert Last(CELL, bench, SUITE, THREAT).outcomes(best, print, {}) is None


def test_a_suite_that_asks_for_none_looks_at_no_file(bench: Bench) -> None:
    CELL.trajectory.parent.mkdir(parents=True)
    CELL.trajectory.write_bytes(b"no weights")
    last = Last(CELL, bench, SUITE.model_copy(update={"last": []}), THREAT)
    assert last.outcomes(measured(bench.net, bench), print, {}) is None


def test_a_trajectory_of_other_data_is_refused(bench: Bench) -> None:
    trained(network(1), digest="1")
    with pytest.raises(UserError, match=r"not the file that .* was trained with"):
        Last(CELL, bench, SUITE, THREAT)
