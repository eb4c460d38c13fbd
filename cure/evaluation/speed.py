"""Measure in a second or two how fast a network is attacked.

A pass over n images takes a + b n seconds; two batch sizes determine a and b. For a tiny network, a dominates. The
attack's own arithmetic is added (FAB sorts every image's pixels). It does not depend on the network, so it is measured
on a network that costs nothing.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import nn

from cure.core.attack import Attack
from cure.core.method import Batch
from cure.core.noise import PerImage
from cure.core.tensors import Images
from cure.evaluation.driver import full_precision
from cure.evaluation.measure import frozen
from cure.evaluation.survivor import Unbeaten, Work, passes

# how times are measured; no result depends on these
FEW = 16  # images of the first forward pass, and of the attacks' own arithmetic
LONGEST = 0.25  # seconds of a forward pass that is worth repeating; a larger batch is timed in part
REPEATS = 3


@dataclass(frozen=True)
class PassTime:
    """Seconds of a pass: `call` for any batch, plus `image` for each image in it."""

    call: float
    image: float

    def seconds(self, images: float | int, batch: int) -> float:
        """Return the seconds of one pass over these images, in batches."""
        return math.ceil(images / batch) * self.call + images * self.image


@dataclass(frozen=True)
class AttackSpeed:
    """The speed of attacks on a network in batches of one size.

    `forward` is the time of a forward pass, `gradient` that of a forward pass with its gradient to the image. `own` is
    the additional time of each attack per forward pass.
    """

    forward: PassTime
    gradient: PassTime
    batch: int
    own: Mapping[str, PassTime] = field(default_factory=dict)

    def check(self, images: float | int) -> float:
        """Return the seconds of predicting these images."""
        return self.forward.seconds(images, self.batch)

    def seconds(self, name: str, work: Work, images: float | int) -> float:
        """Return the seconds of the attack with this name on images that survive it."""
        spent = (work.forwards - work.gradients) * self.check(images)
        spent += work.gradients * self.gradient.seconds(images, self.batch)
        return spent + work.forwards * self.own.get(name, PassTime(0.0, 0.0)).seconds(images, self.batch)


def measure_speed(net: nn.Module, x: Images, batch: int, short: Mapping[str, Attack], classes: int) -> AttackSpeed:
    """Measure the speed of `net`, as attacks use it, on the device of x; `short` are attacks with few iterations."""
    with frozen(net), torch.enable_grad(), full_precision():
        each = _median(partial(_forward, net, x[:FEW])) / len(x[:FEW])
        count = max(1, min(batch, len(x), max(FEW, math.floor(LONGEST / each))))
        forward = _speed(lambda n: _median(partial(_forward, net, x[:n])), count)
        gradient = _speed(lambda n: _median(partial(_gradient, net, x[:n])), count)
        own = {name: arithmetic(attack, x, classes) for name, attack in short.items()}
        return AttackSpeed(forward, gradient, batch, own)


def arithmetic(attack: Attack, x: Images, classes: int) -> PassTime:
    """Measure the time of an attack's own arithmetic per forward pass, on images like x."""
    net, work = Unbeaten(classes).to(x.device), passes(attack, classes)
    labels = torch.zeros(FEW, dtype=torch.long, device=x.device)
    x = x[torch.arange(FEW, device=x.device) % len(x)]

    def spent(n: int) -> float:
        batch = Batch(x[:n], labels[:n], torch.arange(n), PerImage(0, torch.arange(n)))
        forward, gradient = (_median(partial(act, net, batch.x)) for act in (_forward, _gradient))
        network = (work.forwards - work.gradients) * forward + work.gradients * gradient
        return max(0.0, _median(lambda: attack(net, batch)) - network) / max(1, work.forwards)

    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        return _speed(spent, FEW)


def _forward(net: nn.Module, x: Images) -> None:
    with torch.no_grad():
        net(x)


def _gradient(net: nn.Module, x: Images) -> None:
    inner = x.detach().requires_grad_()
    torch.autograd.grad(net(inner).sum(), inner)


def _speed(spent: Callable[[int], float], most: int) -> PassTime:
    """Compute the pass time from the seconds of two batches: a large one and a quarter of it."""
    few, large = math.ceil(most / 4), spent(most)
    if few == most:  # one image
        return PassTime(0.0, large)
    image = min(max(0.0, large - spent(few)) / (most - few), large / most)
    return PassTime(large - most * image, image)


def _median(act: Callable[[], Any]) -> float:
    """Return the median of the seconds, after a warm-up."""

    def timed() -> float:
        start = time.perf_counter()
        act()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    timed()
    return median(timed() for _ in range(REPEATS))
