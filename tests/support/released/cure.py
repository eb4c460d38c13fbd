"""Steps of CURE as NeurAI-Lab/CURE trains it: `rgp_soft`, four backward passes, and `rgp`, one."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from cure.core.method import Batch, Networks
from tests.support.released.parts import attack, divergence


def forwards(nets: Networks, batch: Batch, hyper: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return f(x), f(x') and L_CR; the attack's f(x) and both forwards of the revision network keep a graph in vain."""
    net, past = nets.student.eval(), nets.revision.requires_grad_()
    p = net(batch.x)
    x_adv = attack(batch, hyper.attack, lambda x_adv: divergence(p.detach(), net(x_adv), "sum"))
    net.train()
    clean, adv = net(batch.x), net(x_adv)
    consistency = divergence(past(batch.x).detach(), clean) + divergence(past(x_adv).detach(), adv)
    return clean, adv, consistency


def four_backwards(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 39 passes: natural, robust, whole and consistency loss are each differentiated, all gradients cloned."""
    clean, adv, consistency = forwards(nets, batch, hyper)
    natural, robust = F.cross_entropy(clean, batch.y), divergence(clean, adv)
    whole = natural + hyper.beta * robust + hyper.gamma * consistency
    found = []
    for loss in (natural, robust, whole, consistency):
        optimizer.zero_grad()
        loss.backward(retain_graph=loss is not consistency)
        found.append({name: w.grad.clone() for name, w in nets.student.named_parameters() if w.grad is not None})
    for name, w in nets.student.named_parameters():
        mask = torch.ones_like(w)
        if "conv1" in name:
            mask = kept(hyper.alpha * found[0][name] + (1 - hyper.alpha) * found[1][name], hyper.p)
        w.grad = found[2][name] * mask
    finish(nets, optimizer)


def one_backward(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 29 passes, and a percentile on the host of every tensor but the classifier's."""
    clean, adv, consistency = forwards(nets, batch, hyper)
    natural, robust = F.cross_entropy(clean, batch.y), F.cross_entropy(adv, batch.y)
    optimizer.zero_grad()
    (hyper.alpha * natural + (1 - hyper.alpha) * robust + hyper.gamma * consistency).backward()
    for name, w in nets.student.named_parameters():
        if "linear" not in name:
            w.grad = w.grad * kept(w.grad.abs(), hyper.p)
    finish(nets, optimizer)


def kept(score: Tensor, percent: float) -> Tensor:
    """Return where a score reaches its percentile, computed on the host."""
    score = score.cpu()
    return torch.from_numpy(score.numpy() >= np.percentile(score.numpy(), percent)).to(score.device)


def finish(nets: Networks, optimizer: Optimizer) -> None:
    """Take the optimiser step, and update the revision weight by weight."""
    optimizer.step()
    with torch.no_grad():
        for past, now in zip(parameters(nets.revision), parameters(nets.student), strict=True):
            past.mul_(0.999).add_(now, alpha=0.001)


def parameters(net: nn.Module) -> list[nn.Parameter]:
    """Return all parameters."""
    return list(net.parameters())
