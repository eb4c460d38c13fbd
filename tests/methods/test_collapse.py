"""Where its parameter is at its end, a method must become another one: the specs' conformance tests."""

import copy
import dataclasses
from typing import Any

import pytest
import torch

from cure import catalogue
from cure.core.method import Batch, Companion, Networks, TrainingPosition
from cure.core.noise import Stream
from cure.methods.parts.cam import above_mean, grad_cam
from cure.methods.parts.policy import Learning, Policy, advantage, learn, reinforce
from cure.methods.parts.priors import ClassPriors
from cure.nn.losses import distillation, smoothed_cross_entropy
from cure.settings.base import Search
from cure.storage.checkpoint import build
from cure.training.step import Step
from tests.support.method_harness import assert_close, shipped

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
    built |= {
        key: dataclasses.replace(built.get(key, Companion(copy.deepcopy)), build=lambda student, net=net: net)
        for key, net in companions.items()
    }
    nets = Networks(student, built, teachers).double()
    nets.ready()
    optimizer = torch.optim.SGD(nets.weights().values(), lr=0.1)
    batch = Batch(x, y, torch.arange(16), Stream(0, torch.device("cpu")), TrainingPosition(epoch, 0, 0.1))
    Step(nets, entry, hyper, optimizer)(batch)
    weights = nets.student.named_parameters()
    return {key: w.grad.clone() for key, w in weights if w.grad is not None}, batch, nets


def fresh() -> Any:
    """The student as `run` has it before the step."""
    torch.manual_seed(0)
    return build("small", {"width": 4}, 1, 10).double()


def at(**attack: Any) -> tuple[dict[str, torch.Tensor], Batch, Networks]:
    search = ATTACK.model_copy(update=attack)
    return run("at", method("at").Hyper(attack=search, forward_final=False, forward_clean=False))


def test_fat_with_all_patience_and_no_jitter_is_at() -> None:
    fat = method("fat").Hyper(attack=ATTACK, forward_again=False, tau={1: 10}, omega=0, base="at", weight=0)
    grads, batch, _ = run("fat", fat)
    wanted, plain, _ = at()
    assert torch.equal(batch.x_adv, plain.x_adv)
    assert_close(grads, wanted)


def test_fat_without_patience_ends_at_the_first_wrong_iterate_or_after_all_steps() -> None:
    torch.manual_seed(0)
    net = build("small", {"width": 4}, 1, 10).double().eval()
    x = torch.rand(32, 1, 8, 8, dtype=torch.float64)
    y = net(x).argmax(dim=1)  # all are right at first
    y[:4] = (y[:4] + 1) % 10
    fat = method("fat").Hyper(attack=ATTACK, forward_again=False, tau={1: 0}, omega=0, base="at", weight=0)
    nets = Networks(net, {}, {})

    def search(hyper: Any, name: str) -> torch.Tensor:
        batch = Batch(x, y, torch.arange(32), Stream(0, torch.device("cpu")))
        found: torch.Tensor = method(name).attack(nets.eval(), batch, hyper)["adv"]
        return found

    emitted = search(fat, "fat")
    plain = search(method("at").Hyper(attack=ATTACK, forward_final=False, forward_clean=False), "at")
    wrong = net(emitted).argmax(dim=1) != y
    whole = (emitted == plain).flatten(1).all(dim=1)
    assert (wrong | whole).all()
    assert (wrong & ~whole).any()


@pytest.mark.parametrize(("base", "weight"), [("at", 0.0), ("trades", 6.0), ("mart", 5.0)])
def test_fat_with_a_base_is_that_base_when_nothing_stops(base: str, weight: float) -> None:
    fat = method("fat").Hyper(attack=ATTACK, forward_again=False, tau={1: 10}, omega=0, base=base, weight=weight)
    plain = {
        "at": lambda: method("at").Hyper(attack=ATTACK, forward_final=False, forward_clean=False),
        "trades": lambda: method("trades").Hyper(attack=ATTACK, beta=weight, forward_again=False),
        "mart": lambda: method("mart").Hyper(attack=ATTACK, lam=weight),
    }[base]()
    assert_close(run("fat", fat)[0], run(base, plain)[0])


def test_part_with_one_radius_is_at() -> None:
    part = method("part").Hyper(
        eps_low=0.15, begin=1, masks="own", base="at", weight=0, forward_again=False, attack=ATTACK
    )
    grads, batch, _ = run("part", part)
    wanted, plain, _ = at()
    assert torch.equal(batch.x_adv, plain.x_adv)
    assert_close(grads, wanted)


def test_part_keeps_unimportant_pixels_inside_the_lower_radius() -> None:
    part = method("part").Hyper(
        eps_low=0.05, begin=1, masks="own", base="at", weight=0, forward_again=False, attack=ATTACK
    )
    _, batch, _ = run("part", part)
    moved = (batch.x_adv - batch.x).abs()
    far = (moved > 0.05 + 1e-9).double().mean(dim=(1, 2, 3))
    assert moved.max() <= 0.15 + 1e-9
    assert (far <= batch.points["important"] + 1e-9).all()
    assert 0 < float(batch.points["important"].mean()) < 1


def test_part_before_its_first_masks_is_at() -> None:
    part = method("part").Hyper(
        eps_low=0.05, begin=2, masks="own", base="at", weight=0, forward_again=False, attack=ATTACK
    )
    assert torch.equal(run("part", part)[1].x_adv, at()[1].x_adv)


def symmetric() -> Any:
    """A network that cannot tell left from right: mirrored kernels, no stride."""
    torch.manual_seed(0)
    net = build("small", {"width": 4}, 1, 10).double().eval()
    net.layer1.conv1.stride = (1, 1)
    with torch.no_grad():
        for block in (net.stem, net.layer1, net.layer2):
            block.conv1.weight.copy_((block.conv1.weight + block.conv1.weight.flip(3)) / 2)
    return net


def test_a_class_activation_map_belongs_to_its_image_and_turns_with_it() -> None:
    net = symmetric()

    def cam(net: Any, x: torch.Tensor) -> torch.Tensor:
        return above_mean(grad_cam(net, x), x)[0]

    x, order = torch.rand(6, 1, 8, 8, dtype=torch.float64), torch.tensor([3, 1, 5, 0, 2, 4])
    found = cam(net, x)
    assert (found.amin(), found.amax()) == pytest.approx((0, 1))
    assert not torch.allclose(found[0], found[1])
    torch.testing.assert_close(cam(net, x[order]), found[order])
    torch.testing.assert_close(cam(net, x.flip(3)), found.flip(3))


def test_under_mean_pooling_the_map_is_the_classifiers_row_times_the_features() -> None:
    net = symmetric()
    x = torch.rand(6, 1, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        features, classify = net.map_and_rest(x)
        weights = net.linear.weight[classify(features).argmax(dim=1)]
        plain = (weights[:, :, None, None] * features).sum(dim=1, keepdim=True).relu()
        low, high = plain.amin(dim=(2, 3), keepdim=True), plain.amax(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(grad_cam(net, x), (plain - low) / (high - low))


def test_vfd_without_weight_on_features_is_at() -> None:
    vfd = method("vfd").Hyper(
        lam=0, layer="pooled", distance="squared", start="random", base="at", weight=0, attack=ATTACK
    )
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
    gaussian = ATTACK.model_copy(update={"start": "gaussian", "sigma": 0.001, "clip_start": False})
    grads, batch, _ = run("las_at", las(loss="trades", attack=gaussian), strategy=Decided(beta=6.0))
    wanted, plain, _ = run("trades", method("trades").Hyper(beta=6, forward_again=False, attack=gaussian))
    torch.testing.assert_close(batch.x_adv, plain.x_adv)
    assert_close(grads, wanted)


def test_las_awp_with_one_action_is_awp() -> None:
    grads, _, nets = run("las_at", las(gamma=0.01), strategy=Decided())
    wanted, _, plain = run("awp", shipped("awp").model_copy(update={"gamma": 0.01, "attack": ATTACK}))
    assert_close(grads, wanted)
    assert_close(nets.student.state_dict(), plain.student.state_dict())


def test_the_outer_radius_of_las_awp_holds_whatever_was_chosen() -> None:
    _, batch, _ = run("las_at", las(outer=0.05), strategy=Decided())
    assert (batch.x_adv - batch.x).abs().max() <= 0.05 + 1e-9


def test_las_trades_chooses_beta_too() -> None:
    found = {name: las(loss=name) for name in ("at", "trades")}
    choices = {name: run("las_at", hyper)[2].strategy.choices for name, hyper in found.items()}
    assert set(choices["trades"]) - set(choices["at"]) == {"beta"}


def test_smoothed_labels_keep_their_share_and_spread_the_rest() -> None:
    z, y = torch.randn(5, 10, dtype=torch.float64), torch.tensor([0, 3, 9, 9, 1])
    target = torch.full((5, 10), 0.3 / 9, dtype=torch.float64).scatter(1, y[:, None], 0.7)
    wanted = torch.nn.functional.cross_entropy(z, target, reduction="none")
    torch.testing.assert_close(smoothed_cross_entropy(z, y, 0.7), wanted)


def test_distillation_at_great_temperature_is_the_squared_error_of_centred_logits() -> None:
    p, q = (torch.randn(8, 10, dtype=torch.float64) for _ in range(2))
    d = (p - q) - (p - q).mean(dim=1, keepdim=True)
    torch.testing.assert_close(distillation(p, q, 1e3), d.square().sum(dim=1) / 20, rtol=1e-2, atol=1e-3)


def with_one_teacher(name: str, hyper: Any) -> dict[str, torch.Tensor]:
    """Gradients where only the robust teacher is built, so that methods with one and with two draw the same."""
    entry = method(name)
    whole, entry.METHOD = entry.METHOD, dataclasses.replace(entry.METHOD, teachers=("teacher",))
    try:
        return run(name, hyper)[0]
    finally:
        entry.METHOD = whole


@pytest.mark.parametrize("changes", [{"begin": 2}, {"begin": 1, "beta": 0.0}])
def test_iad_before_it_begins_or_with_full_trust_is_ard_at_temperature_one(changes: dict[str, Any]) -> None:
    search = ATTACK.model_copy(update={"bn": "train"})
    iad = shipped("iad").model_copy(update={"attack": search, "variant": 1, "spare_forwards": False} | changes)
    ard = method("ard").Hyper(temperature=1, alpha=1, reduction="batch", clean_forward=True, attack=search)
    assert_close(with_one_teacher("iad", iad), with_one_teacher("ard", ard))


@pytest.mark.parametrize("weight_teacher", [False, True])
def test_iad_two_with_full_trust_is_what_it_is_before_it_begins(weight_teacher: bool) -> None:
    two = shipped("iad").model_copy(update={"variant": 2, "weight_teacher": weight_teacher})
    early = run("iad", two.model_copy(update={"begin": 2}))[0]
    assert_close(run("iad", two.model_copy(update={"begin": 1, "beta": 0.0}))[0], early)


def test_mart_without_lambda_is_the_boosted_cross_entropy_alone() -> None:
    grads, batch, nets = run("mart", method("mart").Hyper(lam=0, attack=ATTACK))
    assert all(g.isfinite().all() for g in grads.values())
    terms = method("mart").loss(nets, batch, method("mart").Hyper(lam=0, attack=ATTACK))
    assert terms["robust"][0] == 0


def test_act_without_distillation_attacks_and_trains_like_at() -> None:
    act = method("act").Hyper(
        temperature=4, alpha_robust=0, alpha_natural=0, reduction="sum", shared_start=False, attack=ATTACK
    )
    grads, batch, _ = run("act", act)
    wanted, plain, _ = at()
    assert torch.equal(batch.x_adv, plain.x_adv)
    assert_close(grads, wanted)


def test_the_natural_peer_of_act_without_distillation_trains_naturally() -> None:
    act = method("act").Hyper(
        temperature=4, alpha_robust=0.5, alpha_natural=0, reduction="sum", shared_start=False, attack=ATTACK
    )
    torch.manual_seed(1)
    peer = build("small", {"width": 4}, 1, 10).double()
    wanted_of = copy.deepcopy(peer)
    _, batch, _ = run("act", act, natural_peer=peer)
    torch.nn.functional.cross_entropy(wanted_of(batch.x), batch.y).backward()
    found, wanted = ({key: w.grad for key, w in net.named_parameters()} for net in (peer, wanted_of))
    assert_close(found, wanted)


def test_at_ema_trains_like_at() -> None:
    grads, batch, _ = run("at_ema", method("at_ema").Hyper(attack=ATTACK))
    wanted, plain, _ = at()
    assert torch.equal(batch.x_adv, plain.x_adv)
    assert_close(grads, wanted)


def test_hat_without_helper_loss_is_trades_with_one_more_update_of_the_statistics() -> None:
    grads, batch, nets = run("hat", method("hat").Hyper(h=2, beta=6, gamma=0, attack=ATTACK))
    wanted, plain, other = run("trades", method("trades").Hyper(beta=6, forward_again=False, attack=ATTACK))
    assert torch.equal(batch.x_adv, plain.x_adv)
    assert_close(grads, wanted)
    updates = [int(n.student.state_dict()["stem.bn1.num_batches_tracked"]) for n in (nets, other)]
    assert updates == [3, 2]


def ikl(**changes: Any) -> Any:
    fixed = {"awp_gamma": 0.0, "ramp": False, "attack": ATTACK}
    return shipped("ikl_at").model_copy(update=fixed | changes)


def priors(uniform: bool) -> ClassPriors:
    """Priors whose rows sum to one."""
    found = ClassPriors(build("small", {"width": 4}, 1, 10))
    if not uniform:
        found.rows.copy_(torch.randn(10, 10, generator=torch.Generator().manual_seed(2)).softmax(dim=1))
    return found


@pytest.mark.parametrize(("uniform", "gamma"), [(False, 1 + 1e-9), (True, 0.2)])
def test_gkl_is_ikl_at_gamma_one_and_at_any_gamma_where_classes_are_alike(uniform: bool, gamma: float) -> None:
    found, wanted = (run("ikl_at", ikl(gamma=g), priors=priors(uniform))[0] for g in (gamma, 1.0))
    assert_close(found, wanted)
    if not uniform:
        other = run("ikl_at", ikl(gamma=0.2), priors=priors(uniform))[0]
        assert not torch.allclose(other["linear.weight"], wanted["linear.weight"])


def test_ikl_without_its_squared_part_is_the_divergence_from_a_fixed_target() -> None:
    grads, batch, _ = run("ikl_at", ikl(alpha=4.0, beta=0.0))
    plain = run("trades", method("trades").Hyper(beta=4, forward_again=False, attack=ATTACK))[1]
    assert torch.equal(batch.x_adv, plain.x_adv)
    net = fresh()
    clean, adv = net(batch.x), net(batch.x_adv)
    target = clean.detach().softmax(dim=1)
    divergence = torch.nn.functional.kl_div(adv.log_softmax(dim=1), target, reduction="batchmean")
    (torch.nn.functional.cross_entropy(clean, batch.y) + 4 * divergence).backward()
    assert_close(grads, {key: w.grad for key, w in net.named_parameters()})


def test_generalist_with_the_robust_expert_alone_is_at_with_an_average_of_its_average() -> None:
    alone = {"beta": {1: 1.0}, "begin": 1000, "attack": ATTACK}
    grads, batch, nets = run("generalist", shipped("generalist").model_copy(update=alone))
    wanted, plain, other = at()
    assert torch.equal(batch.x_adv, plain.x_adv)
    assert_close(grads, wanted)
    first, last = fresh().state_dict(), other.student.state_dict()
    for key in [key for key, value in first.items() if value.is_floating_point()]:
        average = 0.1 * first[key] + 0.9 * last[key]  # 0.1 = (t + 1) / (t + 10) in the first step
        torch.testing.assert_close(nets.average_robust.state_dict()[key], average)
        torch.testing.assert_close(nets.mixed.state_dict()[key], 0.1 * first[key] + 0.9 * average)


def with_threat_defaults(arms: int, **changes: Any) -> tuple[Policy, Learning]:
    """A policy over so many arms, and how it learns."""
    torch.manual_seed(0)
    plain = {
        "every": 1,
        "strategy_lr": 0.5,
        "strategy_drops": {},
        "strategy_momentum": 0,
        "strategy_weight_decay": 0,
        "clip": 1,
    }
    how = Learning.model_validate(plain | {"baseline": None} | changes)
    trunk = build("small", {"width": 4}, 1, 10)
    return Policy(trunk, 8, {"arm": [float(i) for i in range(arms)]}).remember(how).eval(), how


@pytest.mark.parametrize("changes", [{}, {"baseline": 0.9}, {"strategy_momentum": 0.5}])
def test_a_strategy_learns_which_arm_pays(changes: dict[str, Any]) -> None:
    policy, how = with_threat_defaults(3, **changes)
    x, noise = torch.rand(64, 1, 8, 8), Stream(0, torch.device("cpu"))
    before = float(policy(x)["arm"].detach().exp().mean(dim=0)[2])
    for updates in range(60):
        actions, log_pi = policy.sample(x[:1].expand(1, 1, 8, 8), noise)
        reward = (actions["arm"][0] == 2).float()
        reinforce(policy, log_pi, advantage(policy, reward, updates, how.baseline), how, how.strategy_lr)
    assert float(policy(x)["arm"].detach().exp().mean(dim=0)[2]) > before + 0.1


def test_a_strategy_without_reward_stays() -> None:
    policy, how = with_threat_defaults(2, strategy_lr=1.0)
    before = [w.detach().clone() for w in policy.parameters()]
    _, log_pi = policy.sample(torch.rand(4, 1, 8, 8), Stream(0, torch.device("cpu")))
    reinforce(policy, log_pi, 0.0, how, how.strategy_lr)
    assert all(torch.equal(w, b) for w, b in zip(policy.parameters(), before, strict=True))


@pytest.mark.parametrize("clip", [1e-3, 1e3])
def test_a_strategys_step_is_pytorchs_sgd_on_the_clipped_gradient(clip: float) -> None:
    policy, how = with_threat_defaults(3, strategy_momentum=0.9, strategy_weight_decay=5e-4, clip=clip)
    plain = copy.deepcopy(policy)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.5, momentum=0.9, weight_decay=5e-4)
    for seed, rate in enumerate((0.5, 0.5, 0.05)):
        x, optimizer.param_groups[0]["lr"] = torch.rand(4, 1, 8, 8), rate
        for net in (policy, plain):
            _, log_pi = net.sample(x, Stream(seed, torch.device("cpu")))
            if net is policy:
                reinforce(policy, log_pi, 2.0, how, rate)
            else:
                for w in plain.parameters():  # SGD skips weights without one: the trunk's classifier
                    w.grad = torch.zeros_like(w)
                (-2.0 * log_pi.mean()).backward()
                torch.nn.utils.clip_grad_norm_(plain.parameters(), clip)
                optimizer.step()
    assert_close(dict(policy.named_parameters()), dict(plain.named_parameters()))


def test_a_strategys_rate_falls_at_its_own_epochs_and_is_used_at_every_nth_step() -> None:
    moved = {}
    for epoch, step in ((1, 0), (2, 6), (2, 7)):
        policy, how = with_threat_defaults(3, every=3, strategy_drops={2: 0.1})
        before = {name: w.detach().clone() for name, w in policy.named_parameters()}
        x, y = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4)
        batch = Batch(x, y, y, Stream(0, torch.device("cpu")), TrainingPosition(epoch, step))
        learn(policy, batch, how, lambda actions: torch.tensor(2.0))
        moved[step] = {name: w.detach() - before[name] for name, w in policy.named_parameters()}
    assert any(move.any() for move in moved[0].values())
    for name, move in moved[0].items():
        torch.testing.assert_close(moved[6][name], 0.1 * move, rtol=1e-3, atol=1e-7)
        assert not moved[7][name].any()


def test_the_baseline_is_the_running_mean_of_the_rewards_and_outlives_the_process() -> None:
    policy, _ = with_threat_defaults(2, baseline=0.75)
    rewards, mean = [3.0, 5.0, 1.0, 2.0, 8.0, 4.0], 0.0
    for updates, reward in enumerate(rewards):
        decay = min(0.75, updates / (updates + 1))
        mean = decay * mean + (1 - decay) * reward
        found = advantage(policy, torch.tensor(reward), updates, 0.75)
        assert float(found) == pytest.approx(reward - mean, abs=1e-6)
    assert float(policy.state_dict()["mean_reward"]) == pytest.approx(mean)


def test_looking_ahead_leaves_the_live_network_alone() -> None:
    hyper = shipped("las_at").model_copy(update={"every": 1})
    _, batch, nets = run("las_at", hyper)
    before = {key: t.clone() for key, t in nets.student.state_dict().items()}
    method("las_at").reward(nets, batch, hyper, batch.points["actions"])
    assert all(torch.equal(t, before[key]) for key, t in nets.student.state_dict().items())
