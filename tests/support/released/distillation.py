"""Steps of ACT (NeurAI-Lab), ARD (goldblum), IAD (ZFancy), and VFD, which has no published code."""

from typing import Any

import torch
import torch.nn.functional as F
from torch.optim import Optimizer

from cure.core.method import Batch, Networks
from cure.nn import losses
from tests.support.released.parts import attack, attacked, divergence, update


def act(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 26 passes: two networks, two losses, each differentiated separately."""
    robust, peer, y, t = nets.student.eval(), nets.natural_peer, batch.y, hyper.temperature
    natural, a, b = peer(batch.x), hyper.alpha_robust, hyper.alpha_natural

    def value(x_adv: torch.Tensor) -> torch.Tensor:
        z = robust(x_adv)
        return (1 - a) * F.cross_entropy(z, y) + a * divergence(natural.detach(), z, "sum")

    x_adv = attack(batch, hyper.attack, value)
    adv = robust.train()(x_adv)
    optimizer.zero_grad()
    ((1 - a) * F.cross_entropy(adv, y) + a * losses.distillation(natural.detach(), adv, t).mean()).backward()
    ((1 - b) * F.cross_entropy(natural, y) + b * losses.distillation(adv.detach(), natural, t).mean()).backward()
    optimizer.step()


def ard(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 27 passes: the clean student is forwarded and differentiated although its loss has no weight."""
    net = nets.student
    x_adv = attacked(net, batch, hyper.attack, training=True)
    adv, clean = net(x_adv), net(batch.x)
    with torch.no_grad():
        target = nets.teacher(batch.x)
    distilled = losses.distillation(target, adv, hyper.temperature).mean()
    update(optimizer, hyper.alpha * distilled + (1 - hyper.alpha) * F.cross_entropy(clean, batch.y))


def iad(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 32 passes: f(x') and f(x) each once in vain, the latter differentiated; trust image by image."""
    net, y = nets.student, batch.y
    x_adv = attacked(net, batch, hyper.attack, training=True)
    net(x_adv)
    adv, clean, again = net(x_adv), net(batch.x), net(batch.x)
    with torch.no_grad():
        target, doubtful = nets.teacher(batch.x), nets.teacher(x_adv)
        w = torch.stack([doubtful.softmax(1)[i][y[i]] ** hyper.beta for i in range(len(y))])
    own = ((1 - w) * losses.kl(clean, adv)).mean()
    update(optimizer, divergence(target, adv) + own + 0.0 * F.cross_entropy(again, y))


def vfd(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 27 passes: each of f(x'), f(x) and N(x) once."""
    net = nets.student
    x_adv = attacked(net, batch, hyper.attack)
    adv, clean = (net.features(x, ["pooled", "logits"]) for x in (x_adv, batch.x))  # type: ignore[operator]
    with torch.no_grad():
        target = nets.natural.features(batch.x, ["pooled"])["pooled"]  # type: ignore[operator]
    pulls = sum(F.mse_loss(z["pooled"], target) for z in (adv, clean))
    update(optimizer, F.cross_entropy(adv["logits"], batch.y) + hyper.lam * pulls)
