"""The passes of an attack on an image that survives it: counted, and for AutoAttack the published numbers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from cure import catalogue
from cure.adversarial.autoattack_classes import apgd
from cure.core.attack import AttackSequence
from cure.evaluation.attack_columns import attack_sequences
from cure.evaluation.diagnostics.extra_attacks import probes, transfer
from cure.evaluation.standalone.plan import opened, plan, published
from cure.evaluation.survivor import Unbeaten, Work, passes, works
from cure.settings.sections import L2Threat, Masking, Threat
from tests.support.attacks import COLUMNS, sequence, spending, suite

STANDARD = {"eps": 8 / 255, "version": "standard", "iterations": 100, "queries": 5000, "targets": 9}
MINIMUM = {"steps": 7, "step": 1, "gamma": 0.05, "iterations": 5}


def test_the_published_counts_of_autoattack() -> None:
    assert works(sequence("autoattack", **STANDARD), 10) == {
        "apgd-ce": Work(102, 101),
        "apgd-t": Work(919, 909),
        "fab-t": Work(1828, 900),
        "square": Work(5003, 0),
    }


@pytest.mark.parametrize(("n", "targets", "queries"), [(7, 2, 30), (12, 5, 11)])
def test_the_counts_of_a_shorter_autoattack(n, targets, queries) -> None:
    short = {"iterations": n, "targets": targets, "queries": queries}
    assert works(sequence("autoattack", **(STANDARD | short)), 10) == {
        "apgd-ce": Work(n + 2, n + 1),
        "apgd-t": Work(1 + targets * (n + 2), targets * (n + 1)),
        "fab-t": Work(1 + targets * (2 * n + 3), targets * n),
        "square": Work(queries + 3, 0),
    }


@pytest.mark.parametrize(
    ("classes", "targets", "second"), [(2, 1, "apgd-margin"), (3, 2, "apgd-margin"), (30, 20, "apgd-t")]
)
def test_there_are_as_many_classes_as_the_attack_was_made_for(classes, targets, second) -> None:
    found = works(
        sequence("autoattack", classes, **(STANDARD | {"iterations": 4, "queries": 9, "targets": 20})), classes
    )
    assert found["fab-t"] == Work(1 + targets * 11, targets * 4)
    assert found[second] == (Work(6, 5) if second == "apgd-margin" else Work(1 + 20 * 6, 20 * 5))


def test_each_of_the_gradients_that_one_step_averages_is_a_pass() -> None:
    found = works(sequence("autoattack", **(STANDARD | {"version": "rand", "iterations": 3})), 10)
    assert found == {"apgd-ce": Work(81, 80), "apgd-dlr": Work(81, 80)}
    how = {"loss": "dlr", "eps": 0.1, "norm": "linf", "iterations": 5, "seed": 0, "eot": 4}
    four = passes(lambda net, batch: apgd(net, batch.x, batch.y, **how), 10)
    assert four == Work(25, 24)


@pytest.mark.parametrize(("norm", "fast"), [("linf", "fmn"), ("l2", "ddn")])
def test_the_smallest_perturbation_takes_its_steps_and_fab_towards_each_target(norm, fast) -> None:
    found = works(sequence("minimum", norm=norm, targets=2, **MINIMUM), 10)
    assert found == {fast: Work(7, 7), "fab-1": Work(12, 5), "fab-2": Work(12, 5)}


@pytest.mark.parametrize("name", ["pgd", "cw"])
@pytest.mark.parametrize(("steps", "start"), [(1, "zero"), (20, "uniform")])
def test_an_ascent_takes_a_gradient_a_step(name, steps, start) -> None:
    ascent = {"eps": 8 / 255, "step": 2 / 255, "steps": steps, "start": start, "clip_start": True}
    assert works(sequence(name, **ascent), 10) == {name: Work(steps, steps)}


@pytest.mark.parametrize("name", ["pgd20", "pgd100", "far", "unbounded", "path"])
def test_a_probe_of_the_masking_report_takes_its_steps(name) -> None:
    found = probes(Threat(eps=0.1, step=0.025), Masking.model_construct(radius=2))[name]
    steps = 100 if name == "pgd100" else 20
    assert works(found, 10) == {"pgd": Work(steps, steps)}


@pytest.mark.parametrize("name", ["pgd20", "pgd100", "far", "unbounded", "path"])
def test_a_probe_in_l2_takes_its_steps_too(name) -> None:
    found = probes(L2Threat(eps=0.5, step=0.1), Masking.model_construct(radius=2))[name]
    steps = 100 if name == "pgd100" else 20
    assert (found.ball, works(found, 10)) == ("l2", {"pgd": Work(steps, steps)})


def test_autoattack_takes_the_same_passes_in_l2() -> None:
    kind, short = catalogue.entry("attacks", "autoattack"), STANDARD | {"iterations": 6, "queries": 20}
    found = works(kind.l2_attack_sequence(kind.L2Hyper(**short), 10, 0), 10)
    assert found == works(sequence("autoattack", **short), 10)


def test_images_are_counted_and_not_calls() -> None:
    def draws(net: nn.Module, batch) -> torch.Tensor:
        x = batch.x.repeat(5, 1, 1, 1).requires_grad_()
        z = net(x)
        for k in range(2):  # one forward, twice back
            torch.autograd.grad(z[:, k].sum(), x, retain_graph=True)
        return batch.x

    assert passes(draws, 10) == Work(5, 10)
    assert passes(spending(3, 2), 10) == Work(3, 2)
    assert passes(spending(0, 0), 10) == Work(0, 0)


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_no_image_is_misclassified(classes, grey) -> None:
    z = Unbeaten(classes)(torch.full((2, 3, 4, 4), grey))
    assert z.argmax(1).tolist() == [0, 0]
    assert len(set(z[0, 1:].tolist())) == (classes - 1 if grey else 1)


@pytest.mark.parametrize("graded", [True, False])
def test_counting_leaves_the_process_as_it_was(graded) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    before = torch.get_num_threads(), torch.get_default_dtype(), torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.set_grad_enabled(graded):
        assert works(sequence("autoattack", **(STANDARD | {"iterations": 6, "queries": 5})), 10)["square"] == Work(8, 0)
        assert torch.is_grad_enabled() == graded
    assert torch.equal(torch.rand(3), expected)
    assert before == (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def test_equal_facts_are_counted_once() -> None:
    turns = []

    def attack(net: nn.Module, batch) -> torch.Tensor:
        turns.append(net)
        return spending(2, 1)(net, batch)

    one = AttackSequence({"counted": attack}, {"steps": 2})
    assert works(one, 10) == works(replace(one), 10) == {"counted": Work(2, 1)}
    assert len(turns) == 1
    for other in (replace(one, facts={"steps": 3}), replace(one, passes=20)):
        works(other, 10)
    works(one, 11)
    assert len(turns) == 4


def test_facts_name_the_entry_so_that_entries_may_call_their_attacks_alike() -> None:
    found = attack_sequences(suite(), Threat(eps=0.1, step=0.01), 10)
    assert {name: one.facts["attack"] for name, one in found.items()} == {
        name: settings["attack"] for name, settings in COLUMNS.items()
    }


def test_a_surrogate_costs_what_the_network_would() -> None:
    wanted = plan(opened(published(), "cifar10", "resnet18"), ["pgd20"], 10, {})
    sequence = transfer(nn.Sequential(nn.Flatten(), nn.Linear(48, 10)), wanted.threat, torch.rand(1, 3, 4, 4))
    assert wanted.works(sequence) == {"pgd": Work(20, 20)}
