"""What an evaluation runs: columns of a params.yaml under its threat model, and what they will cost."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from cure import catalogue
from cure.core.attack import AttackSequence, judged_alike
from cure.core.tensors import Images
from cure.data.loader import evenly_spaced
from cure.errors import UserError, did_you_mean
from cure.evaluation import attack_columns, cost
from cure.evaluation.diagnostics import extra_attacks
from cure.evaluation.driver import full_precision, multiplying
from cure.evaluation.speed import AttackSpeed, measure_speed
from cure.evaluation.survivor import Work, works
from cure.settings.check import check
from cure.settings.params import FILE, Params, read
from cure.settings.sections import AttackSuite, Masking, Preflight, Threat

EVERYTHING = ["run", "threat", "attack", "preflight", "masking"]
OURS = re.compile(r"(?m)^(threat|attack)\s*:")
SHORT = {"steps": 4, "iterations": 4, "queries": 20}  # enough to time what an attack computes besides the network


@dataclass(frozen=True)
class Plan:
    """Chains by column, and the settings that they share."""

    suite: AttackSuite
    threat: Threat
    preflight: Preflight
    masking: Masking
    classes: int
    attack_sequences: dict[str, AttackSequence]
    short: list[AttackSequence] = field(default_factory=list)  # with few iterations, to be timed
    transfer: AttackSequence | None = None  # another network's adversarial images
    known: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # every column that could be named, with its settings

    @property
    def probes(self) -> dict[str, AttackSequence]:
        """What the masking report wants and the columns lack; nothing where nothing is attacked."""
        if not self.attack_sequences:
            return {}
        wanted = extra_attacks.probes(self.threat, self.masking) | (
            {"transfer": self.transfer} if self.transfer else {}
        )
        alike = judged_alike({**self.attack_sequences, **wanted})
        return {name: alike[name] for name in wanted if name not in self.attack_sequences}

    def probed(self, images: int) -> int:
        """How many images the probes see: among those that every column with an accuracy sees."""
        common = set(range(images))
        for name, sequence in self.attack_sequences.items():
            common &= set(evenly_spaced(images, self.sees(name, images)).tolist()) if sequence.norm != "l2" else common
        return min(self.masking.images, len(common))

    def sees(self, column: str, images: int) -> int:
        """How many of so many images a column sees."""
        return min(images, self.suite.subset.get(column, images))

    def measure_speed(self, net: nn.Module, x: Images) -> AttackSpeed:
        """The speed of the folded copy that the attacks see, and of these attacks, measured."""
        with full_precision():
            seen = attack_columns.seen_by_attacks(net, x[: self.suite.batch], self.suite)
        short = {name: attack for sequence in self.short for name, attack in sequence.attacks.items()}
        with multiplying(tf32=self.suite.precision == "tf32"):
            return measure_speed(seen, x, self.suite.batch, short, self.classes)

    def seconds(self, speed: AttackSpeed, images: int) -> float:
        """Expected time on so many images, if as many are right clean and after all attacks as `preflight` assumes."""
        clean, robust = self.preflight.clean, self.preflight.robust
        probes = [
            cost.ColumnCost(self.works(sequence), subset=self.probed(images)) for sequence in self.probes.values()
        ]
        probing = sum((column.seconds(speed, images, clean, robust) for column in probes), 0.0)
        return speed.check(images) + self.of_columns(speed, images) + probing

    def of_columns(self, speed: AttackSpeed, images: int) -> float:
        """The part of it that the columns take: all that the stage attack does."""
        clean, robust = self.preflight.clean, self.preflight.robust
        columns = [
            cost.ColumnCost(self.works(sequence), sequence.passes, sequence.norm is None, self.suite.subset.get(name))
            for name, sequence in self.attack_sequences.items()
        ]
        return sum((column.seconds(speed, images, clean, robust) for column in columns), 0.0)

    def works(self, sequence: AttackSequence) -> dict[str, Work]:
        """The passes of each attack of a sequence for an image that survives it; on a surrogate as on the network."""
        attacks = {
            name: attack.on if isinstance(attack, extra_attacks.Transfer) else attack
            for name, attack in sequence.attacks.items()
        }
        return works(replace(sequence, attacks=attacks), self.classes)

    @property
    def random(self) -> bool:
        """Whether it is made for a network that draws at random."""
        return any(sequence.passes > 1 for sequence in self.attack_sequences.values())


def published() -> Path:
    """The params.yaml of the paper: beside the package in a checkout, inside it when installed from a wheel."""
    inside = catalogue.ROOT / "published.yaml"
    return inside if inside.exists() else catalogue.ROOT.parent / FILE


def nearest(path: Path | None) -> tuple[Path, list[str]]:
    """The params.yaml nearest above `path`, else nearest above the working folder, else the published one; and notes.

    A file of this name belongs to this pipeline if a line of it begins the section `threat` or `attack`, which every
    evaluation reads. Another project's is passed over, and a note says so; one of ours that is broken is not.
    """
    starts = [*([path.resolve()] if path else []), Path("here").resolve()]
    passed = list[str]()
    for file in dict.fromkeys(folder / FILE for start in starts for folder in start.parents):
        if file.is_file():
            if OURS.search(file.read_text(encoding="utf-8", errors="replace")):
                return file, passed
            passed.append(f"{file}: another project's (no section threat or attack), passed over")
    return published(), [*passed, "the published settings count"] if passed else []


def opened(settings: Path, dataset: str, model: str) -> Params:
    """The checked file, with everything that an evaluation may read."""
    raw = read(settings)
    check(raw).refuse(settings)
    sections = [f"{folder}.{name}" for folder in ("datasets", "models") for name in raw[folder]]
    return Params(raw, [*EVERYTHING, *sections], dataset, model)


def plan(params: Params, attacks: list[str] | None, classes: int, changes: dict[str, Any]) -> Plan:
    """The named columns, by default those of the table. `changes` are laid over the sections attack and threat.

    A column that the file lacks may be one of the published file.
    """
    if attacks is not None and not attacks:
        raise UserError("attacks: names no column; clean alone is a column, too")
    suite, threat = params.get("attack", AttackSuite), params.get("threat", Threat)
    threat = Threat.model_validate(threat.model_dump() | changes.get("threat", {}))
    section = read(published())["attack"]
    known = {**section["on_request"], **section["columns"], **suite.on_request, **suite.columns}
    names = [name for name in (attacks if attacks is not None else suite.columns) if name != "clean"]
    for name in names:
        if name not in known:
            raise UserError(f"attacks: no column {name!r}{did_you_mean(name, ['clean', *known])}")
    columns = {name: known[name] for name in names}
    shown = [name for name in names if "norm" not in columns[name]]
    narrowed = suite.model_copy(
        update={"columns": columns, "table": shown, "subset": {k: n for k, n in suite.subset.items() if k in names}}
        | changes.get("attack", {})
    )
    fit, rules = params.get("preflight", Preflight), params.get("masking", Masking)
    attack_sequences = attack_columns.attack_sequences(narrowed, threat, classes)
    return Plan(narrowed, threat, fit, rules, classes, attack_sequences, _short(narrowed, threat, classes), known=known)


def _short(suite: AttackSuite, threat: Threat, classes: int) -> list[AttackSequence]:
    """The columns with few iterations."""
    columns = {
        name: settings | {key: min(count, settings[key]) for key, count in SHORT.items() if key in settings}
        for name, settings in suite.columns.items()
    }
    return list(
        attack_columns.attack_sequences(suite.model_copy(update={"columns": columns}), threat, classes).values()
    )
