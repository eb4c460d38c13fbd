"""Steps of FAT (zjfheart), ST-AT (qizhangli), LAS-AT, PART and AR-AT."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from cure.core.method import Batch, Networks
from cure.methods import fat as friendly
from cure.methods.parts.predictor import predicted, pulls
from cure.methods.st_at import discrepancy, extremes, pick
from cure.nn.activations import pooled, tapping
from cure.nn.batchnorm import branch, scope
from cure.nn.losses import smoothed_cross_entropy
from tests.support.released.parts import attack, attacked, start, update


def fat(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 3 + up to 40 passes: an unused clean forward and weight gradients per step; images checked one by one."""
    net, search, y = nets.student.eval(), hyper.attack, batch.y
    x, x_adv, emitted = batch.x, start(batch, search), []
    patience = [friendly.patience(hyper, batch.position.epoch)] * len(y)
    for _ in range(search.steps):
        x_adv = x_adv.detach().requires_grad_()
        z = net(x_adv)
        going, done = [], []
        for i in range(len(y)):
            wrong = bool(z[i].argmax() != y[i])
            (done if wrong and patience[i] == 0 else going).append(i)
            patience[i] -= int(wrong and patience[i] > 0)
        net(x)
        net.zero_grad()
        F.cross_entropy(z, y).backward(retain_graph=True)
        if done:
            emitted.append((x_adv[done].detach(), y[done]))
        if not going:
            x_adv = x_adv[:0]
            break
        moved = (
            x_adv[going].detach()
            + search.step * x_adv.grad[going].sign()
            + hyper.omega * torch.randn(x[going].shape).to(x.device)
        )
        x, y, patience = x[going], y[going], [patience[i] for i in going]
        x_adv = torch.min(torch.max(moved, x - search.eps), x + search.eps).clamp(0, 1)
    emitted.append((x_adv.detach(), y[: len(x_adv)]))
    x_adv, y = (torch.cat(part) for part in zip(*emitted, strict=True))
    update(optimizer, F.cross_entropy(net.train()(x_adv), y))


def st_at(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 70 passes: x is forwarded again, and differentiated, at each step of the search."""
    net, search, y = nets.student, hyper.attack, batch.y
    low, high = batch.x - search.eps, batch.x + search.eps
    adv, col = start(batch, search), start(batch, search)

    def squeeze(points: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        z = torch.stack([net(point) for point in points])
        lowest, highest = extremes(z, y)
        return discrepancy(pick(z, lowest), pick(z, highest)), lowest, highest

    with scope(net, "batch"):
        for _ in range(search.steps):
            points = [point.detach().requires_grad_() for point in (batch.x, col, adv)]
            value, lowest, highest = squeeze(points)
            g = torch.stack(torch.autograd.grad(value.sum(), points))
            moved = torch.stack([point.detach() for point in points]) + search.step * g.sign()
            col, adv = (pick(moved, role).clamp(low, high).clamp(0, 1) for role in (highest, lowest))
        last = net(col)
    z = torch.stack([net(batch.x), last, net(adv)])
    lowest, highest = extremes(z, y)
    squeezed = discrepancy(pick(z, lowest), pick(z, highest)).mean()
    update(optimizer, F.cross_entropy(z[0], y) + hyper.beta * squeezed)


def las_at(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Compute weight gradients in every attack, all images to the last step, and a reward that forwards x once more."""
    net, policy, y = nets.student, nets.strategy, batch.y

    def search() -> Tensor:
        with torch.no_grad(), scope(policy, "eval"):
            chosen, _ = policy.sample(batch.x, batch.noise)  # type: ignore[operator]
        each = hyper.attack.model_copy(update={"eps": wide(chosen["eps"]), "step": wide(chosen["step"])})
        with scope(net, "eval"):
            return attack(
                batch,
                each.model_copy(update={"start": "zero", "sigma": 0.0}),
                lambda x_adv: F.cross_entropy(net(x_adv), y),
                weights=True,
                steps=int(chosen["steps"].max()),
            )

    x_adv = search()
    update(optimizer, smoothed_cross_entropy(net.train()(x_adv), y, hyper.label).mean())
    x_adv, ahead = search(), copy.deepcopy(net)
    with torch.no_grad():
        net(x_adv)
    update(torch.optim.SGD(ahead.parameters(), lr=batch.position.lr), F.cross_entropy(ahead(x_adv), y))
    found = [attacked(ahead, batch, hyper.attack, weights=True, training=True) for _ in range(hyper.restarts)]
    with torch.no_grad(), scope(ahead, "eval"):
        for points in (*found, *found, batch.x, batch.x):
            ahead(points)
    with scope(policy.requires_grad_(), "train"):
        _, log_pi = policy.sample(batch.x, batch.noise)  # type: ignore[operator]
    update(torch.optim.SGD(policy.parameters(), lr=1e-4), -log_pi.mean())
    policy.requires_grad_(False)


def wide(value: Tensor) -> Tensor:
    """Reshape one value per image to broadcast over it."""
    return value[:, None, None, None]


def part(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 36 passes: Grad-CAM image by image through the whole network, and weight gradients in the attack."""
    net, masks = nets.student.eval(), []
    for x in batch.x.split(1):
        features, classify = net.map_and_rest(x)  # type: ignore[operator]
        features.retain_grad()
        classify(features).amax(1).sum().backward()
        cam = F.relu((features.grad.mean((2, 3), keepdim=True) * features.detach()).sum(1, keepdim=True))
        big = F.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False)
        masks.append(big > big.mean())
    radius = torch.where(torch.cat(masks), hyper.attack.eps, hyper.eps_low)
    each = hyper.attack.model_copy(update={"eps": radius, "start": "zero", "sigma": 0.0})
    x_adv = attack(batch, each, lambda x_adv: F.cross_entropy(net(x_adv), batch.y), weights=True)
    update(optimizer, F.cross_entropy(net.train()(x_adv), batch.y))


def arat(nets: Networks, batch: Batch, hyper: Any, optimizer: Optimizer) -> None:
    """Take 26 passes, with the features of every forward computed, including those of the attack."""
    net, y, a = nets.student, batch.y, 0.5
    with branch(net, "adv"), tapping(net, hyper.taps):
        x_adv = attacked(net, batch, hyper.attack, training=True)
    with branch(net, "clean"):
        clean, z = pooled(net, batch.x, hyper.taps)
    with branch(net, "adv"):
        adv, z_adv = pooled(net, x_adv, hyper.taps)
    towards = {tap: features.detach() for tap, features in z.items()}
    pulled = pulls(predicted(nets.predictor, z_adv), towards, hyper.gamma)
    invariance = sum(weight * value.mean() for weight, value in pulled.values())
    update(optimizer, a * F.cross_entropy(adv, y) + (1 - a) * F.cross_entropy(clean, y) + invariance)
