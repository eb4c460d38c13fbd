"""`from cure import training_step`: the pipeline's step, with plain arguments, in a loop of one's own."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from cure import catalogue, training_step
from cure.core.method import Networks
from cure.data.loader import Loader
from cure.errors import UserError
from cure.methods import act, at, cure, generalist, iad, part, rift, trades
from cure.nn.memory_format import FORMATS
from cure.runtime import distributed
from cure.settings.base import Search
from cure.storage import resume as resume_files
from cure.storage.checkpoint import build
from cure.storage.resume import Scratch
from cure.training.loop import Task, train
from cure.training.own_loop import TrainingStep
from cure.training.schedule import rate
from tests.support.method_harness import ROOT, same, shipped, state
from tests.support.training import task

ATTACK = {"eps": 0.1, "step": 0.05, "steps": 2, "start": "gaussian", "sigma": 0.001, "clip_start": False}
TRADES: dict[str, Any] = {"beta": 6, "forward_again": False, "attack": ATTACK}
METHODS = [name for name in catalogue.names("methods") if catalogue.entry("methods", name).METHOD.updates]
EPOCHS = 200


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build("small", {"width": 4}, 1, 3)


def sgd(net: nn.Module, **changes: Any) -> torch.optim.SGD:
    return torch.optim.SGD(net.parameters(), **({"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4} | changes))


def plain(name: str, **changes: Any) -> dict[str, Any]:
    """The published settings of a method as plain arguments, with a short attack."""
    settings: dict[str, Any] = shipped(name, ROOT / "params.yaml", "cifar10", "resnet18").model_dump()
    if "attack" in settings:
        settings["attack"] |= {"steps": 2}
    if "taps" in settings:
        settings["taps"] = ["layer2.bn1"]
    return settings | changes


def batches(n: int = 2, size: int = 8, dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(0)
    x = torch.rand(n, size, 1, 8, 8, generator=draws).to(dtype)
    return [(images, torch.randint(3, (size,), generator=draws)) for images in x]


def epoch_of(step: TrainingStep, epoch: int, loader: list[tuple[Tensor, Tensor]]) -> list[dict[str, Tensor]]:
    step.begin_epoch(epoch, loader)
    return [step(x, y) for x, y in loader]


def step_of(name: str, net: nn.Module, optimizer: torch.optim.Optimizer | None = None, **changes: Any) -> TrainingStep:
    """A method with teachers of its own, by its published settings."""
    entry = catalogue.entry("methods", name)
    teachers = {role: copy.deepcopy(net) for role in entry.METHOD.teachers}
    return training_step(entry, net, optimizer or sgd(net), epochs=EPOCHS, teachers=teachers, **plain(name, **changes))


def moved(net: nn.Module, before: dict[str, Tensor]) -> list[str]:
    return [name for name, weight in net.named_parameters() if not torch.equal(weight, before[name])]


class TestTheSameBits:
    """As the pipeline's own loop: from equal weights, on equal batches, with the noise of the same seed."""

    @staticmethod
    def task_of(name: str) -> tuple[Task, dict[str, Any]]:
        given, entry = task(lr_schedule="drops"), catalogue.entry("methods", name)
        settings = plain(name, attack=ATTACK)
        settings |= {"begin": 2} if "begin" in settings else {}
        student, hyper = small(), entry.Hyper(**settings)
        if entry.METHOD.prepare:
            entry.METHOD.prepare(student, hyper)
        companions = entry.METHOD.companions(hyper) if entry.METHOD.companions else {}
        job = dataclasses.replace(given.job, method=entry.METHOD, hyper=hyper)
        return dataclasses.replace(given, job=job, nets=Networks(student, companions, {})), settings

    @pytest.mark.parametrize("name", ["trades", "cure", "act", "cure_eff", "generalist", "ikl_at", "arat", "las_at"])
    def test_every_network_ends_as_in_the_pipeline(self, name: str, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(resume_files, "FOLDER", tmp_path)
        work, settings = self.task_of(name)
        fit, seed = work.job.fit, work.job.run.seed
        train(work, Scratch("update", "run", {}, []), lambda note: None)

        net = small()
        optimizer = sgd(net)
        step = training_step(catalogue.entry("methods", name), net, optimizer, epochs=fit.epochs, seed=seed, **settings)
        step.nets.to(memory_format=FORMATS["channels_last"])  # the pipeline's run
        loader = Loader(work.train, fit.batch, work.job.augment, seed)
        for epoch in range(1, fit.epochs + 1):
            for group in optimizer.param_groups:
                group["lr"] = rate(fit, epoch)
            epoch_of(step, epoch, [(x, y) for x, y, _ in loader.epoch(epoch)])
        assert same(state(step.nets), state(work.nets))


class TestEveryMethod:
    @pytest.mark.parametrize("name", METHODS)
    def test_it_takes_steps_by_the_published_settings_as_plain_arguments(self, name: str) -> None:
        net, loader = small(), batches()
        step = step_of(name, net)
        before = state(net)
        for epoch in (1, EPOCHS):
            for terms in epoch_of(step, epoch, loader):
                assert all(torch.isfinite(mean) and not mean.requires_grad for mean in terms.values())
        assert len(moved(net, before)) == len(list(net.parameters()))
        assert step.evaluated is step.nets[catalogue.entry("methods", name).METHOD.evaluated]

    @pytest.mark.parametrize("name", METHODS)
    def test_any_network_will_do_but_for_methods_that_read_parts(self, name: str, make_net) -> None:
        net = make_net()  # an nn.Module in double precision
        changes = {"taps": ["bn2"]} if name == "arat" else {}
        if catalogue.entry("methods", name).METHOD.reads_parts:
            with pytest.raises(UserError, match=f"^net is a Tiny, but {name} reads parts of its networks by name"):
                step_of(name, net)
            return
        step = step_of(name, net, **changes)
        before = state(net)
        for terms in epoch_of(step, EPOCHS, batches(dtype=torch.float64)):
            assert all(torch.isfinite(mean) for mean in terms.values())
        assert moved(net, before)

    def test_no_setting_has_the_name_of_an_argument(self) -> None:
        fields = {name: set(catalogue.hyper("methods", name).model_fields) for name in METHODS}
        assert {name for name, own in fields.items() if own & {"epochs", "teachers", "seed"}} == set()

    def test_a_method_of_ones_own_will_do(self) -> None:
        own = dataclasses.replace(trades.METHOD, cite="of my own")
        net = small()
        assert set(epoch_of(training_step(own, net, sgd(net), epochs=1, **TRADES), 1, batches())[0]) == {
            "natural",
            "robust",
        }

    def test_an_attack_may_be_a_search(self) -> None:
        nets = [small(), small()]
        for net, attack in zip(nets, (ATTACK, Search(**ATTACK)), strict=True):
            epoch_of(training_step(trades, net, sgd(net), epochs=1, **(TRADES | {"attack": attack})), 1, batches())
        assert same(*map(state, nets))


class TestOptimizer:
    @pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop])
    def test_any_optimizer_will_do(self, kind) -> None:
        net = small()
        before = state(net)
        step = step_of("act", net, kind(net.parameters(), lr=1e-3))
        peer = state(step.nets.natural_peer)
        epoch_of(step, 1, batches())
        assert moved(net, before)
        assert moved(step.nets.natural_peer, peer)

    def test_a_trained_companion_has_a_group_by_the_first_ones_settings(self) -> None:
        net = small()
        optimizer = sgd(net, lr=0.03, nesterov=True)
        step = step_of("act", net, optimizer)
        first, added = optimizer.param_groups
        assert {key: value for key, value in first.items() if key != "params"} == {
            key: value for key, value in added.items() if key != "params"
        }
        assert [*map(id, added["params"])] == [*map(id, step.nets.natural_peer.parameters())]

    def test_a_companion_keeps_a_weight_decay_of_its_own(self) -> None:
        net = small()
        optimizer = sgd(net)
        step_of("generalist", net, optimizer, natural_weight_decay=0.125)
        assert [group["weight_decay"] for group in optimizer.param_groups] == [5e-4, 0.125]

    def test_weights_that_the_caller_leaves_out_stay(self) -> None:
        net = small()
        before = state(net)
        epoch_of(step_of("trades", net, torch.optim.SGD(net.linear.parameters(), lr=0.1)), 1, batches())
        assert moved(net, before) == ["linear.weight", "linear.bias"]

    def test_a_second_try_trains_what_the_method_adds_to_the_network(self) -> None:
        net = small()
        optimizer = sgd(net)
        with pytest.raises(UserError, match="taps: layer9"):
            step_of("arat", net, optimizer, taps=["layer9.bn1"])
        step = step_of("arat", net, optimizer)
        held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        assert {id(weight) for weight in step.nets.weights().values()} <= held

    def test_a_step_has_the_learning_rate_of_the_optimizer(self) -> None:
        rates = []

        def after_step(nets, batch, hyper) -> None:
            rates.append(batch.position.lr)

        net = small()
        optimizer = sgd(net)
        step = training_step(
            dataclasses.replace(trades.METHOD, after_step=after_step), net, optimizer, epochs=1, **TRADES
        )
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        step.begin_epoch(1, loader := batches())
        for x, y in loader:
            step(x, y)
            schedule.step()
        assert rates == [0.05, 0.025]


class TestCourse:
    def test_means_are_those_of_the_images_of_an_epoch(self) -> None:
        net, loader = small(), [*batches(), *batches(1, 4)]
        step = training_step(trades, net, sgd(net), epochs=2, **TRADES)
        assert step.means() == {}
        terms = epoch_of(step, 1, loader)
        wanted = sum(float(mean["robust"]) * len(y) for mean, (_, y) in zip(terms, loader, strict=True)) / 20
        assert step.means()["robust"] == pytest.approx(wanted)
        step.begin_epoch(2, loader)
        assert step.means() == {}

    @pytest.mark.parametrize("name", ["cure", "act", "arat", "generalist", "ikl_at", "las_at"])
    def test_a_resumed_loop_ends_in_the_same_bits(self, name: str, tmp_path: Path) -> None:
        def begun() -> tuple[nn.Module, torch.optim.Optimizer, TrainingStep]:
            net = small()
            optimizer = sgd(net)
            return net, optimizer, step_of(name, net, optimizer)

        loader, parts = batches(), begun()
        for epoch in (1, 2):
            epoch_of(parts[-1], epoch, loader)
        torch.save([one.state_dict() for one in parts], tmp_path / "at2.pt")
        torch.manual_seed(7)
        resumed = begun()
        for one, own in zip(resumed, torch.load(tmp_path / "at2.pt", weights_only=True), strict=True):
            one.load_state_dict(own)
        for three in (parts, resumed):
            epoch_of(three[-1], 3, loader)
        assert same(state(resumed[-1].nets), state(parts[-1].nets))

    def test_a_pass_ahead_of_an_epoch_takes_the_batches_that_it_asks_for(self) -> None:
        drawn = []

        class Counting(list):
            def __iter__(self):
                for item in super().__iter__():
                    drawn.append(len(item[1]))
                    yield item

        step = step_of("arat", small(), balance_images=10)
        step.begin_epoch(1, Counting(batches(4)))
        assert drawn == [8, 8]
        step = step_of("trades", small())
        step.begin_epoch(1, Counting(batches(4)))
        assert drawn == [8, 8]

    def test_steps_are_told_what_the_pass_ahead_found(self) -> None:
        found = []

        def before_epoch(nets, epoch, drawn, hyper) -> dict[str, Any]:
            return {"images": sum(len(batch.x) for batch in drawn), "epoch": epoch}

        def after_step(nets, batch, hyper) -> None:
            found.append(batch.position.found)

        net = small()
        looking = dataclasses.replace(trades.METHOD, before_epoch=before_epoch, after_step=after_step)
        epoch_of(training_step(looking, net, sgd(net), epochs=4, **TRADES), 3, batches())
        assert found == [{"images": 16, "epoch": 3}] * 2

    def test_the_seed_and_the_epoch_decide_the_noise(self) -> None:
        def first(seed: int, epoch: int) -> Tensor:
            net = small()
            step = training_step(trades, net, sgd(net), epochs=2, seed=seed, **TRADES)
            return epoch_of(step, epoch, batches(1))[0]["robust"]

        found = [first(0, 1), first(0, 1), first(1, 1), first(0, 2)]
        assert torch.equal(found[0], found[1])
        assert len({float(value) for value in found}) == 3

    def test_modes_are_set_by_each_epoch(self) -> None:
        net, teacher = small(), small(1).train()
        step = training_step(
            catalogue.entry("methods", "ard"), net, sgd(net), epochs=1, teachers={"teacher": teacher}, **plain("ard")
        )
        net.eval()
        step.begin_epoch(1, batches())
        assert (net.training, teacher.training) == (True, False)
        assert not any(weight.requires_grad for weight in teacher.parameters())


@pytest.mark.reliability("wrong inputs")
class TestRefused:
    @pytest.fixture(autouse=True)
    def _as_for_users_without_a_type_checker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"bata": 6}, "bata: unknown key, did you mean beta?"),
            ({"beta": -1}, "beta: Input should be greater than or equal to 0; found -1"),
            ({"beta": "six"}, "beta: not a number or a fraction such as 8/255; found 'six'"),
            ({"attack": ATTACK | {"eps": 8}}, "attack.eps: Input should be less than or equal to 1; found 8"),
            ({"attack": ATTACK | {"sigma": None}}, "attack: start is gaussian, but sigma is not given"),
            ({"attack": {**ATTACK, "radius": 1}}, "attack.radius: unknown key"),
        ],
    )
    def test_a_wrong_setting_is_named(self, changes: dict[str, Any], message: str) -> None:
        net = small()
        with pytest.raises(UserError) as refused:
            training_step(trades, net, sgd(net), epochs=1, **(TRADES | changes))
        assert str(refused.value).startswith(f"trades has wrong arguments:\n  {message}")

    def test_all_missing_settings_are_named(self) -> None:
        net = small()
        settings = plain("cure")
        for name in ("alpha", "r"):
            del settings[name]
        with pytest.raises(UserError, match=r"^cure has wrong arguments:\n  r: missing\n  alpha: missing$"):
            training_step(cure, net, sgd(net), epochs=1, **settings)

    def test_a_method_that_would_begin_after_the_end_is_refused(self) -> None:
        net = small()
        with pytest.raises(UserError, match="begin: 9, but epochs is 8"):
            training_step(generalist, net, sgd(net), epochs=8, **plain("generalist", begin=9))

    @pytest.mark.parametrize(
        ("method", "message"),
        [
            ("trades", "method is 'trades'; a module such as"),
            (rift, "rift has no training step: it changes a trained network, in the stage revise of a pipeline"),
        ],
    )
    def test_a_method_without_a_step_is_refused(self, method: Any, message: str) -> None:
        net = small()
        with pytest.raises(UserError, match=message):
            training_step(method, net, sgd(net), epochs=1)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"epochs": 0}, "epochs is 0; a whole number from 1"),
            ({"seed": 0.5}, "seed is 0.5; a whole number from 0"),
            ({"teachers": {"natural": small()}}, "teachers: natural, but trades needs: none"),
        ],
    )
    def test_other_arguments_are_checked(self, given: dict[str, Any], message: str) -> None:
        net = small()
        with pytest.raises(UserError, match=message):
            training_step(trades, net, sgd(net), **({"epochs": 1} | TRADES | given))

    def test_teachers_are_other_networks(self) -> None:
        net = small()
        with pytest.raises(UserError, match="teachers: none, but iad needs: natural, teacher; pass them as"):
            training_step(iad, net, sgd(net), epochs=EPOCHS, **plain("iad"))
        given: dict[str, Any] = {"natural": small(), "teacher": net}
        with pytest.raises(UserError, match="teachers: teacher is net itself, which would be frozen"):
            training_step(iad, net, sgd(net), epochs=EPOCHS, teachers=given, **plain("iad"))
        given = {"natural": "natural.pt", "teacher": small()}
        with pytest.raises(UserError, match=r"teachers: natural is a str; a torch\.nn\.Module with weights is needed"):
            training_step(iad, net, sgd(net), epochs=EPOCHS, teachers=given, **plain("iad"))

    def test_a_function_is_not_a_network(self) -> None:
        with pytest.raises(UserError, match=r"net is a function; a torch\.nn\.Module with weights is needed"):
            training_step(trades, lambda x: x, sgd(small()), epochs=1, **TRADES)

    def test_a_network_without_parts_is_refused_where_parts_are_read(self, make_net) -> None:
        net = make_net()
        with pytest.raises(UserError, match=r"pass a cure\.core\.network\.Network, such as those of cure/models"):
            training_step(part, net, sgd(net), epochs=EPOCHS, **plain("part"))

    @pytest.mark.parametrize("kind", [sgd, nn.Module.parameters])
    def test_an_optimizer_of_other_weights_is_refused(self, kind) -> None:
        with pytest.raises(UserError, match="optimizer: holds no weight of net"):
            training_step(trades, small(), kind(small(1)), epochs=1, **TRADES)

    @pytest.mark.parametrize("scheduled", [True, False])
    def test_an_optimizer_whose_step_needs_a_closure_is_refused(self, scheduled: bool) -> None:
        net = small()
        optimizer = torch.optim.LBFGS(net.parameters())
        if scheduled:  # which wraps the optimiser's step
            torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        with pytest.raises(
            UserError, match="optimizer: LBFGS needs a closure; use an optimiser without one, such as SGD"
        ):
            training_step(trades, net, optimizer, epochs=1, **TRADES)

    def test_several_processes_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(distributed, "count", lambda: 4)
        net = small()
        with pytest.raises(UserError, match="training_step: 4 processes; it takes one"):
            training_step(trades, net, sgd(net), epochs=1, **TRADES)

    def test_a_scheduler_comes_after_what_the_method_adds(self) -> None:
        net = small()
        optimizer = sgd(net)
        torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        training_step(at, net, optimizer, epochs=1, **plain("at"))
        with pytest.raises(UserError, match="optimizer: has a scheduler already, but the method adds weights"):
            training_step(act, net, optimizer, epochs=1, **plain("act"))

    def test_an_epoch_has_to_begin(self) -> None:
        net, loader = small(), batches()
        step = training_step(trades, net, sgd(net), epochs=1, **TRADES)
        with pytest.raises(UserError, match="no epoch has begun"):
            step(*loader[0])
        epoch_of(step, 1, loader)
        with pytest.raises(UserError, match="epoch 1 had its 2 batches"):
            step(*loader[0])
        with pytest.raises(UserError, match=r"epoch is 2; a whole number from 1 to 1 \(`epochs`\)"):
            step.begin_epoch(2, loader)
        with pytest.raises(UserError, match="loader: has no length"):
            step.begin_epoch(1, iter(loader))
        with pytest.raises(UserError, match="loader: has no batch"):
            step.begin_epoch(1, [])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x, y: ((x - 0.5) / 0.25, y), "x has values from -.*normalise inside the network"),
            (lambda x, y: (x * float("nan"), y), "x has values from nan to nan"),
            (lambda x, y: ((255 * x).to(torch.uint8), y), r"x is torch\.uint8 of shape \(8, 1, 8, 8\)"),
            (lambda x, y: (x.flatten(1), y), r"x is torch\.float32 of shape \(8, 64\)"),
            (lambda x, y: (x, y.float()), r"y is torch\.float32 of shape \(8,\); \(8\) class numbers"),
            (lambda x, y: (x, y[1:]), r"y is torch\.int64 of shape \(7,\)"),
        ],
    )
    def test_the_first_batch_of_an_epoch_is_checked(self, change, message: str) -> None:
        net, loader = small(), batches()
        step = training_step(trades, net, sgd(net), epochs=1, **TRADES)
        step.begin_epoch(1, loader)
        with pytest.raises(UserError, match=message):
            step(*change(*loader[0]))

    def test_the_state_of_another_method_is_refused(self) -> None:
        with pytest.raises(UserError, match="its companions are none, not natural_peer"):
            step_of("act", small()).load_state_dict(step_of("trades", small()).state_dict())
