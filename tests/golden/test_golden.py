"""The product's own step and attacks against numbers of the published implementations, in float64."""

import numpy as np
import pytest
import torch

from cure import catalogue
from cure.core.method import Batch
from cure.evaluation.statistics.intervals import nrr
from cure.nn.losses import cross_entropy, margin
from tests.support.vectors import Golden, Iteration, Recorded, method


@pytest.mark.parametrize("bn", ["train", "eval"])
def test_at_madry(golden: Golden, bn: str) -> None:
    at = method("at")
    hyper = at.Hyper(attack=golden.search(bn=bn), forward_final=False, forward_clean=False)
    done = Iteration(golden, at.METHOD, hyper)
    here = f"{bn}_bn_attack"
    golden.expect(f"{here}/x_adv", done.x_adv)
    golden.expect(f"{here}/logits/adv", done.forwards["student/train"][-1])
    golden.expect(f"{here}/loss/total", done.terms["robust"])
    golden.expect_group(f"{here}/grad", done.gradients())
    golden.expect_group(f"{here}/after/model", done.state())
    golden.excuse({"train": "eval", "eval": "train"}[bn] + "_bn_attack/")  # the other half of this test


def test_at_rice(golden: Golden) -> None:
    at = method("at")
    attack = golden.search(bn="train")
    done = Iteration(golden, at.METHOD, at.Hyper(attack=attack, forward_final=True, forward_clean=False))
    golden.expect("x_adv", done.x_adv)
    golden.expect("logits/adv", done.forwards["student/train"][-1])
    golden.expect("loss/total", done.terms["robust"])
    golden.expect_group("grad", done.gradients())
    golden.expect_group("after/model", done.state())
    logged = Iteration(golden, at.METHOD, at.Hyper(attack=attack, forward_final=True, forward_clean=True))
    golden.expect("logits/clean_after_step", logged.forwards["student/train"][-1])
    golden.expect_group("after_logging/model", logged.state())


def test_at_cure(golden: Golden) -> None:
    at = method("at")
    done = Iteration(golden, at.METHOD, at.Hyper(attack=golden.search(), forward_final=False, forward_clean=False))
    golden.expect("x_adv", done.x_adv)
    golden.expect("logits/adv", done.forwards["student/train"][-1])
    golden.expect("loss/total", done.terms["robust"])
    golden.expect_group("grad", done.gradients())
    golden.expect_group("after/model", done.state())


def test_trades(golden: Golden) -> None:
    trades = method("trades")
    settings = {"beta": golden.hyper["beta"], "attack": golden.search()}
    done = Iteration(golden, trades.METHOD, trades.Hyper(**settings, forward_again=True))
    golden.expect("logits/clean_eval", done.forwards["student/eval"][0])
    golden.expect("x_adv", done.x_adv)
    clean, adv, again = done.forwards["student/train"]
    golden.expect("logits/clean", clean)
    golden.expect("logits/clean", again)
    golden.expect("logits/adv", adv)
    golden.expect("loss/natural", done.terms["natural"])
    golden.expect("loss/robust", done.terms["robust"])
    golden.expect("loss/total", done.terms["natural"] + golden.hyper["beta"] * done.terms["robust"])
    golden.expect_group("grad", done.gradients())
    golden.expect_group("after/model", done.state())
    merged = Iteration(golden, trades.METHOD, trades.Hyper(**settings, forward_again=False))
    golden.expect_group("merged/after/model", merged.state())


def cure_hyper(golden: Golden, alpha: float, **changes):
    cure = method("cure")
    masked = golden.hyper["masked_parameters"]
    settings = {
        "alpha": alpha,
        "beta": golden.hyper["beta"],
        "gamma": golden.hyper["gamma"],
        "p": golden.hyper["percentile"],
        "r": 1.0,
        "d": golden.hyper["ema_decay"],
        "attack": golden.search(),
        "maximise": "kl",
        "objective": "trades",
        "score": "abs",
        "score_term": "ce",
        "scope": "layer",
        "include": masked if isinstance(masked, list) else ["*"],
        "exclude": [],
        "apply": "grad",
        "warm_up": "ema_decay_used" in golden.hyper,
        "r_rule": "constant",
        "r_epoch": 1,
    }
    return cure.Hyper(**(settings | changes))


def cure_iteration(golden: Golden, hyper) -> Iteration:
    step = golden.hyper.get("global_step_before", 0)
    revision = {"revision": golden.network("ema")}
    return Iteration(golden, method("cure").METHOD, hyper, companions=revision, step=step)


def expect_cure_forwards_and_losses(golden: Golden, done: Iteration) -> None:
    golden.expect("x_adv", done.x_adv)
    for name, network in (("clean", "student"), ("ema_clean", "revision")):
        clean, adv = done.forwards[f"{network}/train"]
        golden.expect(f"logits/{name}", clean)
        golden.expect(f"logits/{name.replace('clean', 'adv')}", adv)
    terms = done.terms
    main = terms["natural"] + golden.hyper["beta"] * terms["divergence"]
    golden.expect("loss/robust", terms["divergence"])
    golden.expect("loss/revision_clean", terms["revision_clean"])
    golden.expect("loss/revision_adv", terms["revision_adv"])
    golden.expect("loss/total", main + golden.hyper["gamma"] * (terms["revision_clean"] + terms["revision_adv"]))
    if "loss/main" in golden.tensors:
        golden.expect("loss/main", main)


def term_gradients(done: Iteration, golden: Golden, hyper, term: str) -> dict[str, torch.Tensor]:
    """The gradient of one term by the product's loss, at the weights before the step."""
    again = cure_iteration(golden, hyper)  # fresh networks, stepped; put them back and forward once more
    again.nets.student.load_state_dict(golden.group("before/model"))
    again.nets.revision.load_state_dict(golden.group("before/ema"))
    again.batch.points["adv"] = done.x_adv
    _, values = method("cure").loss(again.nets, again.batch, hyper)[term]
    weights = again.nets.weights()
    return dict(zip(weights, torch.autograd.grad(values.mean(), list(weights.values())), strict=True))


def expect_thresholds(golden: Golden, scores: dict[str, torch.Tensor]) -> None:
    for name in golden.group("threshold"):
        golden.expect(f"threshold/{name}", float(np.percentile(scores[name].numpy(), golden.hyper["percentile"])))


def test_cure(golden: Golden) -> None:
    both = golden.hyper["w_nat"] + golden.hyper["w_rob"]  # the released weights need not add up to one
    alpha = golden.hyper["w_nat"] / both
    hyper = cure_hyper(golden, alpha, score="signed", score_term="kl")
    done = cure_iteration(golden, hyper)
    expect_cure_forwards_and_losses(golden, done)
    golden.expect("loss/natural", done.terms["natural"])
    golden.expect_group("grad_natural", term_gradients(done, golden, hyper, "natural"))
    golden.expect_group("grad_robust", term_gradients(done, golden, hyper, "divergence"))
    rgp = done.seen["rgp"]
    golden.expect_group("grad_total", rgp["total"])
    scores = {name: both * score for name, score in rgp["score"].items()}
    golden.expect_group("score", scores)
    expect_thresholds(golden, scores)
    golden.expect_group("mask", rgp["mask"])
    golden.expect_group("fused", done.gradients())
    golden.expect_group("after/model", done.state())
    golden.expect_group("after/ema", done.state("revision"))
    # grad_mode `all`: alpha weights CE and KL in the objective itself, which is also the score
    fused = cure_hyper(golden, alpha, objective="alpha_kl", score="total_signed", gamma=golden.hyper["gamma"] / both)
    all_mode = cure_iteration(golden, fused).gradients()
    golden.expect_group("all_mode/fused", {name: both * g for name, g in all_mode.items()})


def test_cure_abs(golden: Golden) -> None:
    hyper = cure_hyper(golden, golden.hyper["alpha"])
    done = cure_iteration(golden, hyper)
    expect_cure_forwards_and_losses(golden, done)
    golden.expect("loss/natural_ce", done.terms["natural"])
    golden.expect("loss/adv_ce", done.terms["adversarial"])
    golden.expect_group("grad_natural", term_gradients(done, golden, hyper, "natural"))
    golden.expect_group("grad_adv", term_gradients(done, golden, hyper, "adversarial"))
    rgp = done.seen["rgp"]
    golden.expect_group("grad_total", rgp["total"])
    golden.expect_group("score", rgp["score"])
    expect_thresholds(golden, rgp["score"])
    golden.expect_group("mask", rgp["mask"])
    golden.expect_group("after/model", done.state())
    golden.expect_group("after/ema", done.state("revision"))
    kl_score = cure_iteration(golden, cure_hyper(golden, golden.hyper["alpha"], score_term="kl"))
    golden.expect_group("kl_score/mask", kl_score.seen["rgp"]["mask"])


def expect_attack(golden: Golden, name: str) -> None:
    entry = catalogue.entry("attacks", name)
    net, x, y = golden.network("model").eval(), golden.tensors["x"], golden.tensors["y"]
    golden.expect("logits/clean", net(x).detach())
    golden.expect("accuracy/clean", (net(x).argmax(1) == y).double().mean())
    for variant, settings in golden.hyper.items():
        search = {"eps": settings["eps"], "step": settings["step"], "steps": settings["steps"]}
        hyper = entry.Hyper(**search, start="uniform", clip_start=variant == "clipped_start")
        batch = Batch(x, y, torch.arange(len(y)), Recorded(golden.tensors[f"{variant}/start"]))
        x_adv = entry.attack(net, batch, hyper)
        z = net(x_adv).detach()
        golden.expect(f"{variant}/x_adv", x_adv)
        golden.expect(f"{variant}/logits/adv", z)
        golden.expect(f"{variant}/correct", z.argmax(1) == y)
        golden.expect(f"{variant}/accuracy/robust", (z.argmax(1) == y).double().mean())
        golden.expect(f"{variant}/loss/ce", cross_entropy(z, y).mean())
        golden.expect(f"{variant}/margin", margin(z, y))


def test_pgd20(golden: Golden) -> None:
    expect_attack(golden, "pgd")


def test_cw_pgd(golden: Golden) -> None:
    expect_attack(golden, "cw")


def test_nrr(golden: Golden) -> None:
    pairs = zip(golden.tensors["natural"].tolist(), golden.tensors["robust"].tolist(), strict=True)
    ours = torch.tensor([nrr(natural, robust) for natural, robust in pairs], dtype=torch.float64)
    golden.expect("nrr", ours)
    agrees = (ours - golden.tensors["printed"]).abs() <= 0.015
    golden.expect("printed_agrees", agrees)
    golden.excuse("natural", "robust", "printed")  # inputs, and what the papers print
