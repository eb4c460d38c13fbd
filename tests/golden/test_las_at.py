"""LAS-AT's target step under recorded strategies against numbers of the published implementation, in float64."""

import torch

from cure.nn.losses import cross_entropy, kl, smoothed_cross_entropy
from tests.support.vectors import Golden, Iteration, Recorded, method


class Decided(torch.nn.Module):
    """A strategy that was recorded."""

    def __init__(self, golden: Golden) -> None:
        super().__init__()
        chosen = {name: t.double() for name, t in golden.group("strategy").items()}
        self.actions = {"eps": chosen["eps255"] / 255, "step": chosen["step255"] / 255, "steps": chosen["steps"]}
        if "beta" in chosen:
            self.actions["beta"] = chosen["beta"]

    def sample(self, x: torch.Tensor, noise: Recorded) -> tuple[dict[str, torch.Tensor], None]:
        return self.actions, None


def target_step(golden: Golden, start: str, **changes) -> Iteration:
    """One step of the student; the strategy is an input and learns nothing."""
    las, eps = method("las_at"), golden.hyper.get("start_eps", 1)
    settings = {
        "loss": "at",
        "beta": [0],
        "gamma": 0,
        "outer": 1,
        "label": 1,
        "forward_again": False,
        "eps": [eps],
        "step": [eps],
        "steps": [1],
        "attack": golden.search(start, eps=eps, step=eps, steps=1),
        "every": 1,
        "strategy_lr": 0,
        "strategy_drops": {},
        "strategy_momentum": 0,
        "strategy_weight_decay": 0,
        "baseline": None,
        "clip": 1,
        "most": 10,
        "restarts": 1,
        "until_wrong": False,
        "c2": 0,
        "c3": 0,
        "weight_decay": 0,
    }
    golden.excuse("strategy/")  # inputs
    return Iteration(golden, las.METHOD, las.Hyper(**(settings | changes)), companions={"strategy": Decided(golden)})


def test_las_at(golden: Golden) -> None:
    label = golden.hyper["label_of_true_class"]
    done = target_step(golden, "uniform, clipped", label=label)
    golden.expect("x_adv", done.x_adv)
    golden.expect("logits/adv", done.forwards["student/train"][-1])
    golden.expect("loss/total", done.terms["robust"])
    golden.expect_group("grad", done.gradients())
    golden.expect_group("after/model", done.state())
    y, k = golden.tensors["y"], golden.about["network"]["classes"]
    uniform = torch.zeros(len(y), k, dtype=torch.float64, requires_grad=True)
    smoothed_cross_entropy(uniform, y, label).sum().backward()  # at uniform p the gradient is p - t
    golden.expect("smoothed_labels", 1 / k - uniform.grad)


def test_las_trades(golden: Golden) -> None:
    done = target_step(golden, golden.hyper["start"], loss="trades")
    golden.expect("x_adv", done.x_adv)
    clean, adv = done.forwards["student/train"]
    golden.expect("logits/clean", clean)
    golden.expect("logits/adv", adv)
    golden.expect("per_sample/kl", kl(clean, adv))
    golden.expect("loss/natural", cross_entropy(clean, done.y).mean())
    golden.expect("loss/robust", (golden.tensors["strategy/beta"] * kl(clean, adv)).mean())
    golden.expect("loss/total", done.terms["robust"])
    golden.expect_group("grad", done.gradients())
    golden.expect_group("after/model", done.state())


def test_las_awp(golden: Golden) -> None:
    changes = {"gamma": golden.hyper["awp_gamma"], "outer": golden.hyper["eps"]}
    done = target_step(golden, "uniform, clipped", **changes)
    golden.expect("x_adv", done.x_adv)
    done.expect_weight_perturbation(golden, changes["gamma"])
    golden.expect("loss/proxy", done.terms["robust"])
    proxy, adv = done.forwards["student/train"]
    golden.expect("logits/proxy", proxy)
    golden.expect("logits/adv", adv)
    golden.expect("loss/total", cross_entropy(adv, done.y).mean())
    golden.expect_group("grad", done.gradients())
    golden.expect_group("after/model", done.state())
    done.nets.student.train()(done.x)  # the released log's forward, which LAS-AT leaves out
    golden.expect_group("after_logging/model", done.state())
