"""CURE's step, with and without a natural phase, against numbers of the published implementation, in float64."""

import dataclasses

import numpy as np
import torch

from cure.core.method import Batch, Gradients, Means, Networks
from tests.support.vectors import Golden, Iteration, method


def cure_hyper(golden: Golden, alpha: float, entry: str = "cure", **changes):
    masked = golden.hyper["masked_parameters"]
    settings = {
        "alpha": alpha,
        "beta": golden.hyper.get("beta", 0.0),
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
    return method(entry).Hyper(**(settings | changes))


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


def expect_natural_step(golden: Golden, done: Iteration) -> None:
    golden.expect("natural/logits/clean", done.forwards["student/train"][0])
    golden.expect("natural/loss/total", done.terms["natural"])
    golden.expect_group("natural/grad", done.gradients())
    golden.expect_group("natural/after/model", done.state())


def test_cure_eff(golden: Golden) -> None:
    h, eff = golden.hyper, method("cure_eff")
    both = h["w_nat"] + h["w_rob"]  # the released weights need not add up to one: the gradient is scaled below
    changes = {"objective": "alpha_ce", "score": "total", "gamma": h["gamma"] / both}
    changes["warm_up"] = h["global_step_before"] == 0  # the clock of ours starts at the switch
    hyper = cure_hyper(golden, h["w_nat"] / both, "cure_eff", begin=2, **changes)

    def combined(nets: Networks, batch: Batch, hyper, means: Means) -> Gradients | None:
        found = eff.combine_gradients(nets, batch, hyper, means)
        return found and {name: both * g for name, g in found.items()}

    weighted = dataclasses.replace(eff.METHOD, combine_gradients=combined)
    done = Iteration(golden, weighted, hyper, companions={"revision": golden.network("model")})
    expect_natural_step(golden, done)
    done.take(epoch=2, step=1)
    golden.expect("x_adv", done.x_adv)
    for prefix, network in (("", "student"), ("ema_", "revision")):
        clean, adv = done.forwards[f"{network}/train"]
        golden.expect(f"logits/{prefix}clean", clean)
        golden.expect(f"logits/{prefix}adv", adv)
    terms = done.terms
    golden.expect("loss/natural", terms["natural"])
    golden.expect("loss/robust", terms["adversarial"])
    weighted_losses = h["w_nat"] * terms["natural"] + h["w_rob"] * terms["adversarial"]
    golden.expect("loss/total", weighted_losses + h["gamma"] * (terms["revision_clean"] + terms["revision_adv"]))
    rgp = done.seen["rgp"]
    golden.expect_group("grad_total", {name: both * g for name, g in rgp["total"].items()})
    expect_thresholds(golden, {name: both * score for name, score in rgp["score"].items()})
    golden.expect_group("mask", rgp["mask"])
    golden.expect_group("after_step/model", done.state())
    golden.expect_group("copied/after/ema", done.state("revision"))
    expect_released_switch(golden, done)


def expect_released_switch(golden: Golden, done: Iteration) -> None:
    """What the released switch does besides: it shares weights, which shrinks them, and keeps old statistics."""
    factor = golden.hyper["shared_storage_factor"]
    golden.expect_group("after/model", {name: factor * t for name, t in done.state().items()})
    built, handed_over = golden.group("before/model"), golden.group("natural/after/model")
    for name in golden.group("after/ema"):
        late = handed_over[name] - built[name]  # ours start from the student's, of which two forwards leave 0.9^2
        ours = done.state("revision")[name]
        golden.expect(f"after/ema/{name}", ours - (0.81 * late if late.is_floating_point() else late))
