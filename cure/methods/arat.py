"""AR-AT: pull adversarial representations to the clean ones, without letting the two streams disturb each other.

Waseda, Chang, Echizen, "Rethinking Invariance Regularization in Adversarial Training to Improve Robustness-Accuracy
Trade-off", ICLR 2025. https://arxiv.org/abs/2402.14648

    L = a^p CE(f_adv(x'), y) + (1 - a)^p CE(f_cln(x), y) + gamma / |S| sum_{l in S} [1 - cos(h_l(z'_l), sg z_l)]

One set of weights has two sets of batch norms, `adv` for x' (deployed) and `clean` for x. z are spatial means of the
ReLU of the tapped batch norms, h_l is a two-layer predictor, and sg is a stop-gradient: only the adversarial side is
pulled. x' = PGD on CE through the adversarial set in training mode. `select_network` keeps the adversarial set and
drops the rest. AR-AT+SWA exports the `average` of the weights instead (`train.average`), with statistics re-estimated
on attacked images. The release evaluates the last epoch, and so does this row under its own schedule. Under `protocol:
matched` the row is the best epoch by validation PGD, like every row.

Deviations. a is the training accuracy of the clean stream over the previous epoch (1/classes at first). The authors
measure it again on 1,024 images before each epoch (`balance_images`). Their attack overwrites the clean batch with its
random start, and both streams then start from it (`start_in_place`). So their x' is up to 16/255 away from the image,
not 8/255. Here x is unchanged. The preset `released` trains with both, as the published numbers most probably did.

Ablations. Three switches remove the parts that the paper adds to the naive pull, and each has a preset that turns it
off. Without `stop_gradient` the pull is 1 - cos(h_l(z'_l), z_l), whose gradient also reaches the clean side. Without
`split_batchnorm` both streams use the network's one set of batch norms, the attack also moves its statistics, and the
network is exported as it is. Without `predictor` h_l is the identity. With all three off, this is the naive invariance
loss.
"""

import copy
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from torch import nn

from cure.adversarial.pgd import begin, ce_objective, pgd
from cure.core.method import Batch, Companion, Consolidation, Method, Networks, Terms
from cure.core.tensors import Images
from cure.errors import UserError
from cure.methods.parts.predictor import over_taps, predicted, pulls, tapped
from cure.nn.accuracy import on_first
from cure.nn.activations import Taps, pooled
from cure.nn.batchnorm import branch, fold, is_split, reestimating, scope, split
from cure.nn.losses import cross_entropy
from cure.settings.base import Count, FixedSearch, MethodSettings, NonNegative, ReviseSettings, Search


class Hyper(MethodSettings):
    """Settings: gamma, p, the tapped batch norms S, the source of a, the attack, and the switches of the ablations."""

    gamma: NonNegative
    p: NonNegative
    taps: Taps
    balance_images: Count | None  # measure a before each epoch on at least this many images, in whole batches
    start_in_place: bool  # x <- x + U(-eps, eps), as in the released attack
    attack: Search
    stop_gradient: bool  # sg: the clean features are constant
    split_batchnorm: bool  # separate batch norms for each stream
    predictor: bool  # h_l; without it the features are compared directly


class Revise(ReviseSettings):
    """AR-AT exports its last or best epoch, AR-AT+SWA the average, whose statistics `attack` is for."""

    network: Literal["last", "best", "average"]
    attack: FixedSearch


def prepare(net: nn.Module, hyper: Hyper) -> None:
    """Split the batch norms; the adversarial set is first, and so the default of a forward."""
    tapped(net, hyper.taps)
    if hyper.split_batchnorm:
        split(net, ("adv", "clean"))


def companions(hyper: Hyper) -> dict[str, Companion]:
    """Return the predictors h_l as one companion; none without `hyper.predictor`."""
    return {"predictor": over_taps(hyper.taps)} if hyper.predictor else {}


def before_epoch(nets: Networks, epoch: int, batches: Iterator[Batch], hyper: Hyper) -> dict[str, Any]:
    """Measure a on augmented training images through the clean batch norms in eval mode."""
    if hyper.balance_images is None:
        return {}
    with scope(nets.student, "eval"), branch(nets.student, "clean"):
        return {"clean_accuracy": float(on_first(nets.student, batches, hyper.balance_images))}


def attack(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Images]:
    """Return x' = PGD on CE through the adversarial batch norms, and the x of the clean stream."""
    x, attack = batch.x, hyper.attack
    if hyper.start_in_place:
        x, attack = begin(x, attack, batch.noise), attack.model_copy(update={"start": "zero"})
    with branch(nets.student, "adv"):
        return {"adv": pgd(nets.student, dataclasses.replace(batch, x=x), attack, ce_objective), "clean": x}


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return the balanced cross-entropies and the pulls; the clean stream is forwarded first."""
    with branch(nets.student, "clean"):
        clean, z = pooled(nets.student, batch.points["clean"], hyper.taps)
    with branch(nets.student, "adv"):
        adv, z_adv = pooled(nets.student, batch.x_adv, hyper.taps)
    batch.show("features", {"clean": z, "adv": z_adv})
    towards = {tap: features.detach() for tap, features in z.items()} if hyper.stop_gradient else z
    moved = predicted(nets.predictor, z_adv) if hyper.predictor else z_adv
    measured = {**batch.position.past_means, **batch.position.found}
    a = measured.get("clean_accuracy", 1 / clean.shape[1])
    right = (clean.detach().argmax(dim=1) == batch.y).to(clean.dtype)
    return {
        "adv": (a**hyper.p, cross_entropy(adv, batch.y)),
        "clean": ((1 - a) ** hyper.p, cross_entropy(clean, batch.y)),
        **pulls(moved, towards, hyper.gamma),
        "clean_accuracy": (0.0, right),
    }


def select_network(found: Consolidation, hyper: Revise) -> tuple[nn.Module, int, dict[str, Any]]:
    """Return a plain network with the adversarial batch norms, and its scores beside those of the clean set."""
    if hyper.network not in found.nets:
        raise UserError("methods.arat.revise.network: average, but the update kept none; set its train.average")
    both = found.nets[hyper.network]
    scores = {}
    if is_split(both):
        with branch(both, "clean"):
            scores["clean_set"] = found.score(both)
    net = copy.deepcopy(both)
    fold(net, "adv")
    if hyper.network == "average":
        net = attacked_statistics(net, found.batches(1), hyper.attack)
    return (
        net,
        found.epochs[hyper.network],
        {"exported": hyper.network, "scores": scores | {"adv_set": found.score(net)}},
    )


def attacked_statistics(net: nn.Module, batches: Iterable[Batch], attack: Search) -> nn.Module:
    """Return a copy of `net` whose running statistics are a plain average over batches attacked against `net`."""
    fresh = copy.deepcopy(net)
    with reestimating(fresh):
        for batch in batches:
            x_adv = pgd(net, batch, attack, ce_objective)
            with torch.no_grad():
                fresh(x_adv)
    return fresh


METHOD = Method(
    cite="Waseda et al. 2025",
    hyper=Hyper,
    loss=loss,
    attack=attack,
    companions=companions,
    prepare=prepare,
    select_network=select_network,
    revise=Revise,
    before_epoch=before_epoch,
    shows=("features",),
)
