"""CURE: conserve what matters, update what must adapt, revise towards the own past.

Gowda, Zonooz, Arani, "Conserve-Update-Revise to Cure Generalization and Robustness Trade-off in Adversarial
Training", ICLR 2024. https://arxiv.org/abs/2401.14948

    L       = CE(f(x), y) + beta KL(f(x) || f(x')) + gamma L_CR                                      Eq. (5)
    L_CR    = KL(f_rev(x) || f(x)) + KL(f_rev(x') || f(x'))                                          Eq. (8)
    RGP(w)  = alpha |d CE(f(x), y) / dw| + (1 - alpha) |d CE(f(x'), y) / dw|                         Eq. (6)
    w is updated by grad L where RGP(w) reaches the p-th percentile of its tensor, else its gradient is zero
    theta_rev <- d theta_rev + (1 - d) theta   with probability r after each step                    Eq. (7)

x' = PGD on KL(f(x) || f(x')), Eq. (4). Student and revision network both start from the naturally trained network
(conservation); both are forwarded in training mode; the student is what the paper reports.

Choices that the paper leaves open or that its released code contradicts are parameters; docs/decisions.md gives the
reasons for the defaults. Presets: `paper`; `eq5_literal` (beta 1); `official_soft` (the released signed score, on
the first convolution of each block); `official_rgp` (the released |grad L| score with alpha inside the objective).
"""

import copy
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from cure.core import ascent
from cure.core.averaging import average_, warmed
from cure.core.batchnorm import reestimating
from cure.core.gradients import Weights, gradients, objective, separate
from cure.core.losses import cross_entropy, kl
from cure.core.method import Batch, Companion, Consolidation, Gradients, Means, Method, Networks, Terms
from cure.core.selection import chosen, masks
from cure.core.settings import Count, NonNegative, Number, Search, Settings, Share
from cure.core.tensors import Images


class Hyper(Settings):
    """The joint update loop; the letters are the paper's."""

    top_level: ClassVar = ("alpha",)

    alpha: Share  # weight of the natural gradient in the score
    beta: NonNegative  # weight of the KL in L; 1 in Eq. (5), 5 in the released code
    gamma: NonNegative  # weight of L_CR
    p: Annotated[Number, Field(ge=0, le=100)]  # percent of each tensor that is conserved
    r: Share  # revision rate
    d: Share  # revision decay
    attack: Search
    maximise: Literal["kl", "ce", "ce_kl"]  # Eq. (4) | plain | Algorithm 1, line 4
    objective: Literal["trades", "alpha_ce", "alpha_kl"]  # Eq. (5) | alpha inside L, as released
    score: Literal["abs", "signed", "total", "total_signed"]  # Eq. (6) | released soft | |grad L| | grad L
    score_term: Literal["ce", "kl"]  # the adversarial loss in the score
    scope: Literal["layer", "global"]  # one threshold per tensor, or one for the network
    include: list[str]  # which parameters the mask reaches, by name
    exclude: list[str]
    apply: Literal["grad", "update"]  # zero the gradient, or keep the weight itself
    warm_up: bool  # d_t = min(1 - 1/(t + 1), d), as released; off is Eq. (7) to the letter
    r_rule: Literal["constant", "off", "halve"]  # what happens to r after epoch r_epoch
    r_epoch: Count


class Revise(Settings):
    """Consolidation: which network of the trajectory is evaluated, and whose batch-norm statistics it carries."""

    network: Literal["best", "last", "revision"]
    batchnorm: Literal["keep", "clean"]  # as trained | estimated anew on clean training images


def inner(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Images]:
    """x' on the student: Eq. (4), or one of the two other readings."""

    def both(net: nn.Module, batch: Batch) -> ascent.Objective:
        away, wrong = ascent.divergence(net, batch), ascent.error(net, batch)
        return lambda z: wrong(z) + hyper.alpha * away(z)

    maximise = {"kl": ascent.divergence, "ce": ascent.error, "ce_kl": both}[hyper.maximise]
    return {"adv": ascent.ascend(nets.student, batch, hyper.attack, maximise)}


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """L, and CE(f(x'), y) with weight zero where only the score needs it."""
    clean, adv = nets.student(batch.x), nets.student(batch.x_adv)
    with torch.no_grad():
        past_clean, past_adv = nets.revision(batch.x), nets.revision(batch.x_adv)
    natural, divergence, adversarial = {
        "trades": (1.0, hyper.beta, 0.0),
        "alpha_ce": (hyper.alpha, 0.0, 1 - hyper.alpha),
        "alpha_kl": (hyper.alpha, 1 - hyper.alpha, 0.0),
    }[hyper.objective]
    return {
        "natural": (natural, cross_entropy(clean, batch.y)),
        "divergence": (divergence, kl(clean, adv)),
        "adversarial": (adversarial, cross_entropy(adv, batch.y)),
        "revision_clean": (hyper.gamma, kl(past_clean, clean)),
        "revision_adv": (hyper.gamma, kl(past_adv, adv)),
    }


def rgp(means: Means, weights: Weights, masked: Weights, hyper: Hyper) -> tuple[Gradients, Gradients]:
    """(score of every masked weight, grad L), in two backward passes, or three for the absolute values of Eq. (6)."""
    term = {"ce": "adversarial", "kl": "divergence"}[hyper.score_term]
    if hyper.score == "abs":
        alone, total = separate(means, ["natural", term], weights)
        natural, robust = alone["natural"], alone[term]
        return {n: hyper.alpha * natural[n].abs() + (1 - hyper.alpha) * robust[n].abs() for n in masked}, total
    total = gradients(objective(means), weights)
    if hyper.score == "signed":  # linear in the gradients, so one backward pass of the weighted losses
        weighted = hyper.alpha * means["natural"][1] + (1 - hyper.alpha) * means[term][1]
        return gradients(weighted, masked), total
    size: Callable[[torch.Tensor], torch.Tensor] = torch.abs if hyper.score == "total" else torch.clone
    return {n: size(total[n]) for n in masked}, total


def combine(nets: Networks, batch: Batch, hyper: Hyper, means: Means) -> Gradients:
    """M * grad L, with M = 1 where the score reaches its percentile."""
    weights = nets.weights()
    masked = {name: weights[name] for name in chosen(list(weights), hyper.include, hyper.exclude)}
    score, total = rgp(means, weights, masked, hyper)
    keep = masks(score, hyper.p / 100, hyper.scope)
    batch.show("rgp", {"score": score, "mask": keep, "total": total})
    if hyper.apply == "update":
        batch.points["frozen"] = [(w, keep[n], w.detach().clone()) for n, w in masked.items()]
    return {name: g * keep[name] if name in keep else g for name, g in total.items()}


def rate(hyper: Hyper, epoch: int) -> float:
    """r, constant, switched off after r_epoch, or halved each epoch after it."""
    late = max(0, epoch - hyper.r_epoch)
    return hyper.r * {"constant": 1.0, "off": float(late == 0), "halve": 0.5**late}[hyper.r_rule]


def after_step(nets: Networks, batch: Batch, hyper: Hyper) -> None:
    """Restore frozen weights, then revise: Eq. (7)."""
    with torch.no_grad():
        for weight, moved, before in batch.points.get("frozen", []):
            weight.copy_(torch.where(moved, weight, before))
    if batch.noise.chance(rate(hyper, batch.epoch)):
        average_(nets.revision, nets.student, warmed(hyper.d, batch.step + 1) if hyper.warm_up else hyper.d)


def companions(hyper: Hyper) -> dict[str, Companion]:
    """The revision network: a copy of the student, forwarded in training mode, moved by Eq. (7) alone."""
    return {"revision": Companion(copy.deepcopy, mode="train")}


def finish(found: Consolidation, hyper: Revise) -> tuple[nn.Module, int, dict[str, Any]]:
    """The network that is evaluated, its epoch, and how its relatives score on the validation split."""
    net = found.nets[hyper.network]
    if hyper.batchnorm == "clean":
        with torch.no_grad(), reestimating(net):
            for batch in found.batches(1):
                net(batch.x)
    scores = {name: found.score(relative) for name, relative in found.nets.items()}
    return net, found.epochs.get(hyper.network, found.epochs["last"]), {"exported": hyper.network, "scores": scores}


METHOD = Method(
    "Gowda et al. 2024, Eqs. (4)-(8)",
    Hyper,
    loss,
    inner,
    combine,
    after_step,
    companions,
    init="natural",
    finish=finish,
    revise=Revise,
)
