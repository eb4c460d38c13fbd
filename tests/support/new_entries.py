"""A newcomer's method, attack, analysis and figure: a file each, and the lines of params.yaml that name them."""

METHOD = '''"""TOY: adversarial training by the Brier score, sum_k (p_k - 1[k = y])^2, p = softmax f(x')."""

import torch.nn.functional as F

from cure.adversarial.pgd import ce_objective, pgd
from cure.core.method import Method
from cure.settings.base import MethodSettings, Search


class Hyper(MethodSettings):
    """The attack."""

    attack: Search


def attack(nets, batch, hyper):
    """x' = PGD on CE."""
    return {"adv": pgd(nets.student, batch, hyper.attack, ce_objective)}


def loss(nets, batch, hyper):
    """The Brier score of x'."""
    p = nets.student(batch.x_adv).softmax(dim=1)
    return {"robust": (1.0, (p - F.one_hot(batch.y, p.shape[1])).square().sum(dim=1))}


METHOD = Method(cite="nobody", hyper=Hyper, loss=loss, attack=attack)
'''

ATTACK = '''"""SPSA: ascent on the margin by its differences along random signs. Uesato et al., ICML 2018."""

from functools import partial

import torch

from cure.core.attack import AttackSequence
from cure.nn.losses import margin
from cure.settings.base import Ball, Count, Positive


class Hyper(Ball):
    """Steps, their size, and the length of a difference."""

    step: Positive
    steps: Count
    delta: Positive


def attack(net, batch, hyper):
    """x' of every image: two forwards a step."""
    x_adv = batch.x
    for _ in range(hyper.steps):
        v = batch.noise.uniform(batch.x, 1.0).sign()
        with torch.no_grad():
            up, down = (margin(net(x_adv + side * hyper.delta * v), batch.y) for side in (1, -1))
        moved = x_adv + hyper.step * (up - down).sign()[:, None, None, None] * v
        x_adv = moved.clamp(batch.x - hyper.eps, batch.x + hyper.eps).clamp(0, 1)
    return x_adv


def attack_sequence(hyper, classes, seed):
    """The attack alone."""
    return AttackSequence({"spsa": partial(attack, hyper=hyper)}, hyper.model_dump(), hyper.eps, title="SPSA")
'''

ANALYSIS = '''"""Entropy of the predicted distribution in nats, a mean over images, clean and adversarial."""

import torch

from cure.core.analysis import Analysis, AnalysisResult, every
from cure.settings.base import Count, Settings


class Hyper(Settings):
    """Of how many images."""

    images: Count


def measure(subject, hyper):
    """(view): the mean entropy."""
    batch = subject.few(hyper.images)
    views = {"clean": batch.x, "adversarial": subject.perturb(batch)}
    with torch.no_grad():
        logs = [subject.net(x).double().log_softmax(dim=1) for x in views.values()]
    found = torch.stack([-(log.exp() * log).sum(dim=1).mean() for log in logs])
    return AnalysisResult({"entropy": found}, {"view": list(views)})


ANALYSIS = Analysis(measure, every)
'''

FIGURE = '''"""Entropy: a point for each method."""

from cure.core.figure import Figure, marker, panels, style


def draw(data):
    """Adversarial against clean entropy."""
    drawn, parts = panels(data, 4, 3)
    for ax, part in parts:
        for method, own in part.groupby("method", sort=False):
            means = own.groupby("view")["entropy"].mean()
            ax.plot(means["clean"], means["adversarial"], marker(method), color=style(method)[0], label=method)
        ax.legend()
    return drawn


FIGURE = Figure("Entropy of predictions, clean and adversarial.", data="entropy", without="no analysed row", draw=draw)
'''

FILES = {
    "cure/methods/toy.py": METHOD,
    "cure/attacks/spsa.py": ATTACK,
    "cure/analyses/entropy.py": ANALYSIS,
    "cure/figures/entropy.py": FIGURE,
}
LINES = {  # place in params.yaml, as CONTRIBUTING names it -> the line there and the one that follows it now
    "methods.NAME": ("methods:\n", "  toy: {attack: {steps: 2, start: uniform, clip_start: true}}\n"),
    "grid.update": ("  update:\n", "  - toy\n"),
    "attack.columns": ("  columns:\n", "    spsa4: {attack: spsa, steps: 4, delta: 0.01}\n"),
    "attack.table": ("  table:\n", "  - spsa4\n"),
    "analyse.entries": ("  entries:\n", "    entropy: {images: 8}\n"),
    "report.figures": ("  figures:\n", "  - entropy\n"),
}


def added(params: str) -> str:
    """The text of params.yaml with these lines."""
    for before, line in LINES.values():
        assert f"\n{before}" in params
        params = params.replace(f"\n{before}", f"\n{before}{line}", 1)
    return params
