"""Pull one representation towards another, through a small trained head, the predictor, or without one.

    D_l = 1 - cos(h_l(moved_l), towards_l),   h_l the predictor of the tapped batch norm l, or the identity

Grill et al. 2020; Chen and He 2021.
"""

from torch import nn

from cure.core.method import Companion, Terms
from cure.core.tensors import Tensor
from cure.errors import UserError
from cure.nn.batchnorm import SplitBatchNorm2d, batch_norms
from cure.nn.losses import cosine_distance


def key(tap: str) -> str:
    """Return layer4.0.bn1 as a module's name, without dots."""
    return tap.replace(".", "_")


def head(features: int) -> nn.Sequential:
    """Return h: features -> features/4 -> features."""
    hidden = features // 4
    return nn.Sequential(
        nn.Linear(features, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, features)
    )


def tapped(net: nn.Module, taps: list[str]) -> dict[str, nn.BatchNorm2d | SplitBatchNorm2d]:
    """Return the tapped batch norms, split or not; refuse other names."""
    known = batch_norms(net)
    if odd := [tap for tap in taps if tap not in known]:
        raise UserError(f"taps: {odd[0]} is not a batch norm of the network; known: {', '.join(known)}")
    return {tap: known[tap] for tap in taps}


def over_taps(taps: list[str]) -> Companion:
    """Return one head per tapped batch norm, trained with the student."""

    def build(student: nn.Module) -> nn.Module:
        return nn.ModuleDict({key(tap): head(norm.num_features) for tap, norm in tapped(student, taps).items()})

    return Companion(build, trained=True, mode="train")


def predicted(predictor: nn.Module, z: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return h_l(z_l) of every l."""
    assert isinstance(predictor, nn.ModuleDict)
    return {tap: predictor[key(tap)](features) for tap, features in z.items()}


def pulls(moved: dict[str, Tensor], towards: dict[str, Tensor], gamma: float) -> Terms:
    """Return gamma / |S| sum_{l in S} D_l, a term for each l; gradients reach both sides, unless one is detached."""
    return {f"align_{tap}": (gamma / len(moved), cosine_distance(z, towards[tap])) for tap, z in moved.items()}
