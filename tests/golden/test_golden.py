"""The product's own step and attacks against numbers of the published implementations, in float64."""

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
