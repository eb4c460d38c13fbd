"""RiFT: fine-tune the module that robustness needs least, then walk back as far as robustness asks.

Zhu, Hu, Wang, Xie, Yang, "Improving Generalization of Adversarial Training via Robust Critical Fine-Tuning", ICCV 2023.
https://arxiv.org/abs/2308.02533

    i*   = argmin_i MRC_i                                                                  Eqs. (2), (7)
    t_FT = fine-tune the weight of module i* on clean images, the rest frozen              Eq. (8)
    t(a) = (1 - a) t_AT + a t_FT, a = 0, 0.1, ..., 1                                       Eq. (9)
    a*   = the most clean accuracy among the points whose PGD accuracy is at most `slack` points below t_AT's

It starts from the robust network of another row and trains nothing adversarially. The released fine-tuning lets every
batch norm drift to clean statistics (`bn: update`); `freeze` moves the one weight only, `bn_only` is the control that
moves statistics and no weight. All three are reported; the one named is exported.

Deviations. Modules, epochs and a are chosen on the validation split, where the authors use the test split. The step of
the attack is the threat model's, where the released code has 2/225.
"""

import copy
from typing import Any, Literal

import torch
from torch import nn

from cure.core.ascent import ascend, error
from cure.core.batchnorm import scope
from cure.core.criticality import Fixed, criticality, modules
from cure.core.losses import cross_entropy
from cure.core.method import Batch, Consolidation, Method, Networks, Terms
from cure.core.settings import Count, NonNegative, Number, Positive, Search, Settings
from cure.core.tensors import Tensor

State = dict[str, Tensor]
Variant = Literal["update", "freeze", "bn_only"]


class Hyper(Settings):
    """Criticality, fine-tuning and the choice of a."""

    module: str  # `auto`, or a module by name
    mrc_eps: NonNegative
    mrc_epochs: Count
    mrc_lr: Positive
    epochs: Count
    lr: Positive
    momentum: Number
    weight_decay: NonNegative
    drop_epoch: Count  # 1-based epoch from which the rate is a tenth
    bn: Variant
    slack: NonNegative  # percentage points of PGD accuracy
    attack: Search


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Fine-tuning: CE(f(x), y)."""
    return {"natural": (1.0, cross_entropy(nets.student(batch.x), batch.y))}


def adversarial_set(net: nn.Module, batches: list[Batch], attack: Search) -> Fixed:
    """Images attacked once, for the network as it is."""
    return [(ascend(net, batch, attack, error), batch.y) for batch in batches]


def tune(net: nn.Module, module: str, batches: list[Batch], hyper: Hyper, state: State | None, lr: float) -> float:
    """One epoch of SGD on one weight, with its momentum in `state`; the mean loss."""
    weight = net.get_submodule(module).weight
    assert isinstance(weight, nn.Parameter)
    state, total = {} if state is None else state, 0.0
    with scope(net, "eval" if hyper.bn == "freeze" else "train"):
        for batch in batches:
            wanted, weight.requires_grad = weight.requires_grad, True
            value = cross_entropy(net(batch.x), batch.y).mean()
            (g,) = torch.autograd.grad(value, weight)
            weight.requires_grad = wanted
            total += float(value.detach())
            if hyper.bn != "bn_only":
                with torch.no_grad():
                    g = g + hyper.weight_decay * weight
                    state["momentum"] = hyper.momentum * state["momentum"] + g if "momentum" in state else g
                    weight.sub_(lr * state["momentum"])
    return total / len(batches)


def interpolated(start: State, end: State, a: float) -> State:
    """(1 - a) start + a end for floating tensors, batch-norm statistics included; counters stay start's."""
    return {key: torch.lerp(t, end[key], a) if t.is_floating_point() else t for key, t in start.items()}


def choose(clean: list[float], robust: list[float], slack: float) -> int:
    """The first point of highest clean accuracy with robust >= robust[0] - slack, all in percent."""
    allowed = [i for i, value in enumerate(robust) if value >= robust[0] - slack - 1e-9]
    return max(allowed, key=lambda i: (clean[i], -i))


def fine_tuned(found: Consolidation, module: str, hyper: Hyper) -> tuple[State, int]:
    """The state of highest clean validation accuracy over the epochs, and its epoch."""
    net, momentum = copy.deepcopy(found.nets["robust"]), State()
    best, state, at = -1.0, net.state_dict(), 0
    for epoch in range(1, hyper.epochs + 1):
        lr = hyper.lr * (0.1 if epoch >= hyper.drop_epoch else 1.0)
        tune(net, module, list(found.batches(epoch)), hyper, momentum, lr)
        if (clean := found.score(net)["clean"]) > best:
            best, state, at = clean, {key: t.clone() for key, t in net.state_dict().items()}, epoch
    return state, at


def finish(found: Consolidation, hyper: Hyper) -> tuple[nn.Module, int, dict[str, Any]]:
    """Criticality, fine-tuning by each variant, interpolation, and the network at a* of the one named."""
    net = found.nets["robust"]
    fixed = adversarial_set(net, found.val, hyper.attack)
    names = modules(net)
    settings = {"eps": hyper.mrc_eps, "lr": hyper.mrc_lr}
    table = {name: criticality(net, fixed, name, epochs=hyper.mrc_epochs, **settings) for name in names}
    module = min(table, key=lambda name: table[name].value) if hyper.module == "auto" else hyper.module
    start = {key: t.clone() for key, t in net.state_dict().items()}
    chosen, walks = (start, 0), {}
    for variant in ("update", "freeze", "bn_only"):
        end, epoch = fine_tuned(found, module, hyper.model_copy(update={"bn": variant}))
        states = [interpolated(start, end, i / 10) for i in range(11)]
        points = [_scored(net, state, found) for state in states]
        index = choose([p["clean"] * 100 for p in points], [p["pgd"] * 100 for p in points], hyper.slack)
        walks[variant] = {"epoch": epoch, "a": index / 10, "points": points}
        if variant == hyper.bn:
            chosen = states[index], epoch
    net.load_state_dict(chosen[0])
    mrc = {name: {"mrc": c.value, "drop": c.drop} for name, c in table.items()}
    return (
        net,
        chosen[1],
        {
            "module": module,
            "bn": hyper.bn,
            "epochs": hyper.epochs,
            "criticality": mrc,
            "interpolation": walks,
        },
    )


def _scored(net: nn.Module, state: State, found: Consolidation) -> dict[str, float]:
    net.load_state_dict(state)
    return found.score(net)


METHOD = Method("Zhu et al. 2023, Eqs. (2), (7)-(9)", Hyper, loss, init="robust", finish=finish)
