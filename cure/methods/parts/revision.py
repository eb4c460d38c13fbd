"""The revision network, a slow copy of the student that keeps it near its own past, and the choice between both.

    L_CR      = KL(f_rev(x) || f(x)) + KL(f_rev(x') || f(x'))                                        Eq. (8)
    theta_rev <- d theta_rev + (1 - d) theta   with probability r after each step                    Eq. (7)

Gowda et al., "Conserve-Update-Revise ...", ICLR 2024.
"""

import copy
from typing import Any, Literal

import torch
from torch import nn

from cure.core.method import Batch, Companion, Consolidation, Networks, Terms
from cure.core.tensors import Logits
from cure.nn.averaging import average_, warmed
from cure.nn.batchnorm import reestimating
from cure.nn.losses import kl
from cure.settings.base import Count, MethodSettings, NonNegative, ReviseSettings, Share


class Revision(MethodSettings):
    """Settings: the weight of L_CR, and how the revision network follows the student."""

    gamma: NonNegative  # weight of L_CR
    r: Share  # revision rate
    d: Share  # revision decay
    warm_up: bool  # d_t = min(1 - 1/(t + 1), d), as released; without it, exactly Eq. (7)
    r_rule: Literal["constant", "off", "halve"]  # change of r after epoch r_epoch
    r_epoch: Count


class Revise(ReviseSettings):
    """Settings of the consolidation: the network to evaluate, and its batch-norm statistics."""

    network: Literal["best", "last", "revision"]
    batchnorm: Literal["keep", "clean"]  # as trained | re-estimated on clean training images


def companions(hyper: Revision) -> dict[str, Companion]:
    """Return the revision network: a copy of the student, forwarded in training mode, moved by Eq. (7) alone."""
    return {"revision": Companion(copy.deepcopy, mode="train")}


def consistency(nets: Networks, batch: Batch, clean: Logits, adv: Logits, hyper: Revision) -> Terms:
    """Return gamma L_CR from the student's logits on x and x'; the revision network is constant.

    Return nothing if gamma and r are 0: then no loss needs the forwards, and no moving network needs their statistics.
    """
    if not hyper.gamma and not hyper.r:
        return {}
    with torch.no_grad():
        past_clean, past_adv = nets.revision(batch.x), nets.revision(batch.x_adv)
    return {"revision_clean": (hyper.gamma, kl(past_clean, clean)), "revision_adv": (hyper.gamma, kl(past_adv, adv))}


def rate(hyper: Revision, epoch: int) -> float:
    """Return r, constant, switched off after r_epoch, or halved each epoch after it."""
    late = max(0, epoch - hyper.r_epoch)
    return hyper.r * {"constant": 1.0, "off": float(late == 0), "halve": 0.5**late}[hyper.r_rule]


def revise(nets: Networks, batch: Batch, hyper: Revision) -> None:
    """Apply Eq. (7) with probability r."""
    position = batch.position
    if batch.noise.chance(rate(hyper, position.epoch)):
        average_(nets.revision, nets.student, warmed(hyper.d, position.step + 1) if hyper.warm_up else hyper.d)


def select_network(found: Consolidation, hyper: Revise) -> tuple[nn.Module, int, dict[str, Any]]:
    """Return the evaluated network, its epoch, and the validation scores of all networks of the checkpoint."""
    net = found.nets[hyper.network]
    if hyper.batchnorm == "clean":
        with torch.no_grad(), reestimating(net):
            for batch in found.batches(1):
                net(batch.x)
    scores = {name: found.score(relative) for name, relative in found.nets.items()}
    return net, found.epochs.get(hyper.network, found.epochs["last"]), {"exported": hyper.network, "scores": scores}
