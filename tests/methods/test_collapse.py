"""Where its parameter is at its end, a method must become another one: the specs' conformance tests."""

import dataclasses
from typing import Any

import pytest
import torch

from cure import catalogue
from cure.core.method import Batch, Companion, Networks
from cure.core.noise import Stream
from cure.core.settings import Search
from cure.engine.checkpoint import build
from cure.engine.step import Step
from tests.methods.rig import assert_close, shipped

ATTACK = Search(eps=0.15, step=0.0375, steps=10, start="uniform", clip_start=True)


def method(name: str) -> Any:
    return catalogue.entry("methods", name)


def run(name: str, hyper: Any, epoch: int = 1, **companions: Any) -> tuple[dict[str, torch.Tensor], Batch, Networks]:
    """One step in float64 from one seed: the student's gradients, the batch and the networks."""
    torch.manual_seed(0)
    entry = method(name).METHOD
    draws = torch.Generator().manual_seed(1)
    x = torch.randint(256, (16, 1, 8, 8), generator=draws).double() / 255
    y = torch.randint(10, (16,), generator=draws)
    student = build("small", {"width": 4}, 1, 10)
    teachers = {role: build("small", {"width": 4}, 1, 10).double() for role in entry.teachers}
    built = entry.companions(hyper) if entry.companions else {}
    built |= {key: Companion(lambda student, net=net: net) for key, net in companions.items()}
    nets = Networks(student, built, teachers).double()
    nets.ready()
    optimizer = torch.optim.SGD(nets.weights().values(), lr=0.1)
    batch = Batch(x, y, torch.arange(16), Stream(0, torch.device("cpu")), epoch, 0, 0.1)
    Step(nets, entry, hyper, optimizer)(batch)
    weights = nets.student.named_parameters()
    return {key: w.grad.clone() for key, w in weights if w.grad is not None}, batch, nets


def at(**attack: Any) -> tuple[dict[str, torch.Tensor], Batch, Networks]:
    search = ATTACK.model_copy(update=attack)
    return run("at", method("at").Hyper(attack=search, forward_final=False, forward_clean=False))


def test_fat_with_all_patience_and_no_jitter_is_at() -> None:
    fat = method("fat").Hyper(attack=ATTACK, tau={1: 10}, omega=0, base="at", weight=0)
    grads, batch, _ = run("fat", fat)
    wanted, plain, _ = at()
    assert torch.equal(batch.x_adv, plain.x_adv)
    assert_close(grads, wanted)


def test_fat_without_patience_steps_only_images_that_are_still_right() -> None:
    fat = method("fat").Hyper(attack=ATTACK, tau={1: 0}, omega=0, base="at", weight=0)
    _, batch, _ = run("fat", fat)
    _, plain, _ = at()
    stopped = (batch.x_adv != plain.x_adv).flatten(1).any(dim=1)
    assert stopped.any()


@pytest.mark.parametrize(("base", "weight"), [("at", 0.0), ("trades", 6.0), ("mart", 5.0)])
def test_fat_with_a_base_is_that_base_when_nothing_stops(base: str, weight: float) -> None:
    fat = method("fat").Hyper(attack=ATTACK, tau={1: 10}, omega=0, base=base, weight=weight)
    plain = {
        "at": lambda: method("at").Hyper(attack=ATTACK, forward_final=False, forward_clean=False),
        "trades": lambda: method("trades").Hyper(attack=ATTACK, beta=weight),
        "mart": lambda: method("mart").Hyper(attack=ATTACK, lam=weight),
    }[base]()
    assert_close(run("fat", fat)[0], run(base, plain)[0])


def test_part_with_one_radius_is_at() -> None:
    part = method("part").Hyper(eps_low=0.15, begin=1, base="at", weight=0, attack=ATTACK)
    grads, batch, _ = run("part", part)
    wanted, plain, _ = at()
    assert torch.equal(batch.x_adv, plain.x_adv)
    assert_close(grads, wanted)


def test_part_keeps_unimportant_pixels_inside_the_lower_radius() -> None:
    part = method("part").Hyper(eps_low=0.05, begin=1, base="at", weight=0, attack=ATTACK)
    _, batch, _ = run("part", part)
    moved = (batch.x_adv - batch.x).abs()
    far = (moved > 0.05 + 1e-9).double().mean(dim=(1, 2, 3))
    assert moved.max() <= 0.15 + 1e-9
    assert (far <= batch.points["important"] + 1e-9).all()
    assert 0 < float(batch.points["important"].mean()) < 1


def test_part_before_its_first_masks_is_at() -> None:
    part = method("part").Hyper(eps_low=0.05, begin=2, base="at", weight=0, attack=ATTACK)
    assert torch.equal(run("part", part)[1].x_adv, at()[1].x_adv)


def test_a_class_activation_map_moves_with_its_image() -> None:
    net = build("small", {"width": 4}, 1, 10).eval()
    x = torch.rand(4, 1, 8, 8)
    cam = method("part").activation_map
    torch.testing.assert_close(cam(net, x.flip(3)).shape, cam(net, x).shape)
    assert cam(net, x).amin() >= 0
    assert cam(net, x).amax() <= 1 + 1e-6


def test_vfd_without_weight_on_features_is_at() -> None:
    vfd = method("vfd").Hyper(lam=0, distance="squared", base="at", weight=0, attack=ATTACK)
    assert_close(run("vfd", vfd)[0], at()[0])


@pytest.mark.parametrize("kind", ["squared", "cosine"])
def test_vfd_features_are_at_no_distance_from_themselves(kind: str) -> None:
    z = torch.rand(5, 7, dtype=torch.float64)
    assert method("vfd").distance(z, z, kind).abs().max() < 1e-12


class Decided(torch.nn.Module):
    """A strategy that always chooses the attack of this file."""

    def __init__(self, beta: float = 0.0) -> None:
        super().__init__()
        self.beta = beta

    def sample(self, x: torch.Tensor, noise: Any) -> Any:
        ones = torch.ones(len(x), dtype=x.dtype)
        return {"eps": 0.15 * ones, "step": 0.0375 * ones, "steps": 10 * ones, "beta": self.beta * ones}, None


def las(**changes: Any) -> Any:
    fixed = {"eps": [0.15], "step": [0.0375], "steps": [10], "label": 1.0, "strategy_lr": 0.0, "attack": ATTACK}
    return shipped("las_at").model_copy(update=fixed | changes)


def test_las_at_with_one_action_is_at_on_smoothed_labels() -> None:
    grads, batch, _ = run("las_at", las(), strategy=Decided())
    wanted, plain, _ = at()
    assert torch.equal(batch.x_adv, plain.x_adv)
    assert_close(grads, wanted)


def test_las_trades_with_one_action_is_trades() -> None:
    gaussian = ATTACK.model_copy(update={"start": "gaussian", "clip_start": False})
    grads, batch, _ = run("las_at", las(loss="trades", attack=gaussian), strategy=Decided(beta=6.0))
    wanted, plain, _ = run("trades", method("trades").Hyper(beta=6, attack=gaussian))
    torch.testing.assert_close(batch.x_adv, plain.x_adv)
    assert_close(grads, wanted)


def test_las_awp_with_one_action_is_awp() -> None:
    grads, _, nets = run("las_at", las(gamma=0.01), strategy=Decided())
    wanted, _, plain = run("awp", method("awp").Hyper(gamma=0.01, begin=1, base="at", weight=0, attack=ATTACK))
    assert_close(grads, wanted)
    assert_close(nets.student.state_dict(), plain.student.state_dict())


def test_the_outer_radius_of_las_awp_holds_whatever_was_chosen() -> None:
    _, batch, _ = run("las_at", las(outer=0.05), strategy=Decided())
    assert (batch.x_adv - batch.x).abs().max() <= 0.05 + 1e-9


def test_las_trades_chooses_beta_too() -> None:
    found = {name: las(loss=name) for name in ("at", "trades")}
    choices = {name: run("las_at", hyper)[2].strategy.choices for name, hyper in found.items()}
    assert set(choices["trades"]) - set(choices["at"]) == {"beta"}


def test_iad_before_it_begins_is_ard_at_temperature_one() -> None:
    search = ATTACK.model_copy(update={"bn": "train"})
    iad = shipped("iad").model_copy(update={"attack": search, "begin": 2, "variant": 1, "spare_forwards": False})
    ard = method("ard").Hyper(temperature=1, alpha=1, reduction="batch", clean_forward=True, attack=search)

    def shared(name: str, hyper: Any) -> Any:
        entry = method(name)
        only = dataclasses.replace(entry.METHOD, teachers=("teacher",))
        entry_method, entry.METHOD = entry.METHOD, only
        try:
            return run(name, hyper)
        finally:
            entry.METHOD = entry_method

    assert_close(shared("iad", iad)[0], shared("ard", ard)[0])


def test_iad_with_full_trust_leaves_the_self_term_without_weight() -> None:
    iad = shipped("iad").model_copy(update={"beta": 0.0, "begin": 1, "variant": 1})
    _, batch, _ = run("iad", iad)
    z = torch.randn(16, 10, dtype=torch.float64)
    assert torch.equal(method("iad").trust(z, batch, 0.0), torch.ones(16, dtype=torch.float64))


def test_mart_without_lambda_is_the_boosted_cross_entropy_alone() -> None:
    grads, batch, nets = run("mart", method("mart").Hyper(lam=0, attack=ATTACK))
    assert all(g.isfinite().all() for g in grads.values())
    terms = method("mart").loss(nets, batch, method("mart").Hyper(lam=0, attack=ATTACK))
    assert terms["robust"][0] == 0


def test_act_without_distillation_attacks_and_trains_like_at() -> None:
    act = method("act").Hyper(temperature=4, alpha_robust=0, alpha_natural=0, reduction="sum", attack=ATTACK)
    grads, batch, _ = run("act", act)
    wanted, plain, _ = at()
    assert torch.equal(batch.x_adv, plain.x_adv)
    assert_close(grads, wanted)


def test_a_strategy_learns_which_arm_pays() -> None:
    from cure.core.policy import Policy, reinforce

    torch.manual_seed(0)
    policy = Policy(build("small", {"width": 4}, 1, 10), 8, {"arm": [0.0, 1.0, 2.0]}).eval()
    x, noise = torch.rand(64, 1, 8, 8), Stream(0, torch.device("cpu"))
    before = float(policy(x)["arm"].detach().exp().mean(dim=0)[2])
    for _ in range(60):
        actions, log_pi = policy.sample(x[:1].expand(1, 1, 8, 8), noise)
        reinforce(log_pi, float(actions["arm"][0] == 2), list(policy.parameters()), lr=0.5, clip=1.0)
    assert float(policy(x)["arm"].detach().exp().mean(dim=0)[2]) > before + 0.1


def test_a_strategy_without_reward_stays() -> None:
    from cure.core.policy import Policy, reinforce

    policy = Policy(build("small", {"width": 4}, 1, 10), 8, {"arm": [0.0, 1.0]}).eval()
    before = [w.detach().clone() for w in policy.parameters()]
    _, log_pi = policy.sample(torch.rand(4, 1, 8, 8), Stream(0, torch.device("cpu")))
    reinforce(log_pi, 0.0, list(policy.parameters()), lr=1.0, clip=1.0)
    assert all(torch.equal(w, b) for w, b in zip(policy.parameters(), before, strict=True))


def test_looking_ahead_leaves_the_live_network_alone() -> None:
    hyper = shipped("las_at").model_copy(update={"every": 1})
    _, batch, nets = run("las_at", hyper)
    before = {key: t.clone() for key, t in nets.student.state_dict().items()}
    method("las_at").reward(nets, batch, hyper, batch.points["actions"])
    assert all(torch.equal(t, before[key]) for key, t in nets.student.state_dict().items())
