"""RiFT's three parts against numbers of the published code, in float64."""

import torch

from cure import catalogue
from cure.core.method import Batch
from cure.methods.parts.criticality import criticality, modules, robust_loss
from cure.methods.parts.finetuning import tune
from cure.settings.base import Search
from tests.support.vectors import Golden, Recorded


def hyper(golden: Golden, bn: str):
    h, grid = golden.hyper, golden.hyper["grid_attack"]
    attack = {"eps": grid["eps"], "step": grid["step_size"], "steps": grid["steps"], "start": "uniform"}
    return catalogue.entry("methods", "rift").Hyper(
        module=h["chosen_module"],
        mrc_eps=h["mrc_eps"],
        mrc_epochs=h["mrc_epochs"],
        mrc_lr=h["mrc_lr"],
        mrc_rule="max",
        epochs=1,
        lr=h["finetune_lr"],
        momentum=h["finetune_momentum"],
        weight_decay=h["finetune_weight_decay"],
        drops={},
        bn=bn,
        slack=0.1,
        draws=1,
        attack=Search(**attack, clip_start=True),
    )


def batch(golden: Golden, rows: slice = slice(None)) -> Batch:
    x, y = golden.tensors["x"][rows], golden.tensors["y"][rows]
    return Batch(x, y, torch.arange(len(y)), Recorded(golden.tensors["start"][rows]))


def tuned(golden: Golden, bn: str):
    net = golden.network("model").eval()
    half = len(golden.tensors["y"]) // 2
    halves = [batch(golden, slice(None, half)), batch(golden, slice(half, None))]
    settings = hyper(golden, bn)
    loss = tune(net, settings.module, halves, settings, {}, settings.lr)
    return net, loss


def test_rift(golden: Golden) -> None:
    expect_criticality(golden)
    net, loss = tuned(golden, "update")
    golden.expect("finetune/mean_loss", loss)
    golden.expect_group("finetuned/model", net.state_dict())
    frozen, _ = tuned(golden, "freeze")
    golden.expect_group("finetuned_frozen_bn", frozen.state_dict())
    expect_interpolation(golden, golden.network("model").state_dict(), net.state_dict())
    rift = catalogue.entry("methods", "rift")
    tables = zip(golden.tensors["rule/clean"].tolist(), golden.tensors["rule/robust"].tolist(), strict=True)
    golden.excuse("rule/clean", "rule/robust")  # inputs
    golden.expect("rule/selected", torch.tensor([rift.choose(clean, robust, 0.1) for clean, robust in tables]))


def expect_criticality(golden: Golden) -> None:
    net, h = golden.network("model").eval(), golden.hyper
    fixed = [(golden.tensors["x_adv"], golden.tensors["y"])]
    golden.excuse("x_adv")  # an input here
    loss, accuracy = robust_loss(net, fixed)
    golden.expect("mrc/base_loss", loss)
    golden.expect("mrc/base_accuracy", accuracy)
    found = {
        name: criticality(net, fixed, name, eps=h["mrc_eps"], epochs=h["mrc_epochs"], lr=h["mrc_lr"], rule="max")
        for name in modules(net)
    }
    for name, c in found.items():
        golden.expect(f"mrc/value/{name}", c.value)
        golden.expect(f"mrc/epoch_loss/{name}", torch.tensor(c.losses, dtype=torch.float64))
        golden.expect(f"mrc/epoch_distance/{name}", torch.tensor(c.distances, dtype=torch.float64))
        golden.expect(f"mrc/accuracy_drop/{name}", c.drop)
        golden.expect(f"mrc/worst_epoch/{name}", torch.tensor(c.losses.index(max(c.losses))))
    values = torch.tensor([c.value for c in found.values()])
    golden.expect("mrc/ascending_order", torch.argsort(values))
    for key, tensor in golden.group("before/model").items():
        assert torch.equal(net.state_dict()[key], tensor), f"{key} was left changed"


def expect_interpolation(golden: Golden, start, end) -> None:
    rift, net, y = catalogue.entry("methods", "rift"), golden.network("model").eval(), golden.tensors["y"]
    alphas = golden.tensors["interpolation/alphas"]
    golden.expect("interpolation/alphas", torch.arange(11, dtype=torch.float64) / 10)
    clean, adv = [], []
    for a in alphas.tolist():
        state = rift.interpolated(start, end, a)
        net.load_state_dict(state)
        (x_adv, _), *_ = rift.adversarial_set(net, [batch(golden)], hyper(golden, "update").attack)
        clean.append(net(golden.tensors["x"]).detach())
        adv.append(net(x_adv).detach())
        if abs(a - 0.3) < 1e-9:
            golden.expect_group("interpolation/alpha3", state)
    accuracies = [[100 * float((z.argmax(1) == y).double().mean()) for z in logits] for logits in (clean, adv)]
    golden.expect("interpolation/logits_clean", torch.stack(clean))
    golden.expect("interpolation/logits_adv", torch.stack(adv))
    golden.expect("interpolation/clean_accuracy", torch.tensor(accuracies[0], dtype=torch.float64))
    golden.expect("interpolation/robust_accuracy", torch.tensor(accuracies[1], dtype=torch.float64))
    golden.expect("interpolation/selected", torch.tensor(rift.choose(*accuracies, 0.1)))
