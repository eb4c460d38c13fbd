"""Measure the effect of bfloat16: robust flags of attacks, and the distance of a training step from the full one."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from cure import catalogue
from cure.adversarial.pgd import ObjectiveOf, pgd
from cure.core.method import Batch, Method, Networks
from cure.core.noise import PerImage
from cure.evaluation.driver import Driver
from cure.evaluation.measure import frozen
from cure.evaluation.work_items import Examples
from cure.nn.bfloat16 import BFloat16
from cure.nn.folding.folded_copy import folded_copy
from cure.settings.base import Precision, Search
from cure.settings.sections import Schedule
from cure.training.schedule import sgd
from cure.training.step import Step


def flags(
    net: nn.Module, x: Tensor, y: Tensor, search: Search, objective: ObjectiveOf, *, half: bool, seed: int
) -> Tensor:
    """Return the images that are correct, in full precision, after an attack in full or half precision."""
    index = torch.arange(len(y))
    with frozen(net):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half, cache_enabled=False):
            x_adv = pgd(net, Batch(x, y, index, PerImage(seed, index)), search, objective)
        with torch.no_grad():
            return net(x_adv).argmax(dim=1) == y


def agreement(net: nn.Module, x: Tensor, y: Tensor, search: Search, objective: ObjectiveOf) -> dict[str, float]:
    """Return robust accuracy in full and half precision, and the share of flags that differ, also between two seeds."""
    full, half, other = (
        flags(net, x, y, search, objective, half=half, seed=seed) for half, seed in ((False, 0), (True, 0), (False, 1))
    )
    return {
        "robust_fp32": full.double().mean().item(),
        "robust_bf16": half.double().mean().item(),
        "flags_differ": (full != half).double().mean().item(),
        "flags_differ_by_chance": (full != other).double().mean().item(),
    }


def autoattack_agreement(net: nn.Module, x: Tensor, y: Tensor, eps: float) -> dict[str, float]:
    """Return the same for AutoAttack `standard`; its flags depend on the batch size, which replaces the other seed."""
    data, folded = Examples(x, y, torch.arange(len(y))), folded_copy(net, x, "contiguous")
    entry = catalogue.entry("attacks", "autoattack")
    hyper = entry.Hyper(version="standard", eps=eps, iterations=100, queries=5000, targets=9)
    standard = entry.attack_sequence(hyper, 10, 0)

    def flags(attacked: nn.Module, batch: int) -> Tensor:
        return Driver(net, data, batch=batch, seed=0, attacked=attacked).run(standard).robust

    full, half, other = flags(folded, len(y)), flags(BFloat16(folded), len(y)), flags(folded, len(y) // 3)
    return {
        "robust_fp32": full.double().mean().item(),
        "robust_bf16": half.double().mean().item(),
        "flags_differ": (full != half).double().mean().item(),
        "flags_differ_by_chance": (full != other).double().mean().item(),
    }


def distances(nets: Networks, method: Method, hyper: Any, schedule: Schedule, batch: Batch) -> dict[str, float]:
    """Return |w_p - w_fp32| / |w_fp32 - w_0| of trained weights w after one step in precision p from one start."""
    ends: dict[Precision, Tensor] = {}
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "bf16_attack")
    for precision in precisions:
        own, same = copy.deepcopy(nets), copy.deepcopy(batch)
        Step(own, method, hyper, sgd(own, schedule), precision)(same)
        ends[precision] = torch.cat([w.detach().flatten() for w in own.weights().values()])
    start = torch.cat([w.detach().flatten() for w in nets.weights().values()])
    full = ends["fp32"]
    return {p: float((end - full).norm() / (full - start).norm()) for p, end in ends.items() if p != "fp32"}
