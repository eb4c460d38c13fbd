"""Predictors: small trained heads that map one representation towards another (Grill et al. 2020, Chen & He 2021)."""

import torch.nn.functional as F
from torch import nn

from cure.core.tensors import PerExample, Tensor


def key(tap: str) -> str:
    """layer4.0.bn1 as a module's name."""
    return tap.replace(".", "_")


def head(features: int) -> nn.Sequential:
    """h: features -> features/4 -> features."""
    hidden = features // 4
    return nn.Sequential(
        nn.Linear(features, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, features)
    )


def predictors(widths: dict[str, int]) -> nn.ModuleDict:
    """One head per tapped module, by its width."""
    return nn.ModuleDict({key(tap): head(width) for tap, width in widths.items()})


def distance(predicted: Tensor, target: Tensor) -> PerExample:
    """1 - cos(predicted, target), the target constant."""
    return 1 - F.cosine_similarity(predicted, target.detach(), dim=1)
