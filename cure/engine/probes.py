"""What the masking report asks for and an evaluation did not measure, on a few images."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from cure.core.ascent import ascend, error
from cure.core.method import Batch
from cure.core.settings import Search
from cure.core.tensors import Images
from cure.engine.loader import Split
from cure.engine.masking import Outcomes
from cure.engine.measure import Attack, outcomes
from cure.schema import Masking


def probes(pgd20: Search, rules: Masking, square: Attack | None = None) -> dict[str, Attack]:
    """`pgd20` itself; `pgd100`, the same with 100 steps; `far`, the same in a ball and with steps `radius` times as
    large; and Square alone, where it is given.
    """
    wide: dict[str, Any] = {"eps": pgd20.eps * rules.radius, "step": pgd20.step * rules.radius}
    searches = {"pgd20": {}, "pgd100": {"steps": 100}, "far": wide}
    found: dict[str, Attack] = {
        name: partial(_ascend, search=pgd20.model_copy(update=changes)) for name, changes in searches.items()
    }
    return found | ({"square": square} if square else {})


def missing(
    net: nn.Module,
    split: Split,
    have: Outcomes,
    attacks: dict[str, Attack],
    rules: Masking,
    *,
    batch: int,
    seed: int,
    tick: Callable[[str], None] | None = None,
) -> Outcomes:
    """The attacks that `have` lacks, on `rules.images` of the split's images, evenly spread; - for the others."""
    todo = {name: attack for name, attack in attacks.items() if name not in have}
    count = min(rules.images, len(split))
    rows = torch.arange(count, device=split.labels.device) * len(split) // count
    few = Split(split.images[rows], split.labels[rows])
    flags = outcomes(net, few, todo, batch=batch, seed=seed, tick=tick) if todo else {}
    found = {}
    for name in todo:
        text = ["-"] * len(split)
        for row, hit in zip(rows.tolist(), flags[name].tolist(), strict=True):
            text[row] = "01"[hit]
        found[name] = "".join(text)
    return found


def _ascend(net: nn.Module, batch: Batch, search: Search) -> Images:
    return ascend(net, batch, search, error)
