import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from cure.adversarial import pgd as pgd_module
from cure.core.method import Batch, Companion, Networks
from cure.core.noise import Stream, seed_for
from cure.data.loader import Loader, as_float
from cure.errors import UserError
from cure.nn.averaging import numbers
from cure.nn.batchnorm import reestimating
from cure.nn.folding import folded_copy
from cure.nn.folding.folded_copy import current_folded_copy
from cure.runtime import device
from cure.storage import resume as resume_files
from cure.storage.resume import Scratch
from cure.training import loop
from cure.training.kept import TrainingCheckpoint
from cure.training.loop import Task, train
from cure.training.schedule import rate, rate_and_momentum
from cure.training.validation import validation
from tests.support.saving import every_epoch
from tests.support.training import RUN, task, with_method, with_run_settings


@pytest.fixture
def resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    monkeypatch.setattr(resume_files, "FOLDER", tmp_path)
    every_epoch(monkeypatch.setattr)
    return Scratch("update", "run", {}, [])


def quiet(note: str) -> None:
    pass


def states(work: Task) -> dict[str, torch.Tensor]:
    return {key: t.clone() for key, t in work.nets.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


def test_history_has_one_line_per_epoch_with_the_rate_of_the_schedule(resume: Scratch) -> None:
    kept = train(task(), resume, quiet)
    assert [row["epoch"] for row in kept.history] == [1, 2, 3, 4]
    assert [round(row["lr"], 9) for row in kept.history] == [0.05, 0.05, 0.005, 0.005]
    assert all({"natural", "robust", "val_clean", "val_pgd"} <= set(row) for row in kept.history)


def test_best_is_the_first_epoch_of_the_highest_validation_pgd(resume: Scratch) -> None:
    kept = train(task(), resume, quiet)
    scores = [row["val_pgd"] for row in kept.history]
    assert kept.best.epoch == 1 + scores.index(max(scores))


def test_only_every_nth_epoch_and_the_last_are_validated(resume: Scratch) -> None:
    kept = train(task(validate_every=3), resume, quiet)
    assert [row["epoch"] for row in kept.history if "val_pgd" in row] == [3, 4]


@pytest.mark.parametrize("average", [None, 0.9, {"begin": 2, "every": 4}, {"begin": 2, "decay": 0.9}])
@pytest.mark.parametrize("epoch", [1, 3])
def test_interrupted_and_resumed_it_ends_in_the_same_bits(
    resume: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, average: Any
) -> None:
    whole, cut, again = (task(average=average, snapshots=[0, 0.5]) for _ in range(3))
    expected = train(whole, Scratch("update", "another run", {}, []), quiet)
    ticks = iter(range(1, 5))

    def stop(note: str) -> None:
        if next(ticks) == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cut, resume, stop)
    seen: list[str] = []
    found: TrainingCheckpoint = train(again, resume, seen.append)
    assert [note == "resumed" for note in seen] == [True] * epoch + [False] * (4 - epoch)
    assert found.history == expected.history
    assert same(found.best.weights, expected.best.weights)
    assert same(found.average.weights, expected.average.weights)
    assert same(states(again), states(whole))
    assert list(found.snapshots) == list(expected.snapshots) == ["0/student", "0.5/student"]
    assert all(same(found.snapshots[key], expected.snapshots[key]) for key in found.snapshots)


def test_snapshots_are_the_networks_as_they_were(resume: Scratch) -> None:
    start, half = states(task()), task(epochs=2)
    train(half, Scratch("update", "another run", {}, []), quiet)
    kept = train(task(snapshots=[0, 0.5]), resume, quiet)
    for name, expected in (("0/student", start), ("0.5/student", states(half))):
        assert same(kept.snapshots[name], {key.removeprefix("student."): t for key, t in expected.items()})


def test_snapshots_change_no_bit_of_the_training(resume: Scratch) -> None:
    with_them, without = task(snapshots=[0, 0.25, 0.75]), task()
    train(with_them, resume, quiet)
    train(without, Scratch("update", "another run", {}, []), quiet)
    assert same(states(with_them), states(without))


def test_an_average_trails_the_student(resume: Scratch) -> None:
    work = task(average=0.9)
    train(work, resume, quiet)
    student, average = work.nets["student"], work.nets["average"]
    assert not any(torch.equal(a, s) for a, s in zip(average.parameters(), student.parameters(), strict=True))


def test_an_average_is_validated_and_its_best_epoch_is_kept_beside_the_last(resume: Scratch) -> None:
    work = task(average=0.9)
    kept = train(work, resume, quiet)
    scores = [row["val_average_pgd"] for row in kept.history]
    assert kept.average.epoch == 1 + scores.index(max(scores))
    average = work.nets["average"]
    for weights, epoch in ((average.state_dict(), 4), (kept.average.weights, kept.average.epoch)):
        average.load_state_dict(weights)
        found = validation(average, work.val, work.job.fit, work.job.run.seed)
        assert found == {name: kept.history[epoch - 1][f"val_average_{name}"] for name in found}


def test_an_average_has_statistics_of_its_own_on_images_attacked_through_it(resume: Scratch) -> None:
    """Those of the last epoch, collected by hand: two of three batches, 16 of 20 images."""
    work = task(average=0.5, validate_every=4)
    train(work, resume, quiet)
    fit, average = work.job.fit, work.nets["average"]
    expected, attacked = copy.deepcopy(average), copy.deepcopy(average)
    for mine, first in zip(attacked.buffers(), task().nets["student"].buffers(), strict=True):
        mine.copy_(first)  # before the first estimate they are the student's at the start
    batches = list(Loader(work.train, fit.batch, work.job.augment, 0).epoch(4, "statistics"))[:2]
    noise = Stream(seed_for(0, 4, "noise of statistics"), work.device)
    with reestimating(expected):
        for x, y, index in batches:
            batch = Batch(x, y, index, noise)
            points = work.job.method.attack(Networks(attacked, {}, {}), batch, work.job.hyper)
            with torch.no_grad():
                expected(points["adv"])
    assert same(dict(average.state_dict()), dict(expected.state_dict()))


def test_an_average_leaves_the_training_as_it_is(resume: Scratch) -> None:
    with_it, without = task(average=0.9), task()
    train(with_it, resume, quiet)
    train(without, Scratch("update", "another run", {}, []), quiet)
    assert same(dict(with_it.nets["student"].state_dict()), dict(without.nets["student"].state_dict()))


def test_an_average_with_no_memory_is_the_student(resume: Scratch) -> None:
    work = task(average=0.0, validate_every=4)
    train(work, resume, quiet)
    assert all(map(torch.equal, work.nets["average"].parameters(), work.nets["student"].parameters()))


def test_a_snapshot_is_first_validated_when_there_is_one(resume: Scratch) -> None:
    kept = train(task(average={"begin": 3, "every": 3}), resume, quiet)
    assert [row["epoch"] for row in kept.history if "val_average_pgd" in row] == [3, 4]


def spoilt(work: Task, spoil: Any) -> Task:
    """The same training, but something happens to the student after the last step of every epoch from the second on."""
    after = work.job.method.after_step

    def after_step(nets: Networks, batch: Any, hyper: Any) -> None:
        if after is not None:
            after(nets, batch, hyper)
        now = batch.position
        if now.epoch >= 2 and (now.step + 1) % now.steps_per_epoch == 0:
            with torch.no_grad():
                spoil(nets.student)

    return with_method(work, after_step=after_step)


def test_weights_that_are_not_finite_behind_a_finite_loss_are_refused(resume: Scratch) -> None:
    work = spoilt(task(), lambda net: net.linear.weight.mul_(float("inf")))
    with pytest.raises(
        UserError, match=r"^epoch 2: student\.linear\.weight is not finite; a rerun would fail here again"
    ):
        train(work, resume, quiet)
    state = resume.load()
    assert state is not None
    assert len(state["kept"]["history"]) == 1


def test_logits_that_overflow_in_validation_are_refused(resume: Scratch) -> None:
    work = spoilt(task(), lambda net: [net.linear.bias.fill_(3e38), net.linear.weight.fill_(3e38)])
    with pytest.raises(UserError, match="the network's logits are not finite on some images"):
        train(work, resume, quiet)


@pytest.mark.parametrize(("pgd", "times"), [(0.75, 1), (0.5, 0)])
def test_a_pgd_that_changes_nothing_is_said_once(
    resume: Scratch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pgd: float, times: int
) -> None:
    monkeypatch.setattr(loop, "validation", lambda *_: {"clean": 0.75, "pgd": pgd})
    train(task(), resume, quiet)
    said = capsys.readouterr().err
    assert said == "epoch 1: PGD changed no prediction, so gradients may be zero\n" * times


def test_a_network_that_names_one_class_is_not_suspected(resume: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    work = task(lr=1e-9)
    with torch.no_grad():
        work.nets["student"].linear.bias[work.val.labels.mode().values] += 99
    kept = train(work, resume, quiet)
    assert all(row["val_pgd"] == row["val_clean"] > 0 for row in kept.history)
    assert capsys.readouterr().err == ""


def test_snapshots_are_averaged_equally(resume: Scratch) -> None:
    taken: list[list[torch.Tensor]] = []
    work = task(average={"begin": 2, "every": 2}, validate_every=4)

    def keep(nets: Networks, batch: Any, hyper: Any) -> None:
        now = batch.position
        if now.epoch >= 2 and (now.step + 3) % 2 == 0:  # an epoch has three steps, counted from its number
            taken.append([w.detach().clone() for w in nets["student"].parameters()])

    work = with_method(work, after_step=keep)
    train(work, resume, quiet)
    assert len(taken) == 5
    for found, weights in zip(work.nets["average"].parameters(), zip(*taken, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(weights).mean(dim=0))


def test_ends_of_epochs_are_averaged_with_a_decay(resume: Scratch) -> None:
    ends: list[list[torch.Tensor]] = []
    work = task(average={"begin": 2, "decay": 0.75}, validate_every=4)

    def keep(nets: Networks, batch: Any, hyper: Any) -> None:
        if batch.position.step % 3 == 2:
            ends.append([w.detach().clone() for w in nets["student"].parameters()])

    train(with_method(work, after_step=keep), resume, quiet)
    assert len(ends) == 4
    for found, *weights in zip(work.nets["average"].parameters(), *ends[1:], strict=True):
        expected = weights[0] * 0.75**2 + weights[1] * 0.25 * 0.75 + weights[2] * 0.25
        torch.testing.assert_close(found, expected)


def test_one_cycle_reaches_every_step_and_the_history_has_each_epochs_first(
    resume: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycle = {"rise": 0.5, "first": 0.1, "last": 0.01, "low_momentum": 0.5, "high_momentum": 0.9}
    work, seen, groups = task(drops={}, lr_schedule=cycle), [], []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            groups.append((self.param_groups[0]["lr"], self.param_groups[0]["momentum"]))
            super().step(closure)

    def see(nets: Networks, batch: Any, hyper: Any) -> None:
        seen.append(batch.position.lr)

    monkeypatch.setattr(torch.optim, "SGD", Watched)
    fit = work.job.fit
    kept = train(with_method(work, after_step=see), resume, quiet)
    places = [(epoch, step, 3) for epoch in (1, 2, 3, 4) for step in (0, 1, 2)]
    assert seen == [rate(fit, *place) for place in places]
    assert groups == [rate_and_momentum(fit, *place) for place in places]
    assert len(set(seen)) == 12
    assert [row["lr"] for row in kept.history] == seen[::3]


def test_a_method_is_watched_by_the_network_that_it_names(resume: Scratch) -> None:
    @torch.no_grad()
    def copied(nets: Networks, batch: Any, hyper: Any) -> None:
        torch._foreach_copy_(numbers(nets["copy"]), numbers(nets["student"]))

    work = task(average=0.5)
    nets = Networks(work.nets.student, {"copy": Companion(copy.deepcopy)}, {})
    work = dataclasses.replace(with_method(work, evaluated="copy", after_step=copied), nets=nets)
    kept, plain = train(work, resume, quiet), task(average=0.5)
    expected = train(plain, Scratch("update", "another run", {}, []), quiet)
    assert work.evaluated is nets["copy"]
    for found, wanted in ((kept.best, expected.best), (kept.average, expected.average)):
        assert (found.epoch, found.score) == (wanted.epoch, wanted.score)
        weights = {k: t for k, t in found.weights.items() if "num_batches" not in k}
        assert all(torch.equal(t, wanted.weights[k]) for k, t in weights.items())
    assert not any(t.any() for k, t in kept.best.weights.items() if "num_batches" in k)  # the student's count


def test_scores_are_those_of_the_network_that_the_method_names(resume: Scratch, monkeypatch) -> None:
    work, seen = task(), []
    nets = Networks(work.nets.student, {"copy": Companion(copy.deepcopy)}, {})
    monkeypatch.setattr(loop, "validation", lambda net, *how: seen.append(net) or validation(net, *how))
    train(dataclasses.replace(with_method(work, evaluated="copy"), nets=nets), resume, quiet)
    assert [net is nets["copy"] for net in seen] == [True] * 4


@pytest.mark.parametrize("average", [{"begin": 2, "every": 100}, {"begin": 4, "every": 8}])
def test_an_average_without_a_snapshot_is_refused_before_training(resume: Scratch, average: Any) -> None:
    work = task(average=average)
    before = states(work)
    with pytest.raises(UserError, match=r"train\.average: none of the 12 steps is averaged"):
        train(work, resume, quiet)
    assert same(states(work), before)


def watched(seen: list[Any]) -> Task:
    """Training whose method looks at two batches before each epoch and tells every step what it saw."""
    work = task()

    def before(nets: Networks, epoch: int, batches: Any, hyper: Any) -> dict[str, Any]:
        looked = [next(batches) for _ in range(2)]
        seen.append(("before", epoch, torch.cat([batch.index for batch in looked]).tolist()))
        return {"number": epoch}

    def after(nets: Networks, batch: Any, hyper: Any) -> None:
        seen.append(("step", batch.position.epoch, batch.index.tolist(), batch.position.found))

    return with_method(work, before_epoch=before, after_step=after)


def test_a_method_may_look_at_another_pass_before_each_epoch(resume: Scratch) -> None:
    seen: list[Any] = []
    work, plain = watched(seen), task()
    train(work, resume, quiet)
    assert [(kind, epoch) for kind, epoch, *_ in seen[:5]] == [("before", 1), *[("step", 1)] * 3, ("before", 2)]
    assert all(entry[3] == {"number": entry[1]} for entry in seen if entry[0] == "step")
    looks = [entry[2] for entry in seen if entry[0] == "before"]
    assert len({tuple(index) for index in looks}) == 4  # drawn anew for each epoch
    assert looks[0] != seen[1][2] + seen[2][2]  # and apart from the epoch's own
    train(plain, Scratch("update", "another run", {}, []), quiet)
    assert same(states(work), states(plain))  # the look itself changes no draw


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_networks_are_trained_and_attacked_in_the_layout_of_the_run(resume: Scratch, monkeypatch, layout: str) -> None:
    seen: list[bool] = []

    def spied(net: torch.nn.Module, x: torch.Tensor) -> torch.nn.Module:
        found = current_folded_copy(net, x)
        seen.append(found.layer1.conv1.weight.is_contiguous(memory_format=torch.channels_last))
        return found

    monkeypatch.setattr(pgd_module, "current_folded_copy", spied)
    work = with_run_settings(task(epochs=1), layout=layout)
    train(work, resume, quiet)
    weight = work.nets.student.layer1.conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) is (layout == "channels_last")
    assert set(seen) == {layout == "channels_last"}
    assert len(seen) == 3 + 2  # batches of training, and of validation


def test_a_run_that_goes_on_keeps_the_layout_that_was_probed(resume: Scratch, monkeypatch) -> None:
    choices = iter(["channels_last", "contiguous"])
    monkeypatch.setattr(loop, "chosen_layout", lambda *_: next(choices))
    found = []
    for epochs in (2, 4):
        work = task(epochs=epochs)
        train(work, resume, quiet)
        found.append(work.nets.student.layer1.conv1.weight.is_contiguous(memory_format=torch.channels_last))
    assert found == [True, True]


@pytest.mark.filterwarnings("ignore:Dynamo does not know")  # the type checks of the tests
def test_compiled_attacks_train_the_same_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume_files, "FOLDER", tmp_path)
    monkeypatch.setattr(folded_copy, "COMPILER", "eager")  # traced and guarded, in the kernels of always
    plain, compiled = task(), with_run_settings(task(), compile=True)
    history = [
        train(work, Scratch("update", name, {}, []), quiet).history
        for name, work in (("plain", plain), ("compiled", compiled))
    ]
    assert history[0] == history[1]
    assert same(states(plain), states(compiled))
    x = as_float(compiled.val.images)
    assert current_folded_copy(compiled.nets.student, x)._compiled_call_impl is not None


def test_compilation_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"run.compile: .* install it or set the key to false"):
        device.set_up(RUN.model_copy(update={"compile": True}))
