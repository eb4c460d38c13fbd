"""IKL-AT: improve both parts of the KL divergence, the differences of logits and the soft labels, separately.

Cui, Tian, Zhong, Qi, Yu, Zhang, "Decoupled Kullback-Leibler Divergence Loss", NeurIPS 2024.
https://arxiv.org/abs/2305.13948; GKL by the same authors, "Generalized Kullback-Leibler Divergence Loss", 2025.
https://arxiv.org/abs/2503.08038

    L = CE(n, y) + beta wMSE + alpha SCE,        n = f(x), a = f(x')
    wMSE = 1/4 sum_{j,k} s_j s_k ((n_j - n_k) - (a_j - a_k))^2        both sides differentiated
    SCE  = - sum_k sg(softmax(n))_k log softmax(a)_k

s is the row of y in the class priors: the mean of softmax(f(x) / T) over the previous epoch's images of the class,
uniform in the first epoch. GKL replaces s by s^gamma, and divides the batch's sum of wMSE by its sum of (sum_j
s_j^gamma)^2; gamma 1 is IKL. From epoch `begin` on the weights are perturbed (methods/parts/awp.py), and the priors are
collected at the perturbed weights.

x' = PGD on KL(f(x) || f(x')), which has SCE's gradient, with five steps of half the radius. With `ramp`, radius and
step grow linearly with the epoch and reach their full size in the last. x' is forwarded first. All this is as released:
the stages of its "high" budget are written so that the last one applies from epoch 1 on.

Deviations. The release averages the weights and their running statistics at the end of every epoch (`train.average`).
Here the statistics are re-estimated. A class without an image in an epoch keeps its prior, where the release divides 0
by 0.
"""

from typing import Any

import torch

from cure.adversarial.pgd import kl_objective, pgd
from cure.core.method import Batch, Companion, Method, Networks, Terms
from cure.core.tensors import Images
from cure.methods.parts.awp import perturbing
from cure.methods.parts.priors import ClassPriors, weighted_differences
from cure.nn.losses import cross_entropy
from cure.runtime import distributed
from cure.settings.base import DelayedSettings, NonNegative, Positive, Search


class Hyper(DelayedSettings):
    """Settings: alpha, beta, GKL's gamma, T, the weight perturbation from epoch `begin` on, and the attack."""

    alpha: NonNegative
    beta: NonNegative
    gamma: NonNegative
    temperature: Positive
    awp_gamma: NonNegative
    ramp: bool  # radius and step grow with the epoch
    attack: Search


def before_epoch(nets: Networks, epoch: int, batches: Any, hyper: Hyper) -> dict[str, Any]:
    """Turn the sums of the previous epoch into priors; this reads no image."""
    _priors(nets).turn()
    return {}


def attack(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Images]:
    """Return x' in this epoch's ball. Radius and step are tensors, so that one CUDA graph serves all epochs."""
    position = batch.position
    share = min(1.0, position.epoch / position.epochs) if hyper.ramp else 1.0
    each = {name: batch.x.new_full((len(batch.x),), share * getattr(hyper.attack, name)) for name in ("eps", "step")}
    return {"adv": pgd(nets.student, batch, hyper.attack, kl_objective, each=each)}


def terms(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return the three terms at the current weights."""
    a, n = nets.student(batch.x_adv), nets.student(batch.x)
    batch.points["clean_logits"] = n.detach()
    s = _priors(nets).of(n, batch.y) ** hyper.gamma
    wmse = weighted_differences(n, a, s)
    if hyper.gamma != 1:  # a row sums to one if gamma is 1
        wmse = wmse / distributed.mean([distributed.part(s.sum(dim=1).square())])[0]
    return {
        "natural": (1.0, cross_entropy(n, batch.y)),
        "wmse": (hyper.beta, wmse),
        "soft_ce": (hyper.alpha, -(n.detach().softmax(dim=1) * a.log_softmax(dim=1)).sum(dim=1)),
    }


def gamma(hyper: Hyper, epoch: int) -> float:
    """Return the relative size of the weight perturbation in an epoch."""
    return hyper.awp_gamma if epoch >= hyper.begin else 0.0


loss, combine_gradients, restore = perturbing(terms, gamma)


def after_step(nets: Networks, batch: Batch, hyper: Hyper) -> None:
    """Restore w from w + v, then collect the priors."""
    restore(nets, batch, hyper)
    with torch.no_grad():
        _priors(nets).collect(batch.points["clean_logits"], batch.y, hyper.temperature)


def companions(hyper: Hyper) -> dict[str, Companion]:
    """Return the class priors, which have their own update rule."""
    return {"priors": Companion(ClassPriors)}


def _priors(nets: Networks) -> ClassPriors:
    priors = nets.priors
    assert isinstance(priors, ClassPriors)
    return priors


METHOD = Method(
    cite="Cui et al. 2024",
    hyper=Hyper,
    loss=loss,
    before_epoch=before_epoch,
    attack=attack,
    combine_gradients=combine_gradients,
    after_step=after_step,
    companions=companions,
)
