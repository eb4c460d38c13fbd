"""Steps of AT (CURE's repository), TRADES (yaodongyu), MART (YisenWang), AWP (csdongxian), and RiFT's criticality."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from cure.core.method import Batch, Networks
from cure.nn.losses import boosted_cross_entropy
from tests.support.released.parts import attack, attacked, divergence, perturbed, update


def natural(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 3 passes: one forward, one backward."""
    update(optimizer, F.cross_entropy(nets.student(batch.x), batch.y))


def at(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 23 passes: ten steps of forward and input gradient."""
    x_adv = attacked(nets.student, batch, hyper.attack)
    update(optimizer, F.cross_entropy(nets.student(x_adv), batch.y))


def trades(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 39 passes: f(x) again in every step of the attack, and twice, both differentiated, in the loss."""
    net, x = nets.student.eval(), batch.x
    x_adv = attack(batch, hyper.attack, lambda x_adv: divergence(net(x), net(x_adv), "sum"))
    net.train()
    natural = F.cross_entropy(net(x), batch.y)
    update(optimizer, natural + hyper.beta * divergence(net(x), net(x_adv)))


def mart(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 26 passes: as few as possible."""
    net, y = nets.student, batch.y
    x_adv = attacked(net, batch, hyper.attack)
    clean, adv = net(batch.x), net(x_adv)
    p, q = clean.softmax(1), adv.softmax(1)
    kl = F.kl_div((q + 1e-12).log(), p, reduction="none").sum(1)
    robust = (kl * (1.0000001 - p.gather(1, y[:, None])[:, 0])).mean()
    update(optimizer, boosted_cross_entropy(adv, y).mean() + hyper.lam * robust)


def awp(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 37 passes: weight gradients in the attack, a forward to choose among restarts, and a proxy network."""
    net, y = nets.student, batch.y
    x_adv = attacked(net, batch, hyper.attack, weights=True)
    with torch.no_grad():
        net(x_adv)
    proxy = copy.deepcopy(net)
    update(torch.optim.SGD(proxy.parameters(), lr=0.01), -F.cross_entropy(proxy(x_adv), y))
    with perturbed(net, proxy, hyper.gamma):
        update(optimizer, F.cross_entropy(net(x_adv), y))


def criticality(net: nn.Module, x_adv: Tensor, y: Tensor, module: str, epochs: int) -> None:
    """Ascend on one weight of a copy, with a projection and a forward after each epoch: RiFT's criticality."""
    net = copy.deepcopy(net).eval().requires_grad_(False)
    weight = net.get_submodule(module).weight.requires_grad_()
    before, optimizer = weight.detach().clone(), torch.optim.SGD([weight], lr=1.0)
    with torch.no_grad():
        F.cross_entropy(net(x_adv), y).item()
    for _ in range(epochs):
        update(optimizer, -F.cross_entropy(net(x_adv), y))
        with torch.no_grad():
            moved = weight - before
            weight.copy_(before + 0.1 * before.norm() * moved / moved.norm())
            F.cross_entropy(net(x_adv), y).item()
