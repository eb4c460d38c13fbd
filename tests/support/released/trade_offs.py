"""Steps of HAT (imrahulr/hat), LBGAT (dvlab-research), Generalist (PKU-ML) and IKL-AT (jiequancui/DKL)."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from cure.core.method import Batch, Networks
from cure.methods.generalist import hands_over
from cure.nn.batchnorm import scope
from cure.settings.base import between
from tests.support.released.parts import attack, attacked, divergence, perturbed, update


def hat(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 31 passes: as few as possible; f(x) of the attack keeps a graph in vain."""
    net, x = nets.student.eval(), batch.x
    p = net(x)
    x_adv = attack(batch, hyper.attack, lambda x_adv: divergence(p, net(x_adv), "sum"))
    net.train()
    x_helper = x + hyper.h * (x_adv - x)
    with torch.no_grad():
        y_helper = nets.natural(x_adv).argmax(1)
    clean, adv, helper = net(x), net(x_adv), net(x_helper)
    loss = F.cross_entropy(clean, batch.y) + hyper.beta * divergence(clean, adv)
    update(optimizer, loss + hyper.gamma * F.cross_entropy(helper, y_helper))


def lbgat(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 39 passes: M(x) again in every step of the attack, and differentiated in the loss even if beta is 0."""
    net, x = nets.student.eval(), batch.x
    x_adv = attack(batch, hyper.attack, lambda x_adv: divergence(net(x), net(x_adv), "sum"))
    net.train()
    adv, clean, natural = net(x_adv), net(x), nets.natural_peer(x)
    loss = F.mse_loss(adv, natural) + F.cross_entropy(natural, batch.y)
    update(optimizer, loss + hyper.beta * divergence(clean, adv))


def generalist(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 28 passes: each expert once more for the log; averages are taken tensor by tensor, with counters."""
    robust, natural, position = nets.student, nets.natural_expert, batch.position
    x_adv = attacked(robust, batch, hyper.attack)
    d, beta = min(hyper.d, (position.step + 1) / (position.step + 10)), between(hyper.beta, position.epoch)
    update(optimizer, F.cross_entropy(robust(x_adv), batch.y))
    average(nets.average_robust, robust.state_dict(), d)
    update(optimizer, F.cross_entropy(natural(batch.x), batch.y))
    average(nets.average_natural, natural.state_dict(), d)
    other = nets.average_natural.state_dict()
    mixture = {key: beta * t + (1 - beta) * other[key] for key, t in nets.average_robust.state_dict().items()}
    average(nets.mixed, mixture, d)
    for net, points in ((robust, x_adv), (natural, batch.x)):
        with torch.no_grad(), scope(net, "eval"):
            net(points)
        if hands_over(hyper, position.epoch):
            net.load_state_dict(nets.mixed.state_dict())


def average(net: nn.Module, state: Mapping[str, Tensor], decay: float) -> None:
    """Move a network's whole state towards another one."""
    for key, old in net.state_dict().items():
        old.copy_(decay * old + (1 - decay) * state[key])


def ikl_at(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 27 passes: f(x) again in every step of the attack, a proxy network, and a table of all pairs of classes."""
    net, x, y, priors = nets.student, batch.x, batch.y, nets.priors
    labels = F.one_hot(y, len(priors.rows)).to(priors.rows.dtype)
    s = labels @ priors.rows
    pairs = s[:, :, None] @ s[:, None, :]
    share = batch.position.epoch / batch.position.epochs
    search = hyper.attack.model_copy(update={name: share * getattr(hyper.attack, name) for name in ("eps", "step")})

    def objective(clean: Tensor, adv: Tensor) -> Tensor:
        n, a = (z[:, :, None] - z[:, None, :] for z in (clean, adv))
        wmse = 0.25 * (pairs * (n - a) ** 2).sum() / len(y)
        return F.cross_entropy(clean, y) + hyper.beta * wmse + hyper.alpha * soft_cross_entropy(clean, adv)

    net.eval()
    x_adv = attack(batch, search, lambda x_adv: soft_cross_entropy(net(x), net(x_adv)))
    net.train()
    proxy = copy.deepcopy(net)
    clean, adv = proxy(x), proxy(x_adv)
    update(torch.optim.SGD(proxy.parameters(), lr=0.2), -objective(clean, adv))
    with perturbed(net, proxy, hyper.awp_gamma):
        adv, clean = net(x_adv), net(x)
        priors.sums += labels.T @ (clean.detach() / hyper.temperature).softmax(1)
        update(optimizer, objective(clean, adv))


def soft_cross_entropy(clean: Tensor, adv: Tensor) -> Tensor:
    """Return - sum p log q of logits, differentiable in the second alone."""
    return -(clean.softmax(1).detach() * adv.log_softmax(1)).sum(1).mean()
