"""Methods that wrap a base (AWP, FAT, PART) against numbers of their published implementations, in float64."""

import torch

from cure.methods.parts.cam import grad_cam
from cure.nn.losses import cross_entropy, kl
from cure.settings.base import Search
from tests.support.vectors import Golden, Iteration, Recorded, method


def perturbed(golden: Golden, base: str, weight: float, search: Search, **forwards: bool) -> Iteration:
    """One step of AWP around `base`; of the forwards that only move statistics those that are named."""
    hyper = {"gamma": golden.hyper["awp_gamma"], "begin": 1, "base": base, "weight": weight, "attack": search}
    hyper |= {"forward_again": False, "forward_final": False, "forward_clean": False} | forwards
    return Iteration(golden, method("awp").METHOD, method("awp").Hyper(**hyper))


def expect_perturbed_step(golden: Golden, done: Iteration) -> None:
    golden.expect("x_adv", done.x_adv)
    done.expect_weight_perturbation(golden, golden.hyper["awp_gamma"])
    golden.expect_group("grad", done.gradients())


def test_awp_at(golden: Golden) -> None:
    search = golden.search(bn="train")
    done = perturbed(golden, "at", 0, search, forward_final=True)
    expect_perturbed_step(golden, done)
    proxy, adv = done.forwards["student/train"][-2:]
    golden.expect("logits/proxy", proxy)
    golden.expect("loss/proxy", done.terms["robust"])
    golden.expect("logits/adv", adv)
    golden.expect("loss/total", cross_entropy(adv, done.y).mean())
    golden.expect_group("after/model", done.state())
    logged = perturbed(golden, "at", 0, search, forward_final=True, forward_clean=True)
    golden.expect("logits/clean_after_step", logged.forwards["student/train"][-1])
    golden.expect_group("after_logging/model", logged.state())


def test_awp_trades(golden: Golden) -> None:
    beta = golden.hyper["beta"]
    released = perturbed(golden, "trades", beta, golden.search(), forward_again=True)
    expect_perturbed_step(golden, released)
    proxy_adv, proxy_clean, _, adv, clean, again = released.forwards["student/train"]
    golden.expect("logits/proxy_clean", proxy_clean)
    golden.expect("logits/proxy_adv", proxy_adv)
    golden.expect("loss/proxy", released.terms["natural"] + beta * released.terms["robust"])
    golden.expect("logits/adv", adv)
    golden.expect("logits/clean", clean)
    golden.expect("logits/clean", again)
    natural, robust = cross_entropy(clean, released.y).mean(), kl(clean, adv).mean()
    golden.expect("loss/natural", natural)
    golden.expect("loss/robust", robust)
    golden.expect("loss/total", natural + beta * robust)
    golden.expect_group("after/model", released.state())
    merged = perturbed(golden, "trades", beta, golden.search())
    golden.expect_group("merged/after/model", merged.state())


def part_step(golden: Golden, masks: str) -> Iteration:
    part, h = method("part"), golden.hyper
    settings = {"eps_low": h["eps_low"], "masks": masks, "begin": 1, "base": "at", "weight": 0, "forward_again": False}
    return Iteration(golden, part.METHOD, part.Hyper(attack=golden.search(), **settings))


def test_part(golden: Golden) -> None:
    net, x = golden.network("model").eval(), golden.tensors["x"]
    golden.expect("cam/class", net(x).argmax(dim=1))
    golden.expect("cam/map", grad_cam(net, x)[:, 0])
    done = part_step(golden, "released")
    golden.expect("mask", done.seen["masks"]["full"])
    golden.expect("x_adv", done.x_adv)
    golden.expect("logits/adv", done.forwards["student/train"][-1])
    golden.expect("loss/total", done.terms["robust"])
    golden.expect_group("grad", done.gradients())
    golden.expect_group("after/model", done.state())
    own = part_step(golden, "own")
    golden.expect("grey/mask", own.seen["masks"]["full"])
    golden.expect("grey/x_adv", own.x_adv)


def friendly(golden: Golden, tau: int, base: str, weight: float) -> Iteration:
    """One step of FAT with patience `tau`; the steps that each image took are compared."""
    fat, y = method("fat"), golden.tensors["y"]
    settings = {"tau": {1: tau}, "omega": golden.hyper["omega"], "base": base, "weight": weight, "forward_again": False}
    noise = Recorded(golden.tensors["start"], jitter=golden.tensors["jitter"])
    done = Iteration(golden, fat.METHOD, fat.Hyper(attack=golden.search(), **settings), noise=noise)
    golden.expect(f"tau{tau}/x_adv", done.x_adv)
    golden.expect_group(f"tau{tau}/grad", done.gradients())
    golden.expect_group(f"tau{tau}/after/model", done.state())
    stop, live, steps = fat.Patience(done.batch, tau), torch.ones_like(y, dtype=torch.bool), torch.zeros_like(y)
    for z in done.forwards["student/eval"][-golden.hyper["steps"] :]:
        live &= ~stop(z)
        steps += live
    golden.expect(f"tau{tau}/steps_taken", steps)
    golden.expect(f"tau{tau}/emit_order", torch.argsort(steps, stable=True))
    if f"tau{tau}/backward_count" in golden.tensors:
        golden.expect(f"tau{tau}/backward_count", steps.sum())
    return done


def test_fat(golden: Golden) -> None:
    for tau in golden.hyper["taus"]:
        done = friendly(golden, tau, "at", 0)
        golden.expect(f"tau{tau}/logits/adv", done.forwards["student/train"][0])
        golden.expect(f"tau{tau}/loss/total", done.terms["robust"])


def test_fat_trades(golden: Golden) -> None:
    beta = golden.hyper["beta"]
    for tau in golden.hyper["taus"]:
        done = friendly(golden, tau, "trades", beta)
        clean, adv = done.forwards["student/train"]
        golden.expect(f"tau{tau}/logits/clean", clean)
        golden.expect(f"tau{tau}/logits/adv", adv)
        golden.expect(f"tau{tau}/loss/natural", done.terms["natural"])
        golden.expect(f"tau{tau}/loss/robust", done.terms["robust"])
        golden.expect(f"tau{tau}/loss/total", done.terms["natural"] + beta * done.terms["robust"])
