"""A subject to analyse: a small network of a method, random images, and phases of an invented training."""

from typing import Any

import torch

from cure import catalogue
from cure.adversarial.pgd import ce_objective, pgd
from cure.core.analysis import AnalysisResult, Phase, Subject
from cure.settings.base import FixedSearch
from cure.storage.checkpoint import build
from tests.support.method_harness import shipped

ATTACK = FixedSearch(eps=0.15, step=0.0375, steps=3, start="uniform", clip_start=True)


def subject(
    name: str, phases: list[Phase] | None = None, images: int = 12, attack: FixedSearch = ATTACK, **changes: Any
) -> Subject:
    torch.manual_seed(0)
    net = build("small", {"width": 4}, 1, 10)
    x = torch.rand(images, 1, 8, 8)
    with torch.no_grad():
        net.train()(x)  # running statistics of these images
        net.linear.weight.mul_(30)  # so that images differ in their predictions
    given: dict[str, Any] = {
        "net": net.eval(),
        "method": catalogue.entry("methods", name).METHOD,
        "hyper": shipped(name),
        "x": x,
        "y": torch.arange(images) % 10,
        "index": torch.arange(images),
        "batch": 6,
        "seed": 0,
        "eps": attack.eps,
        "perturb": lambda batch: pgd(net, batch, attack, ce_objective),
        "phases": phases or [],
    }
    return Subject(**given | changes)


def measured(name: str, given: Subject, **settings: Any) -> AnalysisResult:
    entry = catalogue.entry("analyses", name)
    found: AnalysisResult = entry.ANALYSIS.measure(given, entry.Hyper(**settings))
    return found
