"""Run one training step of a method, set up as the training engine does."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cure import catalogue
from cure.core.method import Batch, Method, Networks
from cure.settings.params import Params, update_key
from cure.training.step import Step
from tests.support.project import ROOT
from tests.support.settings import parsed

QUICKSTART = ROOT / "quickstart" / "params.yaml"


def shipped(name: str, file: Path = QUICKSTART, dataset: str = "digits", model: str = "small") -> Any:
    """Return the settings of a method, as its stage reads them from a committed params.yaml."""
    method: Method = catalogue.entry("methods", name).METHOD
    key = update_key(name, method)
    declared = [*method.hyper.top_level, "train", "threat", key]
    hyper, _ = Params(parsed(file), declared, dataset, model).method(key, method.hyper)
    return hyper


class MethodHarness:
    """A student with its companions and teachers, one optimiser and the one step; `seen` holds the values shown."""

    def __init__(
        self,
        method: Method,
        hyper: Any,
        student: nn.Module,
        *,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
    ) -> None:
        if method.prepare:
            method.prepare(student, hyper)
        companions = method.companions(hyper) if method.companions else {}
        teachers = {role: copy.deepcopy(student) for role in method.teachers}
        self.nets = Networks(student, companions, teachers)
        self.nets.ready()
        weights = self.nets.weights().values()
        self.optimizer = torch.optim.SGD(weights, lr=lr, momentum=momentum, weight_decay=weight_decay)
        self.take = Step(self.nets, method, hyper, self.optimizer)
        self.seen: dict[str, Any] = {}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        batch.watch = self.seen.__setitem__
        return self.take(batch)

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradients that the last step gave to the optimiser."""
        return {name: weight.grad.clone() for name, weight in self.nets.weights().items() if weight.grad is not None}


def state(module: nn.Module) -> dict[str, Tensor]:
    """Copy every parameter and buffer."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def parameters(module: nn.Module) -> dict[str, Tensor]:
    """Copy every parameter."""
    return {name: tensor.detach().clone() for name, tensor in module.named_parameters()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Return whether names and bits are equal."""
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def differentiate(value: Tensor, net: nn.Module) -> dict[str, Tensor]:
    """Return d value / d w for every parameter of `net`; keep the graph."""
    names, weights = zip(*net.named_parameters(), strict=True)
    found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
    return {n: torch.zeros_like(w) if g is None else g for n, w, g in zip(names, weights, found, strict=True)}


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert list(found) == list(wanted)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], msg=lambda text, name=name: f"{name}: {text}")
