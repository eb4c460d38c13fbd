"""Short attacks, and a suite of them."""

import torch
from torch import Tensor, nn

from cure import catalogue
from cure.core.attack import Attack, AttackSequence
from cure.core.method import Batch
from cure.settings.sections import AttackSuite

for _name in catalogue.names("attacks"):  # before any evaluation, since work items carry digests of the loaded code
    catalogue.entry("attacks", _name)

EPS = 0.01
EPS_L2 = 0.05
SHORT = {"version": "standard", "iterations": 12, "queries": 60, "targets": 9}
ASCENT = {"eps": EPS, "step": EPS / 4, "steps": 8, "start": "uniform", "clip_start": True}


def images(n: int) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def sequence(name: str, classes: int = 10, seed: int = 0, **how) -> AttackSequence:
    entry = catalogue.entry("attacks", name)
    return entry.attack_sequence(entry.Hyper(**how), classes, seed)


def autoattack(**changes) -> AttackSequence:
    return sequence("autoattack", eps=EPS, **(SHORT | changes))


def autoattack_l2(**changes) -> AttackSequence:
    entry = catalogue.entry("attacks", "autoattack")
    return entry.l2_attack_sequence(entry.L2Hyper(eps=EPS_L2, **(SHORT | changes)), 10, 0)


def pgd() -> AttackSequence:
    return sequence("pgd", **ASCENT)


def spending(forwards: int, gradients: int) -> Attack:
    """Return an attack with this number of passes that does not change the images."""

    def attack(net: nn.Module, batch: Batch) -> Tensor:
        for k in range(forwards):
            x = batch.x.clone().requires_grad_(k < gradients)
            z = net(x)
            if k < gradients:
                torch.autograd.grad(z.sum(), x)
        return batch.x

    return attack


BRIEF = {"steps": 4, "start": "uniform", "clip_start": True}
COLUMNS = {
    "pgd20": {"attack": "pgd", **BRIEF},
    "cw20": {"attack": "cw", **BRIEF},
    "aa": {"attack": "autoattack", "version": "standard", "iterations": 5, "queries": 20, "targets": 9},
    "min_linf": {"attack": "minimum", "norm": "linf", "steps": 20, "step": 1, "gamma": 0.05, "targets": 1}
    | {"iterations": 5},
    "min_l2": {"attack": "minimum", "norm": "l2", "steps": 20, "step": 1, "gamma": 0.05, "targets": 0}
    | {"iterations": 5},
}


def suite(**changes) -> AttackSuite:
    how = {"images": 40, "batch": 16, "seed": 0, "layout": "contiguous", "subset": {"aa": 10, "min_linf": 20}}
    how |= {"precision": "fp32", "table": ["pgd20"], "nrr": "cw20", "last": [], "columns": COLUMNS, "on_request": {}}
    return AttackSuite(**(how | changes))
