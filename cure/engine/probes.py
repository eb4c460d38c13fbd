"""What the masking report asks for and an evaluation did not measure, on a few images."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from cure.core.ascent import ascend, error
from cure.core.attack import Chain
from cure.core.method import Batch
from cure.core.settings import Search
from cure.core.tensors import Images
from cure.engine import cost
from cure.engine.cost import Work
from cure.engine.driver import Driver
from cure.engine.lines import Line
from cure.engine.masking import Outcomes, apart, masking
from cure.engine.measure import frozen
from cure.engine.outcomes import Result
from cure.engine.units import Examples, digest
from cure.schema import Masking, Threat


def doubts(
    net: nn.Module, data: Examples, result: Result, threat: Threat, rules: Masking, *chains: Chain, **how: Any
) -> tuple[list[Line], Outcomes]:
    """The masking report of a result on `data`, after PGD-20, PGD-100 and PGD-20 far outside where it lacks them.

    Also what these probes found within eps, which counts for the worst case.

    `chains` are further columns of one attack that it may lack, such as Square alone; `how` goes to the driver.
    """
    seen = apart(result)
    more = {name: chain for chain in chains for name in chain.attacks}
    found = missing(net, data, seen, probes(threat, rules) | more, rules, **how)
    return masking(seen | found, rules), {name: outcome for name, outcome in found.items() if name != "far"}


def probes(threat: Threat, rules: Masking) -> dict[str, Chain]:
    """`pgd20` under the threat model; `pgd100`, with 100 steps; `far`, ball and steps `radius` times as large."""
    pgd20 = _pgd20(threat)
    far = {"eps": threat.eps * rules.radius, "step": threat.step * rules.radius}
    searches = {"pgd20": pgd20, "pgd100": pgd20.model_copy(update={"steps": 100}), "far": pgd20.model_copy(update=far)}
    return {
        name: Chain({name: partial(ascend, search=search, maximise=error)}, search.model_dump(), search.eps)
        for name, search in searches.items()
    }


def transfer(surrogate: nn.Module, threat: Threat) -> Chain:
    """PGD-20 on another network, whose images are tried on the evaluated one."""

    def attack(net: nn.Module, batch: Batch) -> Images:
        with frozen(surrogate):
            return ascend(surrogate, batch, _pgd20(threat), error)

    facts = {"surrogate": digest([str(surrogate)], surrogate.state_dict()), "pgd": _pgd20(threat).model_dump()}
    return Chain({"transfer": attack}, facts, threat.eps)


def work(have: list[str], threat: Threat, rules: Masking) -> Work:
    """Passes per image of the probes that are not among the columns `have`."""
    todo = [cost.work("pgd", chain.facts) for name, chain in probes(threat, rules).items() if name not in have]
    return Work(sum(one.forwards for one in todo), sum(one.gradients for one in todo))


def missing(
    net: nn.Module,
    data: Examples,
    have: Outcomes,
    chains: dict[str, Chain],
    rules: Masking,
    *,
    batch: int,
    seed: int,
    store: Any = None,
    tick: Callable[[str, int, int], None] | None = None,
) -> Outcomes:
    """The columns that `have` lacks, on `rules.images` evenly spread images; - for the others.

    They are taken from those that every column of `have` looked at, so that gaps can be judged on the same images.
    """
    seen = [place for place in range(len(data)) if all(outcome[place] != "-" for outcome in have.values())]
    count = min(rules.images, len(seen))
    if not count:
        return {}
    rows = [seen[k * len(seen) // count] for k in range(count)]
    few = data[torch.tensor(rows, device=data.y.device)]
    driver = Driver(net, few, batch=batch, seed=seed, store=store, tick=tick)
    todo = {name: chain for name, chain in chains.items() if name not in have}
    return {name: _text(driver.run(chain).robust.tolist(), rows, len(data)) for name, chain in todo.items()}


def _pgd20(threat: Threat) -> Search:
    return Search(eps=threat.eps, step=threat.step, steps=20, start="uniform", clip_start=True)


def _text(hits: list[bool], rows: list[int], images: int) -> str:
    text = ["-"] * images
    for row, hit in zip(rows, hits, strict=True):
        text[row] = "01"[hit]
    return "".join(text)
