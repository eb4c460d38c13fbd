"""Run a caller's own attacks beside those of cure/attacks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from torch import nn

from cure.core.attack import AttackSequence, distance, judged_alike
from cure.core.method import Batch
from cure.core.tensors import Images, Tensor
from cure.errors import UserError
from cure.evaluation.diagnostics import extra_attacks
from cure.evaluation.driver import ROUNDING, outermost
from cure.evaluation.standalone.outputs import THREATS
from cure.evaluation.standalone.plan import Plan
from cure.settings.sections import ThreatModel

OwnAttack = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(net, x, y) -> x': x are images (n, c, h, w) in [0, 1] and y their labels (n)."""
READ_BY_DIAGNOSTICS = {"square", "transfer"}  # and the names of the extra attacks


@dataclass(frozen=True)
class CheckedAttack:
    """A caller's attack, whose images must all be in the ball and in [0, 1].

    An image outside would not count as broken, so a faulty attack would make the network appear robust.
    """

    name: str
    attack: OwnAttack
    threat: ThreatModel

    def __call__(self, net: nn.Module, batch: Batch) -> Images:
        """Return the attack's images (n, c, h, w); raise UserError if a shape or value is wrong."""
        x = batch.x
        found: Any = self.attack(net, x.clone(), batch.y.clone())
        if not isinstance(found, Tensor) or found.shape != x.shape or not found.is_floating_point():
            kind = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise UserError(f"attacks: {self.name} returns {kind}; needed: floats {tuple(x.shape)}, as its images")
        found = found.detach().to(x)
        low, high = float(found.min()), float(found.max())
        if not -ROUNDING <= low <= high <= 1 + ROUNDING:  # excludes NaN, too
            raise UserError(f"attacks: {self.name} returns values from {low:g} to {high:g}; needed: images in [0, 1]")
        inside: Images = found.clamp(0, 1)
        change, eps = distance(inside, x, self.threat.norm), self.threat.eps
        if outside := int((change > outermost(eps)).sum()):
            raise UserError(
                f"attacks: {self.name} moves {outside} of {len(x)} images by up to {float(change.max()):g} in "
                f"{THREATS[self.threat.norm]}, but eps is {eps:g}; project them into the ball"
            )
        return inside


def with_own_attacks(plan: Plan, own: Mapping[str, OwnAttack], order: list[str]) -> Plan:
    """Return the plan with a column for each of the caller's attacks, all columns in the given order.

    Results of an own attack are never taken from an earlier run, since its code may have changed.
    """
    probes = extra_attacks.probes(plan.threat, plan.masking)
    taken = {*plan.known, *probes, *READ_BY_DIAGNOSTICS}
    for name in own:
        if name in taken:
            raise UserError(f"attacks: {name} is an attack of cure; give yours another name, such as my_{name}")
    mine = {name: _sequence(CheckedAttack(name, attack, plan.threat)) for name, attack in own.items()}
    both = judged_alike({**plan.attack_sequences, **mine})
    table = [name for name in order if name in {*plan.suite.table, *mine}]
    suite = plan.suite.model_copy(update={"table": table})
    return replace(plan, suite=suite, attack_sequences={name: both[name] for name in order if name in both})


def _sequence(attack: CheckedAttack) -> AttackSequence:
    facts, threat = {"attack": "own", "call": uuid4().hex}, attack.threat
    return AttackSequence({attack.name: attack}, facts, threat.eps, ball=threat.norm)
