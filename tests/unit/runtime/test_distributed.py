"""Two ranks on one machine do what one process does with the same batches."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from cure.core.noise import Rows, Stream
from cure.data import loader
from cure.errors import UserError
from cure.runtime import distributed, torchrun
from cure.settings.sections import RunSettings
from tests.support.project import ROOT
from tests.support.together import METHODS, everything


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks found."""
    place = tmp_path_factory.mktemp("two")
    line = [sys.executable, "-m", "tests.support.together", str(place)]
    started = [subprocess.Popen([*line, str(rank)], cwd=ROOT) for rank in (0, 1)]
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    return [torch.load(place / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What this process finds alone."""
    kept = loader.as_float
    try:
        return everything(tmp_path_factory.mktemp("one"))
    finally:
        loader.as_float = kept


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert list(a) == list(b)
    for name, tensor in a.items():
        torch.testing.assert_close(b[name], tensor, rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_two_ranks_end_in_the_weights_and_history_of_one_process(one, two, method: str) -> None:
    for found in two:
        close(one[method]["state"], found[method]["state"])
        close(one[method]["best"], found[method]["best"])
        for ours, theirs in zip(one[method]["history"], found[method]["history"], strict=True):
            assert theirs == pytest.approx(ours, rel=1e-7)


@pytest.mark.parametrize("what", [*METHODS, "norms"])
def test_both_ranks_end_in_the_same_bits(two, what: str) -> None:
    first, second = (found[what]["state"] for found in two)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_running_statistics_are_those_of_the_ranks_rows(one, two) -> None:
    ours, theirs = (found["norms"]["state"] for found in (one, two[0]))
    moved = [name for name in ours if name.startswith("student.") and name.endswith("running_mean")]
    assert moved
    assert all(0 < float((ours[name] - theirs[name]).abs().max()) < 0.5 for name in moved)


def test_every_unit_of_an_evaluation_is_computed_once_and_everyone_has_the_result(one, two) -> None:
    assert [found["evaluated"]["result"] for found in two] == [one["evaluated"]["result"]] * 2
    first, second = (found["evaluated"]["units"] for found in two)
    assert first + second == one["evaluated"]["units"]
    assert min(first, second) > 0


def test_rows_are_all_of_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "count", lambda: 3)
    for n in (0, 1, 2, 7, 9):
        found = []
        for rank in range(3):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            found.append(list(range(n))[distributed.rows(n)])
        assert [row for rows in found for row in rows] == list(range(n))
        assert max(map(len, found)) - min(map(len, found)) <= 1


def test_the_draws_of_some_rows_are_those_of_the_whole_batch() -> None:
    x, cpu = torch.zeros(5, 1, 2, 2), torch.device("cpu")
    for kind in ("uniform", "normal"):
        whole = getattr(Stream(1, cpu), kind)(x, 0.25)
        assert torch.equal(getattr(Rows(Stream(1, cpu), slice(2, 4), 5), kind)(x[2:4], 0.25), whole[2:4])
    assert [Rows(Stream(1, cpu), slice(0, 1), 5).chance(0.5)] == [Stream(1, cpu).chance(0.5)]


def run_settings(**changes: Any) -> RunSettings:
    known = {"device": "cpu", "threads": 1, "deterministic": True, "cpu_isa": "native", "processes": 2}
    known |= {"layout": "contiguous", "precision": "fp32", "tf32": False, "compile": False, "graphs": False}
    return RunSettings(**(known | {"sync_batchnorm": False} | changes))


def test_more_processes_are_started_by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def replaced(program: str, words: list[str]) -> None:
        seen.append((program, words))
        raise SystemExit

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torchrun.os, "execv", replaced)
    monkeypatch.setattr(sys, "argv", ["stages/update.py", "digits", "small", "at", "0"])
    with pytest.raises(SystemExit):
        torchrun.set_up(run_settings())
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    assert seen == [(sys.executable, [sys.executable, *words, *sys.argv])]


def test_a_part_of_a_mean_asks_no_other_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "count", lambda: 2)
    values = torch.tensor([1.0, 2.0, 6.0])
    with distributed.batch_of(5):  # the other rank has two
        mine = distributed.part(values)
    torch.testing.assert_close((mine + 2 / 5 * torch.tensor([4.0, 8.0]).sum()) / 2, torch.tensor(21 / 5))


def test_a_mean_over_ranks_lies_as_its_tensor_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "count", lambda: 2)
    monkeypatch.setattr(distributed.group, "all_reduce", lambda flat: flat.mul_(2))
    given = [torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last), torch.randn(7), torch.randn(())]
    for before, mean in zip(given, distributed.mean(given), strict=True):
        assert torch.equal(mean, before)
        assert mean.stride() == before.stride()


@pytest.mark.parametrize(
    ("changes", "there", "said"),
    [
        ({"device": "cuda", "processes": 4}, 2, "run.processes: 4; this machine has 2 CUDA devices"),
        ({"device": "cuda"}, 0, "run.device is cuda, but PyTorch finds no CUDA device"),
        ({"sync_batchnorm": True}, 0, "SyncBatchNorm on CUDA only"),
    ],
)
def test_what_no_process_could_do_is_refused_before_any_starts(monkeypatch, changes, there, said) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setattr(torchrun.os, "execv", lambda *_: pytest.fail("started"))
    with pytest.raises(UserError, match=said):
        torchrun.set_up(run_settings(**changes))
