"""Predictors: small trained heads that map one representation towards another (Grill et al. 2020, Chen & He 2021)."""

import torch.nn.functional as F
from torch import nn

from cure.core.method import Companion, Terms
from cure.core.tensors import PerExample, Tensor
from cure.errors import UserError
from cure.nn.batchnorm import SplitBatchNorm2d


def key(tap: str) -> str:
    """layer4.0.bn1 as a module's name."""
    return tap.replace(".", "_")


def head(features: int) -> nn.Sequential:
    """h: features -> features/4 -> features."""
    hidden = features // 4
    return nn.Sequential(
        nn.Linear(features, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, features)
    )


def over_taps(taps: list[str]) -> Companion:
    """One head per tapped split batch norm, trained with the student."""

    def build(student: nn.Module) -> nn.Module:
        known = {name: module for name, module in student.named_modules() if isinstance(module, SplitBatchNorm2d)}
        if odd := [tap for tap in taps if tap not in known]:
            raise UserError(f"taps: {odd[0]} is no batch norm of the network; known: {', '.join(known)}")
        return nn.ModuleDict({key(tap): head(known[tap].features) for tap in taps})

    return Companion(build, trained=True, mode="train")


def pulls(predictor: nn.Module, moved: dict[str, Tensor], towards: dict[str, Tensor], gamma: float) -> Terms:
    """gamma / |S| sum_{l in S} distance(h_l(moved_l), towards_l), a term for each l."""
    assert isinstance(predictor, nn.ModuleDict)
    return {
        f"align_{tap}": (gamma / len(moved), distance(predictor[key(tap)](z), towards[tap])) for tap, z in moved.items()
    }


def distance(predicted: Tensor, target: Tensor) -> PerExample:
    """1 - cos(predicted, target), the target constant."""
    return 1 - F.cosine_similarity(predicted.to(target.dtype), target.detach(), dim=1)
