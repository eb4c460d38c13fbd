"""Plan an evaluation: columns of a params.yaml under its threat model, and their cost."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from cure import catalogue
from cure.core.attack import AttackSequence, judged_alike
from cure.core.corruption import BENCHMARK, refuse_empty_mean
from cure.core.tensors import Images
from cure.data.loader import evenly_spaced
from cure.errors import UserError, did_you_mean
from cure.evaluation import attack_columns, cost
from cure.evaluation.diagnostics import extra_attacks
from cure.evaluation.driver import full_precision, multiplying
from cure.evaluation.speed import AttackSpeed, measure_speed
from cure.evaluation.survivor import Work, works
from cure.settings.base import Norm
from cure.settings.check import check
from cure.settings.params import FILE, Params, read
from cure.settings.sections import AttackSuite, CorruptSuite, L2Threat, Masking, Preflight, Threat, ThreatModel

EVERYTHING = ["run", "threat", "attack", "preflight", "masking", "corrupt"]
OURS = re.compile(r"(?m)^(threat|attack)\s*:")
USUAL_L2 = L2Threat(eps=0.5, step=15 / 256)
"""RobustBench's radius in L2, and the step of Rice et al., ICML 2020, in proportion: 15/255 at a radius of 128/255."""
SHORT = {"steps": 4, "iterations": 4, "queries": 20}  # enough to time an attack's own arithmetic


@dataclass(frozen=True)
class Plan:
    """Attack sequences by column, and the settings that they share."""

    suite: AttackSuite
    threat: ThreatModel
    preflight: Preflight
    masking: Masking
    classes: int
    attack_sequences: dict[str, AttackSequence]
    short: list[AttackSequence] = field(default_factory=list)  # with few iterations, to be timed
    transfer: AttackSequence | None = None  # adversarial images of another network
    known: dict[str, dict[str, Any]] = field(default_factory=dict)  # every available column, with its settings
    left_out: list[str] = field(default_factory=list)  # columns of params.yaml that are not defined in the L2 ball
    corrupt: CorruptSuite | None = None  # the corruptions to measure, if any

    @property
    def probes(self) -> dict[str, AttackSequence]:
        """Return the attacks that gradient-masking checks require and the columns lack; none if nothing is attacked."""
        if not self.attack_sequences:
            return {}
        wanted = extra_attacks.probes(self.threat, self.masking) | (
            {"transfer": self.transfer} if self.transfer else {}
        )
        alike = judged_alike({**self.attack_sequences, **wanted})
        return {name: alike[name] for name in wanted if name not in self.attack_sequences}

    def probed(self, images: int) -> int:
        """Return how many images the probes attack, among those that every column with an accuracy covers."""
        common = set(range(images))
        for name, sequence in self.attack_sequences.items():
            common &= (
                set(evenly_spaced(images, self.sees(name, images)).tolist())
                if sequence.norm in (None, self.threat.norm)
                else common
            )
        return min(self.masking.images, len(common))

    def sees(self, column: str, images: int) -> int:
        """Return how many of `images` a column covers."""
        return min(images, self.suite.subset.get(column, images))

    def measure_speed(self, net: nn.Module, x: Images) -> AttackSpeed:
        """Measure the speed of these attacks on the folded copy that they use."""
        with full_precision():
            seen = attack_columns.seen_by_attacks(net, x[: self.suite.batch], self.suite)
        short = {name: attack for sequence in self.short for name, attack in sequence.attacks.items()}
        with multiplying(tf32=self.suite.precision == "tf32"):
            return measure_speed(seen, x, self.suite.batch, short, self.classes)

    def seconds(self, speed: AttackSpeed, images: int) -> float:
        """Return the expected seconds, with the shares of correct and of surviving images that `preflight` assumes."""
        clean, robust = self.preflight.clean, self.preflight.robust
        probes = [
            cost.ColumnCost(self.works(sequence), subset=self.probed(images)) for sequence in self.probes.values()
        ]
        probing = sum((column.seconds(speed, images, clean, robust) for column in probes), 0.0)
        return speed.check(images) * (1 + self.corrupted_sets) + self.of_columns(speed, images) + probing

    @property
    def corrupted_sets(self) -> int:
        """Return how often every image is evaluated corrupted: corruptions x severities."""
        return len(self.corrupt.corruptions) * len(self.corrupt.severities) if self.corrupt else 0

    def of_columns(self, speed: AttackSpeed, images: int) -> float:
        """Return the columns' part of the expected seconds: all that the stage attack does."""
        clean, robust = self.preflight.clean, self.preflight.robust
        columns = [
            cost.ColumnCost(self.works(sequence), sequence.passes, sequence.norm is None, self.suite.subset.get(name))
            for name, sequence in self.attack_sequences.items()
        ]
        return sum((column.seconds(speed, images, clean, robust) for column in columns), 0.0)

    def works(self, sequence: AttackSequence) -> dict[str, Work]:
        """Return each attack's passes for an image that survives it; passes of a surrogate count as the network's."""
        attacks = {
            name: attack.on if isinstance(attack, extra_attacks.Transfer) else attack
            for name, attack in sequence.attacks.items()
        }
        return works(replace(sequence, attacks=attacks), self.classes)

    @property
    def random(self) -> bool:
        """Return whether the plan is made for a network that draws at random."""
        return any(sequence.passes > 1 for sequence in self.attack_sequences.values())


def published() -> Path:
    """Return the params.yaml of the paper: beside the package in a checkout, inside it when installed from a wheel."""
    inside = catalogue.ROOT / "published.yaml"
    return inside if inside.exists() else catalogue.ROOT.parent / FILE


def nearest(path: Path | None) -> tuple[Path, list[str]]:
    """Return the params.yaml nearest above `path`, else above the working folder, else the published one; and notes.

    A file of this name belongs to this pipeline if one of its lines begins the section `threat` or `attack`, which
    every evaluation reads. Another project's file is skipped with a note. A broken file of this pipeline is not
    skipped.
    """
    starts = [*([path.resolve()] if path else []), Path("here").resolve()]
    passed = list[str]()
    for file in dict.fromkeys(folder / FILE for start in starts for folder in start.parents):
        if file.is_file():
            if OURS.search(file.read_text(encoding="utf-8", errors="replace")):
                return file, passed
            passed.append(f"{file}: another project's (no section threat or attack), skipped")
    return published(), passed


def opened(settings: Path, dataset: str, model: str) -> Params:
    """Read and check the file, with every section that an evaluation may read."""
    raw = read(settings)
    check(raw).refuse(settings)
    sections = [f"{folder}.{name}" for folder in ("datasets", "models") for name in raw[folder]]
    return Params(raw, [*EVERYTHING, *sections], dataset, model)


def threat_model(
    params: Params, norm: Norm = "linf", eps: float | None = None, step: float | None = None
) -> ThreatModel:
    """Return the threat model of the file, or the usual one in L2, with another radius or step.

    Without a given step, the step is scaled with the radius.
    """
    usual = params.get("threat", Threat) if norm == "linf" else USUAL_L2
    eps = usual.eps if eps is None else eps
    return type(usual)(eps=eps, step=usual.step * (eps / usual.eps) if step is None else step)


def plan(
    params: Params, attacks: list[str] | None, classes: int, changes: dict[str, Any], option: str = "attacks"
) -> Plan:
    """Plan the named columns, or all of the file. A column that the file lacks comes from the published params.yaml.

    Args:
        params: the params.yaml in use.
        attacks: names of columns.
        classes: the number of classes.
        changes: `attack` overrides settings of the section attack, `threat` has arguments of `threat_model`, and
            `severities` are the levels 1 to 5 at which CIFAR-10-C's corruptions in the file are measured.
        option: the option of `attacks` in messages.
    """
    if attacks is not None and not attacks:
        raise UserError(f"{option}: no attack given; use `clean` for clean accuracy alone")
    suite, threat = params.get("attack", AttackSuite), threat_model(params, **changes.get("threat", {}))
    section = read(published())["attack"]
    known = {**section["on_request"], **section["columns"], **suite.on_request, **suite.columns}
    names = [name for name in (attacks if attacks is not None else suite.columns) if name != "clean"]
    for name in names:
        if name not in known:
            raise UserError(f"{option}: no column {name!r}{did_you_mean(name, ['clean', *known])}")
    left_out = _without_l2(names, known) if threat.norm == "l2" else []
    if left_out and attacks is not None:
        raise UserError(f"{option}: {_why(left_out[0], known)}")
    names = [name for name in names if name not in left_out]
    columns = {name: known[name] for name in names}
    shown = [name for name in names if "norm" not in columns[name]]
    narrowed = suite.model_copy(
        update={"columns": columns, "table": shown, "subset": {k: n for k, n in suite.subset.items() if k in names}}
        | changes.get("attack", {})
    )
    fit, rules = params.get("preflight", Preflight), params.get("masking", Masking)
    attack_sequences = attack_columns.attack_sequences(narrowed, threat, classes)
    found = Plan(narrowed, threat, fit, rules, classes, attack_sequences, _short(narrowed, threat, classes))
    corrupt = _corruptions(params, changes["severities"]) if changes.get("severities") else None
    return replace(found, known=known, left_out=left_out, corrupt=corrupt)


def _without_l2(names: list[str], known: dict[str, dict[str, Any]]) -> list[str]:
    return [name for name in names if not attack_columns.in_l2(known[name])]


def _why(name: str, known: dict[str, dict[str, Any]]) -> str:
    """Return why a column is not defined in the L2 ball, and which columns are."""
    others = ", ".join(other for other in known if other not in _without_l2([*known], known))
    kind = known[name]["attack"]
    why = f"{name} has a radius or a step of its own, of the L-inf ball"
    if not {"eps", "step"} & set(known[name]):
        why = f"{name} ({kind}) is an attack in the L-inf ball, and has no L2 form"
    return f"{why}; in L2 there are {others}"


def _corruptions(params: Params, severities: list[int]) -> CorruptSuite:
    """Return the file's section corrupt at these severities, without corruptions that are not part of the mean."""
    suite = params.get("corrupt", CorruptSuite)
    refuse_empty_mean(suite.corruptions)
    names = [name for name in suite.corruptions if name in BENCHMARK]
    return suite.model_copy(update={"severities": severities, "corruptions": names})


def _short(suite: AttackSuite, threat: ThreatModel, classes: int) -> list[AttackSequence]:
    """Return the columns with few iterations."""
    columns = {
        name: settings | {key: min(count, settings[key]) for key, count in SHORT.items() if key in settings}
        for name, settings in suite.columns.items()
    }
    return list(
        attack_columns.attack_sequences(suite.model_copy(update={"columns": columns}), threat, classes).values()
    )
