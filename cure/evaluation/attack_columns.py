"""Evaluate every attack column of one network, for the stage attack and `cure eval`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from cure import catalogue
from cure.core.attack import AttackSequence, judged_alike
from cure.core.tensors import Flags, Images, Labels
from cure.data.loader import Split, as_float, evenly_spaced
from cure.evaluation.driver import Driver, effective, full_precision, outermost
from cure.evaluation.statistics.results import AttackResult, ColumnResult, MinimumResult
from cure.evaluation.work_items import Examples, Outcome, Store
from cure.nn.bfloat16 import BFloat16
from cure.nn.folding.folded_copy import faster_layout, folded_copy
from cure.runtime import distributed
from cure.runtime.memory import halving
from cure.settings.base import Ball, Layout, Norm
from cure.settings.params import with_threat_defaults
from cure.settings.sections import AttackSuite, ThreatModel


@dataclass(frozen=True)
class AttackProgress:
    """The event that one more batch of one attack of a column is finished."""

    column: str
    attack: str
    broken: int
    images: int

    def __str__(self) -> str:
        part = f" {self.attack}" if self.attack != self.column else ""
        return f"{self.column}{part}: broke {self.broken} of {self.images}"


OnProgress = Callable[[AttackProgress], object]


@dataclass(frozen=True)
class AttackColumn:
    """The outcome of one sequence on some of the images; `rows` are their places."""

    sequence: AttackSequence
    rows: Labels
    outcome: Outcome

    def safe(self, eps: float) -> Flags:
        """Return which images are correct without a verified adversarial image within eps, in the sequence's norm."""
        return self.outcome.clean & (self.outcome.distance > outermost(eps))

    def text(self, images: int) -> str:
        """Return one character for each of all images: 1 correct and not broken, 0 not, - not evaluated."""
        return _text(_spread(self.outcome.robust, self.rows, images))


def examples_of(split: Split) -> Examples:
    """Return the images of a split with their places, which seed their noise."""
    return Examples(as_float(split.images), split.labels, split.index)


def attack_sequences(suite: AttackSuite, threat: ThreatModel, classes: int) -> dict[str, AttackSequence]:
    """Build the columns of the suite, with the threat model as the default of their settings.

    Under an L2 threat model, an attack with a radius must have an L2 form (`in_l2`).
    """

    def bind(settings: dict[str, Any]) -> AttackSequence:
        entry = catalogue.entry("attacks", settings["attack"])
        kind, make = entry.Hyper, entry.attack_sequence
        if threat.norm == "l2" and issubclass(kind, Ball):
            kind, make = entry.L2Hyper, entry.l2_attack_sequence
        own = {key: value for key, value in settings.items() if key != "attack"}
        hyper = kind.model_validate(with_threat_defaults(kind, own, threat.model_dump()))
        sequence: AttackSequence = make(hyper, classes, suite.seed)
        return replace(
            sequence, facts={"attack": settings["attack"], **sequence.facts}
        )  # entries may use equal names for their facts

    return judged_alike({name: bind(settings) for name, settings in suite.columns.items()})


def in_l2(settings: dict[str, Any]) -> bool:
    """Return whether a column is defined under an L2 threat model: no radius or step of its own, and an L2 form."""
    entry = catalogue.entry("attacks", settings["attack"])
    if not issubclass(entry.Hyper, Ball):
        return True  # a search for the smallest perturbation
    return hasattr(entry, "L2Hyper") and not {"eps", "step"} & set(settings)


def attacked(
    net: nn.Module,
    data: Examples,
    columns: dict[str, AttackSequence],
    suite: AttackSuite,
    on_progress: OnProgress,
    store: Store | None = None,
    through: nn.Module | None = None,
) -> dict[str, AttackColumn]:
    """Evaluate `clean` and every column, on all images or on the suite's number of evenly spaced images.

    Attacks use `through` instead of the network, if given; results are verified by the network itself. Several ranks
    share the work items of one `store`, and each rank returns all of them.
    """
    how: dict[str, Any] = {"batch": suite.batch, "seed": suite.seed, "store": store, "precision": suite.precision}
    how |= {"share": (distributed.rank(), distributed.count()), "patience": 0.2 if distributed.count() > 1 else None}
    how["unfolded"] = seen = through or net
    with full_precision():
        how["attacked"] = halving(suite.batch, lambda batch: seen_by_attacks(seen, data.x[:batch], suite), "layout")
    drivers, found = dict[int, Driver](), dict[str, AttackColumn]()
    for name, sequence in {"clean": AttackSequence({}, {}), **columns}.items():
        rows = evenly_spaced(len(data), suite.subset.get(name, len(data)))
        if len(rows) not in drivers:
            drivers[len(rows)] = Driver(net, data[rows], **how)
        driver = drivers[len(rows)]
        driver.on_progress = lambda *event, name=name: on_progress(AttackProgress(name, *event))
        found[name] = AttackColumn(sequence, rows, driver.run(sequence))
        if name == "clean":
            on_progress(AttackProgress(name, name, int((~found[name].outcome.clean).sum()), len(data)))
    return found


def seen_by_attacks(net: nn.Module, x: Images, suite: AttackSuite) -> nn.Module:
    """Return a network's folded copy in the suite's layout and precision; without a folded copy, the network itself."""
    copied = folded_copy(net, x, _layout(net, x, suite))
    return BFloat16(copied) if suite.precision == "bf16" else copied


def _layout(net: nn.Module, x: Images, suite: AttackSuite) -> Layout:
    """Return the suite's layout. For `probe`, several ranks use the one that is faster on the first rank."""
    if suite.layout != "probe" or distributed.count() == 1:
        return suite.layout
    return distributed.agreed(faster_layout(net, x))


def work_items(images: int, columns: dict[str, AttackSequence], suite: AttackSuite) -> int:
    """Return how many progress events `attacked` reports: one for the clean images, one per batch of each attack."""
    seen = {name: min(images, suite.subset.get(name, images)) for name in columns}
    return 1 + sum(-(-seen[name] // suite.batch) * len(sequence.attacks) for name, sequence in columns.items())


def result(
    columns: dict[str, AttackColumn], data: Examples, suite: AttackSuite, eps: float, norm: Norm = "linf"
) -> AttackResult:
    """Combine the columns image by image into one character per image: 1 correct, 0 not, - not evaluated.

    `worst` covers everything that was run: an image is correct only without any verified adversarial image within
    `eps`. It covers the images of every column with a ball. AutoAttack's own number is its column alone. A sequence
    that searches the smallest perturbation is counted at `eps` in the norm of the ball; its distances are recorded
    separately.
    """
    images, clean, precision = len(data), columns["clean"].outcome.clean, effective(suite.precision, data.x.device)
    attacks = {name: column for name, column in columns.items() if name != "clean"}
    ball = {name: column for name, column in attacks.items() if column.sequence.norm is None}
    minima = {name: column for name, column in attacks.items() if column.sequence.norm == norm}
    flags = {name: _spread(column.outcome.robust, column.rows, images) for name, column in ball.items()}
    flags |= {name: _spread(column.safe(eps), column.rows, images) for name, column in minima.items()}
    worst = torch.stack([clean.long(), *(_spread(c.safe(eps), c.rows, images) for c in ball.values())]).amin(0)
    for name in minima:
        worst[(flags[name] == 0) & (worst == 1)] = 0
    outcomes = {"clean": clean.long(), **flags, "worst": worst}
    return AttackResult(
        images=images,
        outcomes={name: _text(flag) for name, flag in outcomes.items()},
        columns={name: _about(column, suite, precision) for name, column in attacks.items()},
        precision=precision,
        problems=[*_smaller(attacks, suite), *_problems(ball, minima)],
        eps=eps,
        seed=suite.seed,
        batch=suite.batch,
        **({"norm": norm} if norm != "linf" else {}),
    )


def _spread(flags: Flags, rows: Labels, images: int) -> torch.Tensor:
    """Return 1, 0, and -1 where an image was not evaluated."""
    out = torch.full((images,), -1)
    out[rows] = flags.long()
    return out


def _text(flags: torch.Tensor) -> str:
    return "".join("-01"[int(hit) + 1] for hit in flags)


def _about(column: AttackColumn, suite: AttackSuite, precision: str) -> ColumnResult | MinimumResult:
    sequence, found = column.sequence, column.outcome
    label = f"{sequence.label}, {precision}" if sequence.label and precision != "fp32" else sequence.label
    known: dict[str, Any] = {"label": label, "package": sequence.facts.get("package", "")}
    known |= {"title": sequence.title} if sequence.title else {}
    known |= {"batch": found.batch} if found.batch != suite.batch else {}
    known["broken_by"] = {name: sorted(column.rows[rows].tolist()) for name, rows in found.broken_by.items()}
    if sequence.norm is None:
        return ColumnResult(**known)
    lengths = [round(float(length), 7) for length in found.distance]  # float32 has no more digits
    distances = [None if length == float("inf") else length for length in lengths]
    return MinimumResult(**known, norm=sequence.norm, rows=column.rows.tolist(), distances=distances)


def _smaller(attacks: dict[str, AttackColumn], suite: AttackSuite) -> list[str]:
    """Report columns for which memory did not suffice, since AutoAttack's numbers depend on the batch size."""
    batches = {name: column.outcome.batch for name, column in attacks.items()}
    told = {name: batch for name, batch in batches.items() if batch != suite.batch}
    return [
        f"{name} ran on {batch} images at a time, not {suite.batch}: memory ran out" for name, batch in told.items()
    ]


def _problems(ball: dict[str, AttackColumn], minima: dict[str, AttackColumn]) -> list[str]:
    """Report where a search for smallest perturbations leaves fewer images at eps than AutoAttack.

    Both count verified images, so both are upper bounds of robustness, and AutoAttack's number is too high there.
    """
    found = []
    for name, strong in ball.items():
        for other, minimum in minima.items() if strong.sequence.label else ():
            eps = strong.sequence.eps or 0.0
            robust = strong.safe(eps)[torch.isin(strong.rows, minimum.rows)]
            curve = minimum.safe(eps)[torch.isin(minimum.rows, strong.rows)]
            left, missed = (int(hits.sum()) for hits in (curve, robust & ~curve))
            if left < int(robust.sum()):
                found.append(
                    f"{other} leaves {left} of {len(curve)} images at eps {eps:g}, {name} {int(robust.sum())}: "
                    f"{name} overestimates robustness, since it missed verified adversarial images of {missed}"
                )
    return found
