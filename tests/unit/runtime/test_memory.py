"""Memory that runs out: training says which batch to try, an evaluation takes it by itself and says so."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from cure import catalogue
from cure.core.attack import AttackSequence
from cure.core.method import Batch
from cure.data.loader import Split
from cure.errors import UserError
from cure.evaluation import corrupted
from cure.evaluation.attack_columns import attacked, result
from cure.evaluation.driver import Driver
from cure.evaluation.statistics.results import RunAttackResult
from cure.evaluation.work_items import Examples
from cure.reporting import attacks
from cure.runtime.memory import exhausted, fitting, halving
from cure.storage.paths import Run
from cure.storage.records import parse, write
from cure.training.validation import validation
from tests.support.attacks import EPS, SHORT, autoattack, images, pgd, suite
from tests.support.project import ROOT
from tests.support.saving import every_epoch
from tests.support.training import task, with_method

fault = pytest.mark.reliability("faults of disk and memory")


class Narrow(nn.Module):
    """A network for which the device has no memory beyond so many images."""

    def __init__(self, net: nn.Module, most: int) -> None:
        super().__init__()
        self.net, self.most = net, most

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total of 1 MiB")
        return self.net(x)


@pytest.fixture
def net(make_net) -> nn.Module:
    return make_net(classes=10, width=8, dtype=torch.float32).eval()


@pytest.fixture
def data(net) -> Examples:
    x = images(40)
    with torch.no_grad():
        return Examples(x, net(x).argmax(1), torch.arange(40))


@fault
def test_the_cpus_own_error_is_known() -> None:
    with pytest.raises(RuntimeError) as ended:
        torch.empty(2**60, dtype=torch.uint8)
    assert exhausted(ended.value)
    assert not exhausted(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.cuda
def test_the_devices_own_error_is_known_and_halves_the_batch(capsys) -> None:
    torch.cuda.empty_cache()
    room = torch.cuda.mem_get_info()[0]
    assert (
        halving(4, lambda batch: len(torch.empty(batch * room // 3, dtype=torch.uint8, device="cuda")) and batch, "x")
        == 2
    )
    assert "x: memory ran out (CUDA out of memory); again with batches of 2" in capsys.readouterr().err


@fault
@pytest.mark.parametrize(("batch", "advice"), [(64, "try train.batch: 32, which is another training"), (1, "take a d")])
def test_training_names_the_batch_to_try(batch: int, advice: str) -> None:
    with pytest.raises(UserError) as refused, fitting("train.batch", batch):
        Narrow(nn.Identity(), 0)(torch.zeros(1))
    assert str(refused.value).startswith(
        f"train.batch: {batch} images at once do not fit into the memory (CUDA out of "
    )
    assert advice in str(refused.value)


@pytest.mark.parametrize(
    "guard", [lambda work: halving(8, work, "x"), lambda work: fitting("k", 8).__enter__() or work(8)]
)
def test_other_errors_pass(guard) -> None:
    def fail(batch: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        guard(fail)


@fault
@pytest.mark.parametrize("sequence", [pgd(), autoattack()], ids=["pgd", "aa"])
def test_an_attack_ends_as_if_the_smaller_batch_had_been_asked_for(net, data, sequence: AttackSequence, capsys) -> None:
    narrow = Driver(Narrow(net, 5), data, batch=20, seed=0).run(sequence)
    said = capsys.readouterr().err
    assert "clean images: memory ran out (CUDA out of memory); again with batches of 10\n" in said
    assert f"{' and '.join(sequence.attacks)}: memory ran out (CUDA out of memory); again with batches of 5\n" in said
    asked = Driver(copy.deepcopy(net), data, batch=5, seed=0).run(sequence)
    assert (narrow.batch, asked.batch) == (5, 5)
    assert torch.equal(narrow.x_adv, asked.x_adv)
    assert torch.equal(narrow.distance, asked.distance)


@fault
def test_one_of_several_processes_is_refused_since_all_must_cut_alike(net, data) -> None:
    driver = Driver(Narrow(net, 5), data, batch=20, seed=0, share=(0, 2), patience=0.01)
    with pytest.raises(UserError, match=r"no memory for 20 images at once .* try half as many in section attack"):
        driver.run(pgd())


@fault
def test_a_result_names_the_batch_of_a_column_that_did_not_fit_and_of_no_other(net, data, tmp_path) -> None:
    ascent = {"steps": 2, "start": "uniform", "clip_start": True, "attack": "pgd"}
    how = suite(
        columns={"pgd20": ascent, "aa": SHORT | {"attack": "autoattack"}}, subset={}, nrr="pgd20", layout="contiguous"
    )

    def attack(net: nn.Module, batch: Batch) -> torch.Tensor:
        if len(batch.x) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return batch.x

    attack_sequences = {"pgd20": pgd(), "aa": AttackSequence({"apgd": attack}, {}, eps=EPS, label="standard")}
    found = result(attacked(net, data, attack_sequences, how, lambda event: None), data, how, EPS)
    assert found.columns["aa"].batch == 8
    assert "batch" not in found.document()["columns"]["pgd20"]
    assert found.problems == ["aa ran on 8 images at a time, not 16: memory ran out"]
    path = tmp_path / "at-s0-attack.json"
    write(path, RunAttackResult(**vars(found), epoch=1, last=None))
    results = {Run("digits", "small", "at", 0): parse(RunAttackResult, path.read_bytes())}
    assert attacks.problems(results) == [f"digits/small/at-s0: {found.problems[0]}"]
    assert found.problems[0] in attacks.page(results)


@fault
def test_validation_and_corrupted_images_end_in_the_same_numbers(net, capsys) -> None:
    work = task()
    whole = validation(work.nets.student, work.val, work.job.fit, 0)
    assert validation(Narrow(work.nets.student, 3), work.val, work.job.fit, 0) == whole
    assert "validation: memory ran out (CUDA out of memory); again with batches of 2" in capsys.readouterr().err
    split = Split((images(40) * 255).to(torch.uint8), torch.arange(40) % 10)
    assert corrupted.correct(Narrow(net, 7), split, 40) == corrupted.correct(net, split, 40)


@fault
def test_not_even_one_image(net, data) -> None:
    with pytest.raises(
        UserError, match=r"clean images: not even one image fits into the memory \(CUDA out of memory\)"
    ):
        Driver(Narrow(net, 0), data, batch=4, seed=0).run(pgd())


@fault
def test_a_stage_that_runs_out_of_memory_keeps_its_files_and_finished_epochs(tmp_path, monkeypatch) -> None:
    from cure.storage import resume
    from cure.storage.resume import Scratch
    from cure.training.loop import train

    monkeypatch.setattr(resume, "FOLDER", tmp_path)
    every_epoch(monkeypatch.setattr)
    work, kept, met = task(), Scratch("update", "run", {}, []), []
    attack = catalogue.entry("methods", "trades").METHOD.attack

    def hungry(nets, batch, hyper):
        met.append(batch.position.epoch)
        if batch.position.epoch == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return attack(nets, batch, hyper)

    work = with_method(work, attack=hungry)
    advice = r"train\.batch: 8 images .* try train\.batch: 4, .* finished epochs are kept"
    with pytest.raises(UserError, match=advice), fitting("train.batch", work.job.fit.batch):
        train(work, kept, lambda note: None)
    state = kept.load()
    assert state is not None
    assert len(state["kept"]["history"]) == 2


FAULTS = """
import resource, sys, torch
from cure.runtime.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def work():
    for _ in range(20):
        parts = [torch.ones(1 << 20) for _ in range(4)]
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of the GNU C library")
def test_freed_memory_is_kept_also_where_the_environment_says_otherwise() -> None:
    def faults(how: str) -> int:
        environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}  # as Dask sets it
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert faults("kept") < faults("returned") / 10
