"""Check the arguments of `evaluate` other than the network and the images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cure.errors import UserError
from cure.evaluation.standalone import options as command_options
from cure.evaluation.standalone.python.own_attacks import OwnAttack
from cure.settings import base
from cure.settings.bounds import COUNTS, SEEDS
from cure.settings.check import TAKEN

USUAL = {"linf": "clean, pgd20, cw20, aa", "l2": "clean, pgd20, aa"}
ATTACKS = "a text such as 'clean, pgd20', a list of names, or {'mine': attack} for a function (net, x, y) -> x_adv"


@dataclass(frozen=True)
class Options:
    """The arguments of a caller; invalid ones raise UserError."""

    norm: Any
    attacks: Any
    eps: Any
    step: Any
    corruptions: Any
    n: Any
    device: Any
    classes: Any
    batch: Any
    seed: Any
    out: str | Path | None
    progress: bool
    force: bool

    def __post_init__(self) -> None:
        _ = self.columns, self.own, self.threat, self.severities, self.where
        whole = [("batch", self.batch, 1, COUNTS), ("seed", self.seed, 0, SEEDS)]
        whole += [(what, value, 1, COUNTS) for what, value in (("n", self.n),) if value is not None]
        for what, value, least, end in whole:
            if not isinstance(value, int) or not least <= value < end:
                raise UserError(f"{what} is {value!r}; a whole number from {least} to {end - 1}")
        if self.classes is not None and (not isinstance(self.classes, int) or self.classes < 2):
            raise UserError(f"classes is {self.classes!r}; a whole number of at least 2, or None to ask the network")

    @property
    def columns(self) -> list[str]:
        """Return the names of all attacks, in order, without spaces and empty names."""
        return [name for name, _ in self._named()]

    @property
    def own(self) -> dict[str, OwnAttack]:
        """Return the caller's own attacks."""
        return {name: attack for name, attack in self._named() if attack is not None}

    def _named(self) -> list[tuple[str, OwnAttack | None]]:
        asked = USUAL[self.threat["norm"]] if self.attacks is None else self.attacks
        listed = asked.split(",") if isinstance(asked, str) else asked
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
    def threat(self) -> dict[str, Any]:
        """Return the norm and, where given, radius and step size, as keyword arguments of `plan.threat_model`."""
        return command_options.threat(self.norm, self.eps, self.step, dashes="")

    @property
    def severities(self) -> list[int] | None:
        """Return the severities at which corruptions are measured, if any."""
        asked = self.corruptions
        if isinstance(asked, Sequence) and not isinstance(asked, str):
            asked = ",".join(map(str, asked))
        if not isinstance(asked, str | None):
            raise UserError(f"corruptions is {asked!r}; needed: 'all', or severities such as '1,3,5' or [1, 3, 5]")
        return command_options.severities(asked, option="corruptions")

    @property
    def where(self) -> torch.device | None:
        """Return the device to compute on; None for the network's own."""
        if self.device is None:
            return None
        try:
            device = torch.device(self.device)
            torch.empty(0, device=device)
        except (RuntimeError, TypeError, AssertionError, NotImplementedError) as problem:
            why = str(problem).splitlines()[0]
            raise UserError(f"device is {self.device!r}, which PyTorch does not have here: {why}") from None
        return device


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
