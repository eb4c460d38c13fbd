import copy
import dataclasses
import math
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cure import catalogue
from cure.core.method import Batch, Consolidation
from cure.core.noise import Stream
from cure.methods import cure
from cure.methods.cure import METHOD
from cure.methods.parts.revision import Revise, rate
from cure.nn.masks import chosen
from cure.settings.base import Search
from cure.settings.params import read
from tests.support.method_harness import (
    QUICKSTART,
    ROOT,
    MethodHarness,
    assert_close,
    differentiate,
    parameters,
    same,
    state,
)

LR, MOMENTUM, DECAY = 0.1, 0.9, 0.05  # a decay that is seen in one step
PAPER = {
    "alpha": 0.1,
    "beta": 5,
    "gamma": 1,
    "p": 30,
    "r": 0.2,
    "d": 0.99,
    "attack": {"eps": 0.15, "step": 0.0375, "steps": 10, "start": "gaussian", "sigma": 0.001, "clip_start": False},
    "maximise": "kl",
    "objective": "trades",
    "score": "abs",
    "score_term": "ce",
    "scope": "layer",
    "include": ["*"],
    "exclude": ["linear.*", "fc.*"],
    "apply": "grad",
    "warm_up": True,
    "r_rule": "constant",
    "r_epoch": 40,
}


def hyper(**changes) -> cure.Hyper:
    return cure.Hyper.model_validate(PAPER | changes)


def rig_of(net: nn.Module, past: nn.Module | None = None, **changes) -> MethodHarness:
    """A student, and a revision network of its own weights or those of `past`."""
    rig = MethodHarness(METHOD, hyper(**changes), net, lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    if past is not None:
        rig.nets.revision.load_state_dict(past.state_dict())
    return rig


class Terms:
    """The losses of Eqs. (5), (6) and (8), written down once more, with their gradients."""

    def __init__(self, net: nn.Module, past: nn.Module, batch: Batch) -> None:
        x, x_adv, y = batch.x, batch.x_adv, batch.y
        clean, adv = net(x), net(x_adv)
        past_clean, past_adv = past(x).detach(), past(x_adv).detach()

        def divergence(p: Tensor, q: Tensor) -> Tensor:
            return F.kl_div(q.log_softmax(1), p.softmax(1), reduction="batchmean")

        self.values = {
            "natural": F.cross_entropy(clean, y),
            "adversarial": F.cross_entropy(adv, y),
            "divergence": divergence(clean, adv),
            "revision": divergence(past_clean, clean) + divergence(past_adv, adv),
        }
        self.net = net

    def gradient(self, **weights: float) -> dict[str, Tensor]:
        return differentiate(sum(w * self.values[name] for name, w in weights.items()), self.net)


def stepped(make_net, batch: Batch, **changes) -> tuple[MethodHarness, Terms]:
    """A rig after one step from two different networks, and the terms at the weights before it."""
    rig = rig_of(make_net(0), make_net(1), **changes)
    rig.step(batch)
    return rig, Terms(make_net(0), make_net(1), batch)


def masked(rig: MethodHarness) -> dict[str, Tensor]:
    found: dict[str, Tensor] = rig.seen["rgp"]["mask"]
    return found


class TestObjective:
    @pytest.mark.parametrize(("beta", "gamma"), [(5, 1), (1, 1), (0, 0.5), (5, 0), (0, 0)])
    def test_with_p_zero_the_gradient_is_plainly_that_of_l(self, make_net, batch, beta: float, gamma: float) -> None:
        rig, terms = stepped(make_net, batch, p=0, beta=beta, gamma=gamma)
        assert all(keep.all() for keep in masked(rig).values())
        assert_close(rig.gradients(), terms.gradient(natural=1, divergence=beta, revision=gamma))

    @pytest.mark.parametrize(
        ("objective", "weights"),
        [
            ("trades", {"natural": 1, "divergence": 5, "revision": 1}),
            ("alpha_ce", {"natural": 0.3, "adversarial": 0.7, "revision": 1}),
            ("alpha_kl", {"natural": 0.3, "divergence": 0.7, "revision": 1}),
        ],
    )
    @pytest.mark.parametrize("score", ["abs", "signed", "total", "total_signed"])
    def test_each_objective_has_its_gradient_under_every_score(
        self, make_net, batch, objective: str, weights: dict[str, float], score: str
    ) -> None:
        rig, terms = stepped(make_net, batch, alpha=0.3, objective=objective, score=score)
        assert_close(rig.seen["rgp"]["total"], terms.gradient(**weights))

    def test_the_terms_that_are_reported_are_plain_means(self, make_net, batch) -> None:
        rig = rig_of(make_net(0), make_net(1))
        means = rig.step(batch)
        values = Terms(make_net(0), make_net(1), batch).values
        for name in ("natural", "adversarial", "divergence"):
            torch.testing.assert_close(means[name], values[name].detach())
        torch.testing.assert_close(means["revision_clean"] + means["revision_adv"], values["revision"].detach())

    def test_the_student_sees_the_clean_images_first(self, make_net, batch) -> None:
        rig, by_hand = rig_of(make_net()), make_net()
        rig.step(batch)
        by_hand(batch.x)
        by_hand(batch.x_adv)
        assert all(torch.equal(a, b) for a, b in zip(rig.nets.student.buffers(), by_hand.buffers(), strict=True))

    def test_consistency_is_zero_while_the_revision_network_equals_the_student(self, net, batch) -> None:
        means = rig_of(net).step(batch)
        assert means["revision_clean"].abs() < 1e-15
        assert means["revision_adv"].abs() < 1e-15
        assert means["divergence"] > 1e-6

    def test_consistency_is_positive_once_they_differ(self, make_net, batch) -> None:
        means = rig_of(make_net(0), make_net(1)).step(batch)
        assert means["revision_clean"] > 1e-3
        assert means["revision_adv"] > 1e-3


def steep(net: nn.Module) -> nn.Module:
    """Confident predictions, at which the losses that a search may ascend point in different directions."""
    with torch.no_grad():
        net.linear.weight *= 20
    return net


class TestSearch:
    @pytest.mark.parametrize("maximise", ["kl", "ce", "ce_kl"])
    def test_the_adversarial_images_ascend_the_named_loss(self, make_net, make_batch, maximise: str) -> None:
        batch, net, alpha = make_batch(), steep(make_net()).eval(), 0.4
        attack = Search(eps=0.4, step=0.1, steps=10, start="gaussian", sigma=0.001, clip_start=False)
        rig_of(steep(make_net()), maximise=maximise, alpha=alpha, attack=attack.model_dump()).step(batch)
        target = net(batch.x).softmax(1).detach()
        x = batch.x + Stream(0, torch.device("cpu")).normal(batch.x, attack.sigma)
        for _ in range(attack.steps):
            x = x.detach().requires_grad_()
            z = net(x)
            wrong, away = F.cross_entropy(z, batch.y), F.kl_div(z.log_softmax(1), target, reduction="batchmean")
            (g,) = torch.autograd.grad({"kl": away, "ce": wrong, "ce_kl": wrong + alpha * away}[maximise], x)
            free = x.detach() + attack.step * g.sign()
            x = (batch.x + (free - batch.x).clamp(-attack.eps, attack.eps)).clamp(0, 1)
        torch.testing.assert_close(batch.x_adv, x, rtol=0, atol=1e-12)

    def test_the_student_is_attacked_and_not_the_revision_network(self, make_net, make_batch) -> None:
        found = []
        for past in (1, 2):
            batch = make_batch()
            rig_of(make_net(0), make_net(past)).step(batch)
            found.append(batch.x_adv)
        assert torch.equal(*found)


class TestScore:
    @pytest.mark.parametrize(("alpha", "term"), [(1.0, "natural"), (0.0, "adversarial")])
    def test_alpha_at_its_ends_scores_by_one_loss(self, make_net, batch, alpha: float, term: str) -> None:
        rig, terms = stepped(make_net, batch, alpha=alpha)
        wanted = terms.gradient(**{term: 1})
        for name, score in rig.seen["rgp"]["score"].items():
            torch.testing.assert_close(score, wanted[name].abs())

    @pytest.mark.parametrize(("score_term", "term"), [("ce", "adversarial"), ("kl", "divergence")])
    @pytest.mark.parametrize("score", ["abs", "signed", "total", "total_signed"])
    @pytest.mark.parametrize("objective", ["trades", "alpha_ce"])
    def test_every_variant_has_its_formula(
        self, make_net, batch, score: str, score_term: str, term: str, objective: str
    ) -> None:
        rig, terms = stepped(make_net, batch, alpha=0.3, score=score, score_term=score_term, objective=objective)
        natural, robust = terms.gradient(natural=1), terms.gradient(**{term: 1})
        weights = {"trades": {"natural": 1, "divergence": 5}, "alpha_ce": {"natural": 0.3, "adversarial": 0.7}}
        total = terms.gradient(revision=1, **weights[objective])
        formula = {
            "abs": lambda n: 0.3 * natural[n].abs() + 0.7 * robust[n].abs(),
            "signed": lambda n: 0.3 * natural[n] + 0.7 * robust[n],
            "total": lambda n: total[n].abs(),
            "total_signed": lambda n: total[n],
        }[score]
        found = rig.seen["rgp"]["score"]
        assert_close(found, {name: formula(name) for name in found})


class TestMask:
    def test_the_gradient_is_that_of_l_where_the_score_reaches_its_percentile_and_zero_elsewhere(
        self, make_net, batch
    ) -> None:
        rig, terms = stepped(make_net, batch)
        natural, robust = terms.gradient(natural=1), terms.gradient(adversarial=1)
        wanted = terms.gradient(natural=1, divergence=5, revision=1)
        for name in masked(rig):
            score = 0.1 * natural[name].abs() + 0.9 * robust[name].abs()
            wanted[name] = wanted[name] * (score >= np.percentile(score.numpy(), 30) - 1e-15)
        assert_close(rig.gradients(), wanted)

    @pytest.mark.parametrize("p", [10, 30, 50, 90])
    def test_each_tensor_conserves_the_share_that_numpys_percentile_conserves(self, make_net, batch, p: int) -> None:
        rig, _ = stepped(make_net, batch, p=p)
        for keep in masked(rig).values():
            rank = p * (keep.numel() - 1)
            assert int((~keep).sum()) == (rank // 100 if rank % 100 == 0 else rank // 100 + 1)

    def test_a_global_threshold_conserves_the_share_of_all_weights_together(self, make_net, batch) -> None:
        rig, _ = stepped(make_net, batch, scope="global")
        scores = torch.cat([score.flatten() for score in rig.seen["rgp"]["score"].values()])
        limit = np.percentile(scores.numpy(), 30)
        for name, keep in masked(rig).items():
            assert torch.equal(keep, rig.seen["rgp"]["score"][name] >= limit)
        shares = [float(keep.double().mean()) for keep in masked(rig).values()]
        assert max(shares) - min(shares) > 0.1

    def test_it_is_found_anew_at_every_step(self, make_net, batch) -> None:
        rig = rig_of(make_net(0), make_net(1))
        rig.step(batch)
        first = masked(rig)
        rig.step(dataclasses.replace(batch, points={}))
        assert any(not torch.equal(first[name], keep) for name, keep in masked(rig).items())

    def test_patterns_say_what_is_masked(self, make_net, batch) -> None:
        rig, terms = stepped(make_net, batch, include=["conv*"], exclude=["conv1.*"], p=90)
        wanted = terms.gradient(natural=1, divergence=5, revision=1)
        assert list(masked(rig)) == ["conv2.weight"]
        unmasked = [name for name in wanted if name != "conv2.weight"]
        found = rig.gradients()
        assert_close({n: found[n] for n in unmasked}, {n: wanted[n] for n in unmasked})

    @pytest.mark.parametrize("scope", ["layer", "global"])
    @pytest.mark.parametrize("score", ["abs", "signed", "total", "total_signed"])
    def test_where_no_name_is_chosen_nothing_is_masked(self, make_net, batch, scope: str, score: str) -> None:
        rig, terms = stepped(make_net, batch, include=[], scope=scope, score=score)
        assert_close(rig.gradients(), terms.gradient(natural=1, divergence=5, revision=1))
        assert "rgp" not in rig.seen  # analyses of masks leave such a run out

    @pytest.mark.parametrize(
        ("file", "dataset"), [(QUICKSTART, "digits"), (ROOT / "params.yaml", "cifar10")], ids=["quickstart", "paper"]
    )
    @pytest.mark.parametrize("model", catalogue.names("models"))
    def test_no_shipped_preset_masks_a_classifier(self, file, dataset: str, model: str) -> None:
        entry = catalogue.entry("models", model)
        settings = entry.Hyper(**({"width": 16} if "width" in entry.Hyper.model_fields else {}))
        with torch.device("meta"):
            net = entry.MODEL(settings, 3, 10)
        classifier = {
            f"{path}.{name}"
            for path, module in net.named_modules()
            if isinstance(module, nn.Linear)
            for name, _ in module.named_parameters()
        }
        assert len(classifier) == 2
        names = [name for name, _ in net.named_parameters()]
        section = read(file)["methods"]["cure"]["update"]
        for name, preset in section["presets"].items():
            hit = set(chosen(names, (preset or {}).get("include", section["include"]), section["exclude"]))
            assert bool(hit) == (name not in ("readme", "no_mask"))  # which have no mask
            assert not hit & classifier


class TestApply:
    @pytest.fixture
    def two_steps(self, make_net, make_batch):
        """A rig after a step without and a step with a mask; weights and momentum between the two."""

        def run(apply: str):
            rig = rig_of(make_net(0), make_net(1), p=0, apply=apply)
            rig.step(make_batch(seed=0))
            rig.take.hyper = hyper(p=60, apply=apply)
            weights = parameters(rig.nets.student)
            buffers = {
                n: rig.optimizer.state[w]["momentum_buffer"].clone() for n, w in rig.nets.student.named_parameters()
            }
            rig.step(make_batch(seed=1, step=1))
            return rig, weights, buffers

        return run

    def test_a_masked_gradient_leaves_decay_and_momentum_at_work(self, two_steps) -> None:
        rig, before, momentum = two_steps("grad")
        for name, keep in masked(rig).items():
            moved = rig.nets.student.get_parameter(name).detach() - before[name]
            by_hand = -LR * (MOMENTUM * momentum[name] + DECAY * before[name])
            torch.testing.assert_close(moved[~keep], by_hand[~keep])
            assert (moved[~keep] != 0).all()

    def test_a_masked_update_leaves_the_weight_bit_for_bit(self, two_steps) -> None:
        rig, before, _ = two_steps("update")
        for name, keep in masked(rig).items():
            after = rig.nets.student.get_parameter(name).detach()
            assert torch.equal(after[~keep], before[name][~keep])
            assert (after[keep] != before[name][keep]).all()

    def test_unmasked_weights_take_the_same_ordinary_step_either_way(self, two_steps) -> None:
        (rig, before, momentum), (other, _, _) = two_steps("grad"), two_steps("update")
        total = rig.seen["rgp"]["total"]
        for name, keep in masked(rig).items():
            after = rig.nets.student.get_parameter(name).detach()
            by_hand = before[name] - LR * (MOMENTUM * momentum[name] + total[name] + DECAY * before[name])
            torch.testing.assert_close(after[keep], by_hand[keep])
            assert torch.equal(after[keep], other.nets.student.get_parameter(name).detach()[keep])

    def test_the_classifier_takes_its_ordinary_step_in_both(self, two_steps) -> None:
        for apply in ("grad", "update"):
            rig, before, momentum = two_steps(apply)
            for name in ("linear.weight", "linear.bias"):
                step = MOMENTUM * momentum[name] + rig.seen["rgp"]["total"][name] + DECAY * before[name]
                torch.testing.assert_close(rig.nets.student.get_parameter(name).detach(), before[name] - LR * step)


class TestRevision:
    def test_it_starts_as_a_copy_that_shares_no_memory(self, net) -> None:
        nets = rig_of(net).nets
        assert same(state(nets.revision), state(nets.student))
        pairs = zip(nets.revision.parameters(), nets.student.parameters(), strict=True)
        assert all(a.data_ptr() != b.data_ptr() and not a.requires_grad for a, b in pairs)

    def test_with_rate_zero_its_weights_stay_and_its_statistics_follow(self, net, batch) -> None:
        rig = rig_of(net, r=0)
        before, tracked = parameters(rig.nets.revision), int(rig.nets.revision.bn1.num_batches_tracked)
        for _ in range(3):
            rig.step(dataclasses.replace(batch, points={}))
        assert same(parameters(rig.nets.revision), before)
        assert int(rig.nets.revision.bn1.num_batches_tracked) == tracked + 6
        assert not same(parameters(rig.nets.student), before)

    def test_its_optimiser_is_nobodys(self, net, batch) -> None:
        rig = rig_of(net, r=0)
        owned = {w.data_ptr() for group in rig.optimizer.param_groups for w in group["params"]}
        rig.step(batch)
        assert all(w.data_ptr() not in owned and w.grad is None for w in rig.nets.revision.parameters())

    @pytest.mark.parametrize("d", [0.0, 0.5, 0.99, 1.0])
    def test_with_rate_one_it_becomes_the_average_of_itself_and_the_student_after_the_step(
        self, make_net, batch, d: float
    ) -> None:
        rig = rig_of(make_net(0), make_net(1), r=1, d=d, warm_up=False)
        before = parameters(rig.nets.revision)
        rig.step(batch)
        for name, now in rig.nets.student.named_parameters():
            wanted = d * before[name] + (1 - d) * now.detach()
            torch.testing.assert_close(rig.nets.revision.get_parameter(name).detach(), wanted, rtol=0, atol=1e-15)

    @pytest.mark.parametrize(("done", "d"), [(0, 1 / 2), (1, 2 / 3), (8, 0.9), (98, 0.99), (500, 0.99)])
    def test_warm_up_shortens_the_first_averages(self, make_net, make_batch, done: int, d: float) -> None:
        rig = rig_of(make_net(0), make_net(1), r=1, d=0.99, warm_up=True)
        before = parameters(rig.nets.revision)
        rig.step(make_batch(step=done))
        for name, now in rig.nets.student.named_parameters():
            wanted = d * before[name] + (1 - d) * now.detach()
            torch.testing.assert_close(rig.nets.revision.get_parameter(name).detach(), wanted, rtol=0, atol=1e-15)

    def test_it_averages_the_weights_that_a_masked_update_left_alone(self, make_net, batch) -> None:
        rig = rig_of(make_net(0), make_net(1), r=1, d=0.0, warm_up=False, apply="update", p=60)
        rig.step(batch)
        assert same(parameters(rig.nets.revision), parameters(rig.nets.student))
        keep = masked(rig)["conv1.weight"]
        assert torch.equal(rig.nets.revision.conv1.weight[~keep], make_net(0).conv1.weight[~keep])

    def test_its_running_statistics_are_its_own(self, make_net, batch) -> None:
        rig, alone = rig_of(make_net(0), make_net(1), r=1, d=0.0, warm_up=False), make_net(1)
        rig.step(batch)
        alone(batch.x)
        alone(batch.x_adv)
        pairs = zip(rig.nets.revision.buffers(), alone.buffers(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)

    def test_it_is_revised_at_its_rate(self, net, batch) -> None:
        rig, revised = rig_of(net, r=0.2), 0
        for _ in range(400):  # the slot alone: the rate does not depend on what the step did
            before = rig.nets.revision.linear.bias.clone()
            rig.nets.student.linear.bias.data.add_(1.0)
            cure.after_step(rig.nets, batch, rig.take.hyper)
            revised += not torch.equal(before, rig.nets.revision.linear.bias)
        assert revised / 400 == pytest.approx(0.2, abs=0.06)

    @pytest.mark.parametrize(
        ("rule", "rates"),
        [
            ("constant", {1: 0.2, 100: 0.2, 101: 0.2, 200: 0.2}),
            ("off", {1: 0.2, 100: 0.2, 101: 0.0, 200: 0.0}),
            ("halve", {1: 0.2, 100: 0.2, 101: 0.1, 102: 0.05, 104: 0.0125}),
        ],
    )
    def test_the_rate_follows_its_rule(self, rule: str, rates: dict[int, float]) -> None:
        found = {epoch: rate(hyper(r=0.2, r_rule=rule, r_epoch=100), epoch) for epoch in rates}
        assert found == pytest.approx(rates)

    def test_a_rate_switched_off_ends_the_revisions(self, make_net, make_batch) -> None:
        rig = rig_of(make_net(0), make_net(1), r=1, r_rule="off", r_epoch=3)
        before = parameters(rig.nets.revision)
        rig.step(make_batch(epoch=4))
        assert same(parameters(rig.nets.revision), before)
        rig.step(make_batch(epoch=3))
        assert not same(parameters(rig.nets.revision), before)


class TestCost:
    @pytest.mark.parametrize(
        ("changes", "searches", "weight_passes"),
        [
            ({}, 11, 3),
            ({"score_term": "kl"}, 11, 3),
            ({"score": "signed"}, 11, 2),
            ({"score": "total"}, 11, 1),
            ({"score": "total_signed"}, 11, 1),
            ({"objective": "alpha_ce"}, 11, 3),
            ({"maximise": "ce"}, 10, 3),
            ({"maximise": "ce_kl"}, 11, 3),
        ],
        ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else None,
    )
    def test_passes_of_one_step(self, net, batch, passes, changes, searches: int, weight_passes: int) -> None:
        rig = rig_of(net, **changes)
        passes.watch(student=rig.nets.student, revision=rig.nets.revision)
        rig.step(batch)
        wanted = {("student", "eval", True): 10, ("student", "eval", False): searches - 10}
        wanted |= {("student", "train", True): 2, ("revision", "train", False): 2}
        assert passes.forwards == {what: count for what, count in wanted.items() if count}
        assert passes.backwards == {"images": 10, "weights": weight_passes}


class TestFinish:
    @pytest.fixture
    def found(self, make_net, make_batch) -> Consolidation:
        nets = {name: make_net(seed) for seed, name in enumerate(("last", "best", "revision"))}
        return Consolidation(
            nets,
            {"last": 9, "best": 4},
            lambda epoch: iter([make_batch(seed=s) for s in (1, 2)]),
            [],
            lambda net: {"clean": float(net.linear.bias[0].detach())},
            lambda net, draw: {},
        )

    @pytest.mark.parametrize(("network", "epoch"), [("last", 9), ("best", 4), ("revision", 9)])
    def test_the_named_network_is_exported_as_it_is(self, found, network: str, epoch: int) -> None:
        before = copy.deepcopy(found.nets[network])
        net, at, report = cure.select_network(found, Revise(network=network, batchnorm="keep"))
        assert net is found.nets[network]
        assert same(state(net), state(before))
        assert at == epoch
        assert report["exported"] == network
        assert report["scores"] == {name: found.score(each) for name, each in found.nets.items()}

    def test_clean_statistics_are_the_average_over_the_clean_batches(self, found, make_batch) -> None:
        net, _, _ = cure.select_network(found, Revise(network="best", batchnorm="clean"))
        means = [net.conv1(make_batch(seed=s).x).mean(dim=(0, 2, 3)) for s in (1, 2)]
        torch.testing.assert_close(net.bn1.running_mean, sum(means) / 2)


def test_every_combination_of_variants_takes_a_finite_step(make_net, batch) -> None:
    kinds = [("trades", "alpha_kl"), ("abs", "signed", "total_signed"), ("layer", "global"), ("grad", "update")]
    for objective, score, scope, apply in product(*kinds):
        rig = rig_of(make_net(), objective=objective, score=score, scope=scope, apply=apply)
        means = rig.step(dataclasses.replace(batch, points={}))
        assert all(math.isfinite(mean) for mean in means.values())
