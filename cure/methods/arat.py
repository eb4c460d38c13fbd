"""AR-AT: pull adversarial representations to the clean ones, without letting the two streams disturb each other.

Waseda, Chang, Echizen, "Rethinking Invariance Regularization in Adversarial Training to Improve Robustness-Accuracy
Trade-off", ICLR 2025. https://arxiv.org/abs/2402.14648

    L = a^p CE(f_adv(x'), y) + (1 - a)^p CE(f_cln(x), y) + gamma / |S| sum_{l in S} [1 - cos(h_l(z'_l), sg z_l)]

One set of weights with two sets of batch norms, `adv` for x' (deployed) and `clean` for x. z are spatial means of the
ReLU of the tapped batch norms, h_l a two-layer predictor, sg a stop-gradient: only the adversarial side is pulled. x' =
PGD on CE through the adversarial set in training mode. `finish` keeps the adversarial set and drops the rest.

Deviations. a is the training accuracy of the clean stream over the last epoch (1/classes at first), where the authors
measure it anew on 1,024 images. Their attack overwrites the clean batch with its random start; here x stays x.
"""

import copy
from typing import Annotated, Any, Literal

import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import nn

from cure.core.ascent import ascend, error
from cure.core.batchnorm import SplitBatchNorm2d, branch, fold, split
from cure.core.losses import cross_entropy
from cure.core.method import Batch, Companion, Consolidation, Method, Networks, Terms
from cure.core.predictor import distance, key, predictors
from cure.core.settings import NonNegative, Search, Settings
from cure.core.taps import tapping
from cure.core.tensors import Images, Logits, Tensor
from cure.errors import Refused


class Hyper(Settings):
    """gamma, p, the tapped batch norms S, and the attack."""

    gamma: NonNegative
    p: NonNegative
    taps: Annotated[list[str], Field(min_length=1)]
    attack: Search

    @field_validator("taps")
    @classmethod
    def _no_tap_twice(cls, taps: list[str]) -> list[str]:
        if len(set(taps)) < len(taps):
            raise ValueError("names a module twice")
        return taps


class Revise(Settings):
    """AR-AT reports its last epoch."""

    network: Literal["last", "best"]


def inner(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Images]:
    """x' = PGD on CE through the adversarial batch norms."""
    with branch(nets.student, "adv"):
        return {"adv": ascend(nets.student, batch, hyper.attack, error)}


def stream(net: nn.Module, x: Images, name: str, taps: list[str]) -> tuple[Logits, dict[str, Tensor]]:
    """Logits and tapped representations (n, c) through one set of batch norms."""
    with branch(net, name), tapping(net, taps) as found:
        z = net(x)
    return z, {tap: F.relu(h).mean(dim=(2, 3)) for tap, h in found.items()}


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """The balanced cross-entropies and the pulls; the clean stream goes first."""
    clean, z = stream(nets.student, batch.x, "clean", hyper.taps)
    adv, z_adv = stream(nets.student, batch.x_adv, "adv", hyper.taps)
    batch.show("features", {"clean": z, "adv": z_adv})
    a = batch.past.get("clean_accuracy", 1 / clean.shape[1])
    right = (clean.detach().argmax(dim=1) == batch.y).to(clean.dtype)
    predictor = nets.predictor
    assert isinstance(predictor, nn.ModuleDict)
    return {
        "adv": (a**hyper.p, cross_entropy(adv, batch.y)),
        "clean": ((1 - a) ** hyper.p, cross_entropy(clean, batch.y)),
        **{
            f"align_{tap}": (hyper.gamma / len(hyper.taps), distance(predictor[key(tap)](z_adv[tap]), z[tap]))
            for tap in hyper.taps
        },
        "clean_accuracy": (0.0, right),
    }


def companions(hyper: Hyper) -> dict[str, Companion]:
    """One predictor per tap, trained with the student."""

    def build(student: nn.Module) -> nn.Module:
        known = {name: module for name, module in student.named_modules() if isinstance(module, SplitBatchNorm2d)}
        if odd := [tap for tap in hyper.taps if tap not in known]:
            raise Refused(f"arat.update.taps: {odd[0]} is no batch norm of the network; known: {', '.join(known)}")
        norms = {tap: known[tap] for tap in hyper.taps}
        widths = {tap: int(norm.get_submodule("adv").num_features) for tap, norm in norms.items()}  # type: ignore[arg-type]
        return predictors(widths)

    return {"predictor": Companion(build, trained=True, mode="train")}


def prepare(student: nn.Module) -> None:
    """Two batch norms for one; the adversarial one is used wherever nothing else is said."""
    split(student, ("adv", "clean"))


def finish(found: Consolidation, hyper: Revise) -> tuple[nn.Module, int, dict[str, Any]]:
    """A plain network with the adversarial batch norms, and how it scores against the clean ones."""
    both = found.nets[hyper.network]
    with branch(both, "clean"):
        scores = {"clean_set": found.score(both)}
    net = copy.deepcopy(both)
    fold(net, "adv")
    return (
        net,
        found.epochs[hyper.network],
        {"exported": hyper.network, "scores": scores | {"adv_set": found.score(net)}},
    )


METHOD = Method(
    "Waseda et al. 2025",
    Hyper,
    loss,
    inner,
    companions=companions,
    prepare=prepare,
    finish=finish,
    revise=Revise,
    shows=("features",),
)
