"""The baselines' own steps against numbers of their published implementations, in float64."""

import torch

from cure.methods.parts.base_losses import misclassified, smoothed_kl
from cure.methods.parts.predictor import head
from cure.nn.losses import boosted_cross_entropy
from tests.support.vectors import Golden, Iteration, Recorded, method


def test_mart(golden: Golden) -> None:
    mart = method("mart")
    done = Iteration(golden, mart.METHOD, mart.Hyper(lam=golden.hyper["lam"], attack=golden.search()))
    golden.expect("x_adv", done.x_adv)
    clean, adv = done.forwards["student/train"]
    golden.expect("logits/clean", clean)
    golden.expect("logits/adv", adv)
    golden.expect("runner_up", adv.scatter(1, done.batch.y[:, None], float("-inf")).argmax(1))
    golden.expect("per_sample/boosted", boosted_cross_entropy(adv, done.batch.y))
    golden.expect("per_sample/kl", smoothed_kl(clean, adv))
    golden.expect("per_sample/weight", misclassified(clean, done.batch.y))
    golden.expect("loss/boosted", done.terms["boosted"])
    golden.expect("loss/robust", done.terms["robust"])
    golden.expect("loss/total", done.terms["boosted"] + golden.hyper["lam"] * done.terms["robust"])
    golden.expect_group("grad", done.gradients())
    golden.expect_group("after/model", done.state())


def test_st_at(golden: Golden) -> None:
    st = method("st_at")
    noise = Recorded(golden.tensors["start_adv"], golden.tensors["start_col"])
    hyper = st.Hyper(beta=golden.hyper["beta"], attack=golden.search(bn="batch"))
    done = Iteration(golden, st.METHOD, hyper, noise=noise)
    golden.expect("roles", torch.stack([torch.stack(pair) for pair in done.history["roles"]]))
    golden.expect("x_adv", done.x_adv)
    golden.expect("x_col", done.batch.points["col"])
    for name, z in zip(("col", "clean", "adv"), done.forwards["student/train"][-3:], strict=True):
        golden.expect(f"logits/{name}", z)
    golden.expect("loss/natural", done.terms["natural"])
    golden.expect("loss/squeeze", done.terms["squeeze"])
    golden.expect("loss/total", done.terms["natural"] + golden.hyper["beta"] * done.terms["squeeze"])
    golden.expect_group("grad", done.gradients())
    golden.expect_group("after/model", done.state())


def test_act(golden: Golden) -> None:
    act, h = method("act"), golden.hyper
    hyper = act.Hyper(
        temperature=h["temperature"],
        alpha_robust=h["robust_alpha"],
        alpha_natural=h["natural_alpha"],
        reduction="sum",
        shared_start=False,
        attack=golden.search(),
    )
    peer = {"natural_peer": golden.network("natural")}
    done = Iteration(golden, act.METHOD, hyper, student="robust", companions=peer)
    golden.expect("x_adv", done.x_adv)
    golden.expect("logits/natural", done.forwards["natural_peer/train"][0])
    golden.expect("logits/robust", done.forwards["student/train"][0])
    for name in ("natural", "robust"):
        ce, kd, a = done.terms[name], done.terms[f"{name}_kd"], h[f"{name}_alpha"]
        golden.expect(f"loss/{name}_ce", ce)
        golden.expect(f"loss/{name}_kd", kd)
        golden.expect(f"loss/{name}_total", (1 - a) * ce + a * kd)
    for name, network in (("robust", "student"), ("natural", "natural_peer")):
        golden.expect_group(f"grad/{name}", done.gradients(network))
        golden.expect_group(f"after/{name}", done.state(network))


def test_ard(golden: Golden) -> None:
    ard, h = method("ard"), golden.hyper
    hyper = ard.Hyper(
        temperature=h["temperature"],
        alpha=h["alpha"],
        reduction="element",
        clean_forward=True,
        attack=golden.search(bn="train"),
    )
    teacher = {"teacher": golden.network("teacher")}
    done = Iteration(golden, ard.METHOD, hyper, student="student", teachers=teacher)
    golden.expect("x_adv", done.x_adv)
    golden.expect("logits/teacher_clean", done.forwards["teacher/eval"][0])
    adv, clean = done.forwards["student/train"][-2:]
    golden.expect("logits/adv", adv)
    golden.expect("logits/clean", clean)
    golden.expect("loss/distill", done.terms["distill"])
    golden.expect("loss/clean_ce", done.terms["natural"])
    golden.expect("loss/total", h["alpha"] * done.terms["distill"] + (1 - h["alpha"]) * done.terms["natural"])
    golden.expect_group("grad", done.gradients())
    golden.expect_group("after/student", done.state())


def iad(golden: Golden, variant: int, epoch: int) -> Iteration:
    h = golden.hyper
    hyper = method("iad").Hyper(
        variant=variant,
        beta=h["beta"],
        temperature=h["temperature"],
        alpha=h.get("alpha", 1.0),
        alpha1=h.get("alpha1", 0.5),
        alpha2=h.get("alpha2", 0.25),
        begin=2,
        weight_teacher=variant == 2,
        spare_forwards=True,
        attack=golden.search(bn="train"),
    )
    teachers = {"teacher": golden.network("teacher")}
    if variant == 2:
        teachers["natural"] = golden.network("natural")
    return Iteration(golden, method("iad").METHOD, hyper, student="student", teachers=teachers, epoch=epoch)


def expect_iad(golden: Golden, done: Iteration, prefix: str, names: dict[str, str]) -> None:
    for golden_name, term in names.items():
        golden.expect(f"{prefix}loss/{golden_name}", done.terms[term])
    golden.expect(f"{prefix}loss/total", done.total)
    golden.expect_group(f"{prefix}grad", done.gradients())


def test_iad_1(golden: Golden) -> None:
    done = iad(golden, 1, epoch=2)
    golden.expect("x_adv", done.x_adv)
    clean_view, adv_view = done.forwards["teacher/eval"]
    golden.expect("logits/teacher_clean", clean_view)
    golden.expect("logits/teacher_adv", adv_view)
    golden.expect("trust", done.seen["trust"].detach())
    golden.expect("logits/adv", done.forwards["student/train"][-4])
    golden.expect("logits/clean", done.forwards["student/train"][-1])
    expect_iad(golden, done, "", {"teacher": "teacher", "clean_ce": "natural_ce", "self": "self"})
    golden.expect_group("after/student", done.state())
    expect_iad(golden, iad(golden, 1, epoch=1), "warmup/", {"teacher": "teacher", "clean_ce": "natural_ce"})


def test_iad_2(golden: Golden) -> None:
    done = iad(golden, 2, epoch=2)
    t2 = golden.hyper["temperature"] ** 2
    golden.expect("x_adv", done.x_adv)
    golden.expect("logits/teacher_adv", done.forwards["teacher/eval"][0])
    golden.expect("logits/natural_adv", done.forwards["natural/eval"][0])
    golden.expect("trust", done.seen["trust"].detach())
    adv, clean = done.forwards["student/train"][-2:]
    golden.expect("logits/adv", adv)
    golden.expect("logits/clean", clean)
    golden.expect("loss/teacher", done.terms["teacher"] / t2)  # the file gives it before the factor T^2
    expect_iad(golden, done, "", {"adv_ce": "adv_ce", "natural": "natural", "self": "self"})
    golden.expect_group("after/student", done.state())
    warm = iad(golden, 2, epoch=1)
    golden.expect("warmup/loss/teacher", warm.terms["teacher"] / t2)
    expect_iad(golden, warm, "warmup/", {"adv_ce": "adv_ce", "natural": "natural"})


def test_ar_at(golden: Golden) -> None:
    arat, h = method("arat"), golden.hyper
    settings = {"gamma": h["gamma"], "p": h["p"], "taps": h["taps"], "balance_images": None, "start_in_place": False}
    parts = dict.fromkeys(("stop_gradient", "split_batchnorm", "predictor"), True)
    hyper = arat.Hyper(**settings, **parts, attack=golden.search(bn="train"))
    predictor = torch.nn.ModuleDict(
        {tap: head(golden.tensors[f"before/predictor/{tap}.0.weight"].shape[1]) for tap in h["taps"]}
    ).double()
    predictor.load_state_dict(golden.group("before/predictor"))
    past = {"clean_accuracy": h["a"]}
    done = Iteration(golden, arat.METHOD, hyper, companions={"predictor": predictor}, past=past)
    golden.expect("x_adv", done.x_adv)
    clean, adv = done.forwards["student/train"][-2:]
    golden.expect("logits/clean", clean)
    golden.expect("logits/adv", adv)
    for tap in h["taps"]:
        golden.expect(f"feature/clean/{tap}", done.seen["features"]["clean"][tap].detach())
        golden.expect(f"feature/adv/{tap}", done.seen["features"]["adv"][tap].detach())
        golden.expect(f"loss/align/{tap}", done.terms[f"align_{tap}"])
    golden.expect("loss/adv_ce", done.terms["adv"])
    golden.expect("loss/clean_ce", done.terms["clean"])
    golden.expect("loss/total", done.total)
    for name, network in (("model", "student"), ("predictor", "predictor")):
        golden.expect_group(f"grad/{name}", done.gradients(network))
        golden.expect_group(f"after/{name}", done.state(network))
