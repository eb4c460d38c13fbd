"""Methods beside CURE's table (HAT, LBGAT, Generalist, IKL) against numbers of their published code, in float64."""

import dataclasses
from functools import partial
from typing import Any

import torch

from cure.core.method import Batch, Networks
from cure.methods.parts.priors import ClassPriors, weighted_differences
from cure.nn.losses import cross_entropy
from cure.settings.base import between
from cure.training.schedule import rate
from tests.support.vectors import Golden, Iteration, Recorded, method


def test_hat(golden: Golden) -> None:
    hat, h = method("hat"), golden.hyper
    hyper = hat.Hyper(h=h["h"], beta=h["beta"], gamma=h["gamma"], attack=golden.search())
    done = Iteration(golden, hat.METHOD, hyper, teachers={"natural": golden.network("helper")})
    golden.expect("x_adv", done.x_adv)
    golden.expect("x_helper", done.batch.points["helper"])
    golden.expect("y_helper", done.batch.points["helper_label"])
    golden.expect("logits/clean_eval", done.forwards["student/eval"][0])
    for name, z in zip(("clean", "adv", "helper"), done.forwards["student/train"], strict=True):
        golden.expect(f"logits/{name}", z)
    for name in ("natural", "robust", "helper"):
        golden.expect(f"loss/{name}", done.terms[name])
    golden.expect("loss/total", done.total)
    golden.expect_group("grad", done.gradients())
    golden.expect_group("after/model", done.state())


def guided(golden: Golden, beta: float) -> Iteration:
    """One step of LBGAT, of which the attack and the totals are compared."""
    lbgat = method("lbgat")
    hyper = lbgat.Hyper(beta=beta, attack=golden.search())
    peer = {"natural_peer": golden.network("natural")}
    done = Iteration(golden, lbgat.METHOD, hyper, student="robust", companions=peer)
    golden.expect("x_adv", done.x_adv)
    adv, clean = done.forwards["student/train"]
    golden.expect("logits/adv", adv)
    golden.expect("logits/clean", clean)
    golden.expect("logits/natural", done.forwards["natural_peer/train"][0])
    for name, term in {"match": "match", "natural_ce": "natural", "robust_kl": "robust"}.items():
        golden.expect(f"loss/{name}", done.terms[term])
    golden.expect_group("grad/natural", done.gradients("natural_peer"))
    golden.expect_group("after/natural", done.state("natural_peer"))
    return done


def test_lbgat(golden: Golden) -> None:
    done = guided(golden, golden.hyper["beta"])
    golden.expect("loss/total", done.total)
    golden.expect_group("grad/robust", done.gradients())
    golden.expect_group("after/robust", done.state())
    plain = guided(golden, 0.0)
    golden.expect("beta0/loss/total", plain.total)
    golden.expect_group("beta0/grad/robust", plain.gradients())


def generalist(golden: Golden):
    """Generalist's settings in a file."""
    h = golden.hyper
    third, epochs = h["epochs"] // 3, h["epochs"]
    return method("generalist").Hyper(
        beta=dict(zip((third, 2 * third, epochs), h["beta_points"][1:], strict=True)),
        d=h["ema_alpha"],
        begin=h["first_hand_over_epoch"],
        hand_over_every=h["hand_over_every"],
        natural_weight_decay=h["weight_decay_natural"],
        attack=golden.search(),
    )


EXPERTS = {"robust": "student", "natural": "natural_expert"}
AVERAGES = {"ema_robust": "average_robust", "ema_natural": "average_natural", "ema_mixed": "mixed"}


class Mixing:
    """Steps of Generalist from the first in a phase's epoch, with the experts as they were before the averages."""

    def __init__(self, golden: Golden, phase: str) -> None:
        self.golden, about = golden, golden.hyper["phases"][f"{phase}/"]
        entry, hyper = method("generalist"), generalist(golden)
        companions = {name: golden.network(key) for key, name in AVERAGES.items()}
        companions["natural_expert"] = golden.network("natural")
        self.where = {"epoch": about["epoch"], "step": golden.hyper["ema_step_before"]}
        self.done = Iteration(
            golden,
            dataclasses.replace(entry.METHOD, after_step=self.after_step),
            hyper,
            student="robust",
            companions=companions,
            noise=Recorded(golden.tensors["start"], golden.tensors["mix/start2"]),
            lr=about["lr"],
            **self.where,
        )

    def after_step(self, nets: Networks, batch: Batch, hyper: Any) -> None:
        self.stepped = {
            key: {name: t.clone() for name, t in nets[network].state_dict().items()} for key, network in EXPERTS.items()
        }
        method("generalist").METHOD.after_step(nets, batch, hyper)

    def expect_after(self, prefix: str, averages: list[str]) -> None:
        for key, state in self.stepped.items():
            self.golden.expect_group(f"{prefix}/after_step/{key}", state)
        for key in averages:
            self.golden.expect_group(f"{prefix}/after/{key}", self.done.state(AVERAGES[key]))


def test_generalist(golden: Golden) -> None:
    for phase in ("plain", "mix"):
        mixing = Mixing(golden, phase)
        done = mixing.done
        golden.expect("x_adv", done.x_adv)
        golden.expect("logits/adv", done.forwards["student/train"][0])
        golden.expect("logits/clean", done.forwards["natural_expert/train"][0])
        for key, network in EXPERTS.items():
            golden.expect(f"loss/{key}", done.terms[key])
            golden.expect_group(f"grad/{key}", done.gradients(network))
        mixing.expect_after(phase, list(AVERAGES))
    done.take(mixing.where["epoch"], mixing.where["step"] + 1)
    golden.expect("mix/second/x_adv", done.x_adv)
    mixing.expect_after("mix/second", ["ema_mixed"])

    h, hyper = golden.hyper, generalist(golden)
    drops = dict(zip(hyper.beta, h["lr_ratio_points"][1:], strict=True))
    schedule = done.schedule.model_copy(
        update={"lr": h["lr0"], "epochs": h["epochs"], "drops": drops, "lr_schedule": "linear"}
    )
    epochs = golden.tensors["schedule/epoch"].tolist()
    golden.excuse("schedule/epoch")  # an input
    for name, of in {
        "lr": partial(rate, schedule),
        "beta": partial(between, hyper.beta),
        "hand_over": partial(method("generalist").hands_over, hyper),
    }.items():
        golden.expect(
            f"schedule/{name}",
            torch.tensor([of(epoch) for epoch in epochs], dtype=golden.tensors[f"schedule/{name}"].dtype),
        )


def decoupled(golden: Golden, gamma: float) -> Iteration:
    """One step of IKL-AT or GKL-AT with the file's priors and perturbation."""
    ikl, h = method("ikl_at"), golden.hyper
    attack = golden.search(step=h["eps"] / 2)  # grows with the epoch as the radius does
    hyper = ikl.Hyper(
        alpha=h["alpha"],
        beta=h["beta"],
        gamma=gamma,
        temperature=h["temperature"],
        awp_gamma=h["awp_gamma"],
        begin=1,
        ramp=True,
        attack=attack,
    )
    priors = ClassPriors(golden.network("model"))
    priors.rows.copy_(golden.tensors["class_prior"])
    where = {"epoch": h["epoch"], "epochs": h["epochs"]}
    return Iteration(golden, ikl.METHOD, hyper, companions={"priors": priors.double()}, **where)


def expect_decoupled(golden: Golden, done: Iteration, gamma: float, prefix: str) -> None:
    """What both losses share: logits, losses, perturbation, gradients and the priors of the next epoch."""
    h, proxy = golden.hyper, done.total
    adv, clean = done.forwards["student/train"][-2:]
    golden.expect(f"{prefix}logits/clean", clean)
    golden.expect(f"{prefix}logits/adv", adv)
    golden.expect(f"{prefix}loss/proxy", proxy)
    s = golden.tensors["class_prior"][done.y] ** gamma
    losses = {
        "natural": cross_entropy(clean, done.y).mean(),
        "wmse": weighted_differences(clean, adv, s).mean() / (s.sum(dim=1).square().mean() if gamma != 1 else 1),
        "soft_ce": -(clean.softmax(dim=1) * adv.log_softmax(dim=1)).sum(dim=1).mean(),
    }
    for name, value in losses.items():
        golden.expect(f"{prefix}loss/{name}", value)
    whole = losses["natural"] + h["beta"] * losses["wmse"] + h["alpha"] * losses["soft_ce"]
    golden.expect(f"{prefix}loss/total", whole)
    done.expect_weight_perturbation(golden, h["awp_gamma"], prefix)
    golden.expect_group(f"{prefix}grad", done.gradients())
    golden.expect(f"{prefix}class_prior_sum", done.nets.priors.sums)


def test_ikl_at(golden: Golden) -> None:
    done = decoupled(golden, 1.0)
    golden.expect("x_adv", done.x_adv)
    proxy_adv, proxy_clean = done.forwards["student/train"][:2]
    golden.expect("logits/proxy_clean", proxy_clean)
    golden.expect("logits/proxy_adv", proxy_adv)
    expect_decoupled(golden, done, 1.0, "")
    golden.expect_group("after/model", done.state())
    golden.excuse("class_prior")  # an input
    generalised = decoupled(golden, golden.hyper["gamma"])
    golden.expect("x_adv", generalised.x_adv)
    expect_decoupled(golden, generalised, golden.hyper["gamma"], "gkl/")
