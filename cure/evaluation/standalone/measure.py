"""One evaluation from a network and its images to an `Evaluation`."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cure.errors import UserError
from cure.evaluation import attack_columns, corrupted
from cure.evaluation.attack_columns import AttackColumn, AttackProgress, OnProgress
from cure.evaluation.diagnostics.borders import clamps
from cure.evaluation.diagnostics.check import Check
from cure.evaluation.diagnostics.extra_attacks import masking_checks
from cure.evaluation.diagnostics.preflight import preflight
from cure.evaluation.driver import full_precision
from cure.evaluation.standalone.images import Images
from cure.evaluation.standalone.plan import Plan
from cure.evaluation.standalone.results_folder import noted
from cure.evaluation.standalone.subject import Subject
from cure.evaluation.statistics.intervals import wilson
from cure.evaluation.statistics.results import AttackResult, CorruptResult
from cure.evaluation.work_items import Store, WorkItemFolder
from cure.nn.folding.folded_copy import faster_layout
from cure.nn.inputs import KeptInside
from cure.nn.memory_format import FORMATS
from cure.published.agreement import Agreement
from cure.settings.base import Layout
from cure.settings.sections import AttackSuite
from cure.storage.files import write_text

CORRUPTED = "corruptions"  # the column of events about them
RANDOM = ("determinism", "batch")  # lines of the preflight that a network drawing at random cannot pass


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one network, in [0, 1], and what it was measured on."""

    subject: Subject
    images: Images
    plan: Plan
    columns: dict[str, AttackColumn]
    probes: dict[str, AttackColumn]  # what the masking report wanted besides, on fewer images
    result: AttackResult
    preflight: list[Check]
    masking: list[Check]
    beside: list[Agreement] = field(default_factory=list)  # published numbers, where some were named
    corrupted: CorruptResult | None = None  # where corruptions were asked for

    def accuracy(self, column: str) -> float:
        """Share of the images that the column looked at and that stayed correct; `clean` and `worst` are columns."""
        correct, images, _ = self.result.counts(column)
        return correct / images

    def interval(self, column: str) -> tuple[float, float]:
        """Its Wilson 95 % interval."""
        correct, images, _ = self.result.counts(column)
        return wilson(correct, images)

    def nrr(self, column: str) -> float:
        """Natural-robustness ratio 2 n r / (n + r) of clean accuracy and the column's."""
        return self.result.ratio(column)

    def nrr_interval(self, column: str) -> tuple[float, float]:
        """Its 95 % interval."""
        return self.result.ratio_interval(column)

    @property
    def corrupted_accuracy(self) -> float | None:
        """Mean accuracy over the measured ones of the 15 corruptions of CIFAR-10-C, all severities alike."""
        if self.corrupted is None:
            return None
        counts = [count for by in self.corrupted.correct.values() for count in by.values()]
        return sum(counts) / (len(counts) * self.corrupted.images)

    @property
    def corrupted_interval(self) -> tuple[float, float] | None:
        """Its 95 % interval: Wilson's of one share of as many images, from which a mean per image varies less."""
        share = self.corrupted_accuracy
        if share is None or self.corrupted is None:
            return None
        return wilson(round(share * self.corrupted.images), self.corrupted.images)

    @property
    def flags(self) -> list[str]:
        """Everything that this evaluation doubts of itself."""
        return [*(str(line) for line in (*self.preflight, *self.masking) if line.red), *self.result.problems]

    def adversarial(self) -> Tensor:
        """(n, c, h, w) float32 in the order of the images: what `worst` counts.

        Of each image the first verified adversarial one within eps that a column or a probe found, or itself where none
        did and where it is misclassified as it is; a search in the other norm has no part in it. So the network's
        accuracy on them is `worst`, wherever every column looked.
        """
        out, done = self.images.examples.x.cpu().clone(), self.images.examples.y.cpu() < 0
        for column in (*self.columns.values(), *self.probes.values()):
            if column.sequence.metric == self.plan.threat.norm:
                broken = column.outcome.clean & ~column.safe(self.plan.threat.eps) & ~done[column.rows]
                out[column.rows[broken]] = column.outcome.x_adv[broken]
                done[column.rows[broken]] = True
        return out


def run_preflight(
    subject: Subject, images: Images, plan: Plan, *, force: bool, option: str = "force=True"
) -> list[Check]:
    """The preflight; refuses a network with a red line, unless `force`, which the user spells as `option`.

    Where the plan is made for networks that draw at random, the lines about that are no reason to refuse.
    """
    lines = preflight(subject.net, images.examples.x, images.examples.y, images.classes, plan.preflight)
    allowed = RANDOM if plan.random else ()
    red = [line for line in lines if line.red and line.name not in allowed]
    if red and not force:
        said = "\n  ".join(map(str, red))
        raise UserError(f"{subject.name}: preflight checks failed; pass {option} to evaluate it all the same\n  {said}")
    return lines


def _with_stored_layout(subject: Subject, x: Tensor, suite: AttackSuite, units: Path) -> AttackSuite:
    """Return the suite with the layout of the stored work items: the probe may choose another one the next time."""
    if suite.layout != "probe":
        return suite
    layout = noted(units / "layout", _layout)
    if layout is None:
        layout = faster_layout(subject.net, x[: suite.batch])
        write_text(units / "layout", layout)
    return suite.model_copy(update={"layout": layout})


def _layout(text: str) -> Layout:
    layouts: dict[str, Layout] = {str(layout): layout for layout in FORMATS}
    if text not in layouts:
        raise ValueError(text)
    return layouts[text]


def measure(
    subject: Subject,
    images: Images,
    plan: Plan,
    preflight_checks: list[Check],
    *,
    units: Path | None = None,
    on_progress: OnProgress = lambda _: None,
) -> Evaluation:
    """Every column, then what it doubts. `units` is the folder in which finished batches outlive a killed run."""
    store: Any = WorkItemFolder(units) if units else {}
    data = images.examples
    suite = _with_stored_layout(subject, data.x, plan.suite, units) if units else plan.suite
    through = KeptInside(subject.net) if clamps(preflight_checks) else None
    columns = attack_columns.attacked(subject.net, data, plan.attack_sequences, suite, on_progress, store, through)
    result = attack_columns.result(columns, data, suite, plan.threat.eps, plan.threat.norm)
    how = {"batch": suite.batch, "seed": suite.seed, "store": store, "on_progress": on_progress, "through": through}
    masking_found, probes = (
        masking_checks(subject.net, data, result, plan.probes, plan.masking, **how)
        if plan.attack_sequences
        else ([], {})
    )
    worst = list(result.outcomes["worst"])
    for probe in probes.values():
        for row in probe.rows[~probe.safe(plan.threat.eps)].tolist():
            worst[row] = "0" if worst[row] == "1" else worst[row]
    result = result.model_copy(update={"outcomes": result.outcomes | {"worst": "".join(worst)}})
    found = Evaluation(subject, images, plan, columns, probes, result, preflight_checks, masking_found)
    return replace(found, corrupted=_corrupted(subject, images, plan, on_progress, store))


def _corrupted(
    subject: Subject, images: Images, plan: Plan, on_progress: OnProgress, store: Store
) -> CorruptResult | None:
    """What the network sees of the corrupted images, where the plan has some."""
    if plan.corrupt is None:
        return None
    split, rounded = images.in_levels()
    source = corrupted.source(plan.corrupt, images.name, images.digest, split)
    lacking = source.missing(plan.corrupt.corruptions)
    if len(lacking) == len(plan.corrupt.corruptions):
        raise UserError(f"corruptions: none can be made here ({next(iter(lacking.values()))})")
    if rounded:
        subject.notes.append("corrupted images are made of the images rounded to 8 bits")

    def report(name: str, correct: int) -> None:
        on_progress(AttackProgress(CORRUPTED, name, len(split) - correct, len(split)))

    devices = [split.images.device] if split.images.is_cuda else []
    with torch.random.fork_rng(devices), full_precision():
        torch.manual_seed(plan.suite.seed)  # for a network that draws at random
        return corrupted.measured(subject.net, split, source, plan.corrupt, report, store)
