"""Attacks on a network as an evaluation runs them, against the packages that people use; flags are compared.

The folded copy is made beforehand, once per network as in an evaluation, its layout probed. Weights are random and
biases levelled, so a small radius leaves survivors of AutoAttack, on whom nearly all of its time goes.
"""

from typing import Any

import pyautoattack
import pytest
import torch
import torch.nn.functional as F
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from cure import catalogue
from cure.evaluation.driver import Driver
from cure.evaluation.survivor import Unbeaten
from cure.evaluation.work_items import Examples
from cure.nn.bfloat16 import BFloat16
from cure.nn.folding.folded_copy import folded_copy
from tests.support.counters import cost
from tests.support.race import CUDA, DEVICE, clock, fresh, images, race, timed

pytestmark = pytest.mark.benchmark(timer=clock)
EPS = 8 / 255
NARROW = {"small_resnet": 0.1 / 255, "resnet18": 0.02 / 255}
PUBLISHED = {"iterations": 100, "queries": 5000}
SHORT = {"small_resnet": {"iterations": 5, "queries": 250}, "resnet18": {"iterations": 3, "queries": 100}}
PACKAGE = "pyautoattack 0.2.0"
BATCHES = {"small_resnet": 64, "resnet18": 16}


def examples(net: nn.Module, n: int) -> Examples:
    x = images(n)
    with torch.no_grad():
        return Examples(x, net.eval()(x).argmax(1), torch.arange(n, device=DEVICE))


def drivers(net: nn.Module, data: Examples) -> Any:
    """A new driver each time, on one folded copy, which must differ from the network."""
    folded = folded_copy(net, data.x, "probe")
    assert folded is not net
    return lambda: (Driver(net, data, batch=len(data), seed=0, attacked=folded),)


def sequence(name: str, **how: Any) -> Any:
    entry = catalogue.entry("attacks", name)
    return entry.attack_sequence(entry.Hyper(**how), 10, 0)


def flags(net: nn.Module, data: Examples, x_adv: Tensor) -> Tensor:
    """Correct clean and under attack, as a driver counts."""
    with torch.no_grad():
        return ((net(data.x).argmax(1) == data.y) & (net(x_adv).argmax(1) == data.y)).cpu()


def torchattacks_pgd(net: nn.Module, data: Examples) -> Tensor:
    attacks = pytest.importorskip("torchattacks")
    return flags(net, data, attacks.PGD(net, eps=EPS, alpha=EPS / 4, steps=20)(data.x, data.y))


def foolbox_pgd(net: nn.Module, data: Examples) -> Tensor:
    foolbox = pytest.importorskip("foolbox")
    attack = foolbox.attacks.LinfPGD(steps=20, abs_stepsize=EPS / 4)
    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1), device=DEVICE)
    return flags(net, data, attack(wrapped, data.x, data.y, epsilons=EPS)[1])


def plain_loop(net: nn.Module, data: Examples) -> Tensor:
    """As the methods' evaluation scripts have it: in every step a backward pass through the weights as well."""
    x_adv = data.x + torch.empty_like(data.x).uniform_(-EPS, EPS)
    for _ in range(20):
        x_adv = x_adv.detach().requires_grad_()
        net.zero_grad()
        F.cross_entropy(net(x_adv), data.y).backward()
        assert x_adv.grad is not None
        moved = x_adv.detach() + EPS / 4 * x_adv.grad.sign()
        x_adv = torch.min(torch.max(moved, data.x - EPS), data.x + EPS).clamp(0, 1)
    return flags(net, data, x_adv)


@pytest.mark.parametrize(("network", "bar"), [("small_resnet", 0.52), ("resnet18", 0.90)])
def test_pgd20(benchmark, network: str, bar: float) -> None:
    net = fresh(network).eval()
    data = examples(net, BATCHES[network])
    pgd, new = (
        sequence("pgd", eps=EPS, step=EPS / 4, steps=20, start="uniform", clip_start=True),
        drivers(net, data),
    )
    loop = "the methods' own loop"
    theirs = {"torchattacks 3.5.1": torchattacks_pgd, "foolbox 3.3.4": foolbox_pgd, loop: plain_loop}
    facts = {"row": "PGD-20, clean and robust flags", "network": network}
    facts |= {
        "bars": {
            "torchattacks 3.5.1": 0.40 if CUDA else bar,
            "foolbox 3.3.4": None,
            loop: 0.60 if network == "small_resnet" else None,
        }
    }
    runs = {"ours": lambda: new()[0].run(pgd)} | {
        name: lambda code=code: code(net, data) for name, code in theirs.items()
    }
    facts["cost"] = [cost(run, network, len(data)) for run in runs.values()]
    race(
        benchmark,
        lambda driver: driver.run(pgd).robust,
        {name: lambda _, code=code: code(net, data) for name, code in theirs.items()},
        rounds=2 if network == "resnet18" else 7,
        ready=new,
        table="attacks",
        **facts,
    )


def package(net: nn.Module, data: Examples, eps: float, iterations: int, queries: int) -> Tensor:
    """The package's own driver with its published settings but for two numbers."""
    how = {"n_iter": iterations, "n_restarts": 1, "eps": eps, "seed": 0, "device": DEVICE}
    whole = pyautoattack.AutoAttack(net, eps=eps, seed=0, device=DEVICE)
    whole.apgd, whole.apgd_targeted = APGDAttack(net, **how), APGDAttack_targeted(net, n_target_classes=9, **how)
    whole.fab = FABAttack_PT(net, n_target_classes=9, **how)
    search = {"n_restarts": 1, "eps": eps, "seed": 0, "device": DEVICE, "p_init": 0.8, "resc_schedule": False}
    whole.square = SquareAttack(net, n_queries=queries, **search)
    x_adv, _ = whole.run_standard_evaluation(data.x, data.y, batch_size=len(data))
    return flags(net, data, x_adv)


def race_autoattack(benchmark, network: str, ours: Any, theirs: Any, ready: Any, **facts: Any) -> None:
    """A few rounds, since each takes long; both were called once before."""
    rounds = 3 if network == "small_resnet" else 2
    others = {PACKAGE: lambda _: theirs()}
    race(benchmark, ours, others, rounds=rounds, warm=False, ready=ready, table="attacks", network=network, **facts)


@pytest.mark.parametrize(("network", "n"), [("small_resnet", 32), ("resnet18", 4)])
def test_autoattack_in_bfloat16(benchmark, network: str, n: int) -> None:
    net, eps, how = fresh(network).eval(), NARROW[network], PUBLISHED if CUDA else SHORT[network]
    data = examples(net, n)
    standard = sequence("autoattack", version="standard", eps=eps, targets=9, **how)
    half = BFloat16(folded_copy(net, data.x, "channels_last"))
    row = "AutoAttack standard, iterates in bfloat16, judged in fp32"
    differ = int(
        (package(net, data, eps, **how) != Driver(net, data, batch=n, seed=0, attacked=half).run(standard).robust).sum()
    )
    facts = {"row": f"{row}; flags differ on {differ} of {n} images", "bars": {PACKAGE: 0.50}}
    race_autoattack(
        benchmark,
        network,
        lambda driver: driver.run(standard).robust,
        lambda: package(net, data, eps, **how),
        lambda: (Driver(net, data, batch=n, seed=0, attacked=half),),
        **facts,
    )


@pytest.mark.parametrize(("network", "bar", "n"), [("small_resnet", 0.64, 32), ("resnet18", 0.85, 4)])
def test_autoattack(benchmark, network: str, bar: float, n: int) -> None:
    net, eps, how = fresh(network).eval(), NARROW[network], PUBLISHED if CUDA else SHORT[network]
    data = examples(net, n)
    standard, new = sequence("autoattack", version="standard", eps=eps, targets=9, **how), drivers(net, data)
    theirs = package(net, data, eps, **how)
    assert theirs.sum() > 0
    begin = clock()
    assert torch.equal(new()[0].run(standard).robust, theirs)
    whole = clock() - begin
    least = Examples(data.x, torch.zeros_like(data.y), data.index)
    free = Driver(Unbeaten(10).to(DEVICE), least, batch=n, seed=0)  # the attacks' own arithmetic, without a network
    own = timed(lambda: free.run(standard)) / whole
    facts = {"row": f"AutoAttack standard, {how['iterations']} iterations, {how['queries']} queries, flags identical"}
    facts |= {
        "bars": {PACKAGE: 0.60 if CUDA else bar},
        "survivors": [int(theirs.sum()), n],
        "own": own,
    }
    race_autoattack(
        benchmark,
        network,
        lambda driver: driver.run(standard).robust,
        lambda: package(net, data, eps, **how),
        new,
        **facts,
    )
