"""Run the attacks that the gradient-masking checks require and an evaluation did not, on a few images."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from cure.adversarial.pgd import ce_objective, pgd
from cure.adversarial.pgd_l2 import pgd_in_ball
from cure.core.attack import AttackSequence
from cure.core.method import Batch
from cure.core.tensors import Images
from cure.data.loader import evenly_spaced
from cure.evaluation.attack_columns import AttackColumn, AttackProgress, OnProgress
from cure.evaluation.diagnostics.attack_path import MARGINS, USUAL, convergence, first_adversarial
from cure.evaluation.diagnostics.behaviour import behaviour
from cure.evaluation.diagnostics.check import Check
from cure.evaluation.diagnostics.gradient_masking import Outcomes, apart, masking
from cure.evaluation.driver import Driver
from cure.evaluation.measure import frozen
from cure.evaluation.statistics.results import AttackResult
from cure.evaluation.work_items import Examples, digest
from cure.settings.base import L2Search, Search
from cure.settings.sections import Masking, ThreatModel


def masking_checks(
    net: nn.Module,
    data: Examples,
    result: AttackResult,
    attack_sequences: dict[str, AttackSequence],
    rules: Masking,
    **how: Any,
) -> tuple[list[Check], dict[str, AttackColumn]]:
    """Return the gradient-masking checks of a result on `data`, and the columns of attacks that were added for them.

    Each of the `attack_sequences` here has one attack. Those that the result lacks are run; `how` is passed to
    `missing`.
    """
    seen = apart(result)
    found = missing(net, data, seen, attack_sequences, rules, **how)
    lines = masking(seen | {name: column.text(len(data)) for name, column in found.items()}, rules)
    if "path" in found and bool((left := found["path"].outcome.robust).any()):
        path = attack_sequences["path"]
        lines += convergence(found["path"].outcome.shown[MARGINS][left], path.eps or 0.0, rules, path.ball)
    return lines, found


def probes(threat: ThreatModel, rules: Masking) -> dict[str, AttackSequence]:
    """Return the attacks that every gradient-masking report requires.

    These are `pgd20` under the threat model; `pgd100`, with 100 steps; `far`, with ball and steps `radius` times as
    large, or more if eps is less than usual; `unbounded`, sign steps from the image itself to any image; and `path`,
    which is `pgd20` up to its first adversarial iterate.
    """
    pgd20, ball = _pgd20(threat), threat.norm
    radius = rules.radius * max(1.0, USUAL[ball] / threat.eps)
    far = {"eps": threat.eps * radius, "step": threat.step * radius}
    searches = {"pgd20": pgd20, "pgd100": pgd20.model_copy(update={"steps": 100}), "far": pgd20.model_copy(update=far)}
    found = {
        name: AttackSequence({"pgd": partial(pgd_in_ball, search=search, objective=ce_objective)}, facts, search.eps)
        for name, search in searches.items()
        for facts in [search.model_dump() | {"ball": ball}]
    }
    everywhere = Search(eps=1.0, step=threat.step / threat.eps, steps=20, start="zero", clip_start=True)
    ascent, facts = partial(pgd, search=everywhere, objective=ce_objective), pgd20.model_dump()
    found["unbounded"] = AttackSequence({"pgd": ascent}, everywhere.model_dump() | {"ball": ball})
    facts |= {"ball": ball, "returns": "the first adversarial iterate"}
    found["path"] = AttackSequence({"pgd": partial(first_adversarial, search=pgd20)}, facts, pgd20.eps)
    return {name: replace(sequence, ball=ball) for name, sequence in found.items()}


@dataclass(frozen=True)
class Transfer:
    """PGD on another network, whose adversarial images are tested on the evaluated one."""

    surrogate: nn.Module
    search: Search | L2Search

    def __call__(self, net: nn.Module, batch: Batch) -> Images:
        """Return adversarial images (n, c, h, w) of the surrogate."""
        with frozen(self.surrogate):
            return self.on(self.surrogate, batch)

    def on(self, net: nn.Module, batch: Batch) -> Images:
        """Run PGD on a given network, in the same number of passes."""
        return pgd_in_ball(net, batch, self.search, ce_objective)


def transfer(surrogate: nn.Module, threat: ThreatModel, x: Images) -> AttackSequence:
    """Return PGD-20 on another network; `x` are some of the images."""
    does, pgd20 = behaviour(surrogate, x.shape[1:], x.device), _pgd20(threat)
    facts = {"surrogate": digest([str(surrogate), does], surrogate.state_dict()), **pgd20.model_dump()}
    facts |= {"ball": threat.norm}
    return AttackSequence({"pgd": Transfer(surrogate, pgd20)}, facts, threat.eps, ball=threat.norm)


def missing(
    net: nn.Module,
    data: Examples,
    have: Outcomes,
    attack_sequences: dict[str, AttackSequence],
    rules: Masking,
    *,
    batch: int,
    seed: int,
    store: Any = None,
    on_progress: OnProgress = lambda _: None,
    through: nn.Module | None = None,
) -> dict[str, AttackColumn]:
    """Return the columns that `have` lacks, on `rules.images` evenly spaced images.

    The images are taken from those that every column of `have` covers, so that gaps can be tested on the same images.
    Attacks use `through` instead of the network, if given.
    """
    seen = [place for place in range(len(data)) if all(outcome[place] != "-" for outcome in have.values())]
    todo = {name: sequence for name, sequence in attack_sequences.items() if name not in have}
    if not seen or not todo:
        return {}
    rows = torch.tensor(seen)[evenly_spaced(len(seen), rules.images)]
    driver = Driver(net, data[rows.to(data.y.device)], batch=batch, seed=seed, store=store, unfolded=through)
    found = {}
    for name, sequence in todo.items():
        driver.on_progress = lambda *event, name=name: on_progress(AttackProgress(name, *event))
        found[name] = AttackColumn(sequence, rows, driver.run(sequence))
    return found


def _pgd20(threat: ThreatModel) -> Search | L2Search:
    how: dict[str, Any] = {"steps": 20, "start": "uniform", "clip_start": True}
    kind = Search if threat.norm == "linf" else L2Search
    return kind(eps=threat.eps, step=threat.step, **how)
