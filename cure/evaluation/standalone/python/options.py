"""The arguments of `evaluate` that are not the network and the images, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from cure.errors import UserError
from cure.evaluation.standalone.python.own_attacks import OwnAttack
from cure.settings import base
from cure.settings.base import COUNTS, SEEDS
from cure.settings.check import TAKEN
from cure.settings.sections import Threat

ATTACKS = "a text such as 'clean, pgd20', a list of names, or {'mine': attack} for a function (net, x, y) -> x_adv"


@dataclass(frozen=True)
class Options:
    """What a caller asked for; raises UserError on what makes no sense."""

    norm: Any
    attacks: Any
    eps: Any
    step: Any
    n: Any
    device: Any
    classes: Any
    batch: Any
    seed: Any
    out: str | Path | None
    progress: bool
    force: bool

    def __post_init__(self) -> None:
        _ = self.columns, self.own, self.threat, self.where
        if str(self.norm).lower() != "linf":
            raise UserError(f"norm is {self.norm!r}; allowed: 'Linf'")
        whole = [("batch", self.batch, 1, COUNTS), ("seed", self.seed, 0, SEEDS)]
        whole += [(what, value, 1, COUNTS) for what, value in (("n", self.n),) if value is not None]
        for what, value, least, end in whole:
            if not isinstance(value, int) or not least <= value < end:
                raise UserError(f"{what} is {value!r}; a whole number from {least} to {end - 1}")
        if self.classes is not None and (not isinstance(self.classes, int) or self.classes < 2):
            raise UserError(f"classes is {self.classes!r}; a whole number of at least 2, or None to ask the network")

    @property
    def columns(self) -> list[str]:
        """Names of all attacks, in order; spaces and empty names are left out."""
        return [name for name, _ in self._named()]

    @property
    def own(self) -> dict[str, OwnAttack]:
        """The caller's own attacks."""
        return {name: attack for name, attack in self._named() if attack is not None}

    def _named(self) -> list[tuple[str, OwnAttack | None]]:
        listed = self.attacks.split(",") if isinstance(self.attacks, str) else self.attacks
        listed = [listed] if isinstance(listed, Mapping) else listed
        if not isinstance(listed, Sequence):
            raise UserError(f"attacks is {self.attacks!r}; needed: {ATTACKS}")
        found = list[tuple[str, OwnAttack | None]]()
        for item in listed:
            if isinstance(item, Mapping):
                found += [(_own_name(name), _function(name, attack)) for name, attack in item.items()]
            elif isinstance(item, str):
                found += [(item.strip(), None)] if item.strip() else []
            else:
                raise UserError(f"attacks has {item!r}; needed: {ATTACKS}")
        names = [name for name, attack in found if attack is not None]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"attacks: two of yours are called {twice}; give each a name of its own")
        return found

    @property
    def threat(self) -> dict[str, float]:
        """Radius and step size; by default a quarter of the radius."""
        eps = _length("eps", self.eps)
        return {"eps": eps, "step": eps / 4 if self.step is None else _length("step", self.step)}

    @property
    def where(self) -> torch.device | None:
        """The device to compute on; None for where the network is."""
        if self.device is None:
            return None
        try:
            device = torch.device(self.device)
            torch.empty(0, device=device)
        except (RuntimeError, TypeError, AssertionError, NotImplementedError) as problem:
            why = str(problem).splitlines()[0]
            raise UserError(f"device is {self.device!r}, which PyTorch does not have here: {why}") from None
        return device


def _length(what: Literal["eps", "step"], value: Any) -> float:
    try:
        threat = Threat.model_validate({"eps": 1, "step": 1} | {what: value})
    except ValueError:
        told = {"eps": "a radius above 0 and up to 1, such as 8/255", "step": "a step size above 0, such as 2/255"}
        grey = "images are in [0, 1], and 8 grey levels are 8/255"
        raise UserError(f"{what} is {value!r}; {told[what]}: {grey}") from None
    return threat.eps if what == "eps" else threat.step


def _own_name(name: Any) -> str:
    try:
        if base.name(str(name)) in TAKEN or str(name).startswith("nrr_"):
            raise ValueError("taken: tables have another column of this name")
    except ValueError as problem:
        raise UserError(f"attacks: {name!r} as the name of yours: {problem}") from None
    return str(name)


def _function(name: Any, attack: Any) -> OwnAttack:
    if not callable(attack):
        raise UserError(f"attacks: {name} is a {type(attack).__name__}; needed: a function (net, x, y) -> x_adv")
    found: OwnAttack = attack
    return found
