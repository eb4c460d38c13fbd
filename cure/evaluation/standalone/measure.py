"""Run one evaluation, from a network and its images to an `Evaluation`."""

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

CORRUPTED = "corruptions"  # the column of their events
RANDOM = ("determinism", "batch")  # checks that a network which draws at random cannot pass


@dataclass(frozen=True)
class Evaluation:
    """The measurements of one network, in [0, 1], with the network, images and plan they belong to."""

    subject: Subject  # the network, its name and notes
    images: Images  # the test images
    plan: Plan  # attacks and settings
    columns: dict[str, AttackColumn]  # adversarial images and predictions, by attack
    probes: dict[str, AttackColumn]  # extra attacks for the gradient-masking checks, on fewer images
    result: AttackResult  # outcomes per image, as in results.json
    preflight: list[Check]  # checks before the attacks
    masking: list[Check]  # checks for gradient masking
    beside: list[Agreement] = field(default_factory=list)  # published numbers, if any were named
    corrupted: CorruptResult | None = None  # if corruptions were requested

    def accuracy(self, column: str) -> float:
        """Return the share of correct images among those that the column covers, in [0, 1].

        Args:
            column: an attack column, `clean` or `worst`.
        """
        correct, images, _ = self.result.counts(column)
        return correct / images

    def interval(self, column: str) -> tuple[float, float]:
        """Return the ends of the Wilson 95 % interval of a column's accuracy, in [0, 1]."""
        correct, images, _ = self.result.counts(column)
        return wilson(correct, images)

    def nrr(self, column: str) -> float:
        """Return the natural-robustness ratio 2 n r / (n + r), in [0, 1], of clean and robust accuracy n and r."""
        return self.result.ratio(column)

    def nrr_interval(self, column: str) -> tuple[float, float]:
        """Return the ends of the 95 % interval of a column's natural-robustness ratio, in [0, 1]."""
        return self.result.ratio_interval(column)

    @property
    def corrupted_accuracy(self) -> float | None:
        """Return the mean accuracy in [0, 1] over the measured corruptions of CIFAR-10-C's 15, or None."""
        if self.corrupted is None:
            return None
        counts = [count for by in self.corrupted.correct.values() for count in by.values()]
        return sum(counts) / (len(counts) * self.corrupted.images)

    @property
    def corrupted_interval(self) -> tuple[float, float] | None:
        """Return a 95 % interval of `corrupted_accuracy` or None: Wilson's for n images, wider than needed."""
        share = self.corrupted_accuracy
        if share is None or self.corrupted is None:
            return None
        return wilson(round(share * self.corrupted.images), self.corrupted.images)

    @property
    def flags(self) -> list[str]:
        """Return every failed check and problem of this evaluation."""
        return [*(str(line) for line in (*self.preflight, *self.masking) if line.red), *self.result.problems]

    def adversarial(self) -> Tensor:
        """Return images (n, c, h, w), float32, in the order of the test images: those that `worst` counts.

        For each image it is the first verified adversarial example within eps of any column or probe, or the clean
        image if there is none or if it is misclassified anyway. Searches in the other norm are left out. So the
        network's accuracy on these images is `worst`, if every column covers all images.
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
    """Run the preflight checks; raise UserError if one fails, unless `force`, which messages call `option`.

    If the plan is made for networks that draw at random, failed checks of determinism are accepted.
    """
    lines = preflight(subject.net, images.examples.x, images.examples.y, images.classes, plan.preflight)
    allowed = RANDOM if plan.random else ()
    red = [line for line in lines if line.red and line.name not in allowed]
    if red and not force:
        said = "\n  ".join(map(str, red))
        raise UserError(f"{subject.name}: preflight checks failed; pass {option} to continue\n  {said}")
    return lines


def _with_stored_layout(subject: Subject, x: Tensor, suite: AttackSuite, units: Path) -> AttackSuite:
    """Return the suite with the layout of the stored work items, since a new probe may choose another one."""
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
    """Evaluate every column, run the gradient-masking checks, and measure corruptions.

    Args:
        subject: the network.
        images: the test images.
        plan: columns and settings.
        preflight_checks: results of the preflight checks.
        units: the folder in which finished work items are kept, to resume an interrupted run.
        on_progress: receives each finished batch.
    """
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
    """Evaluate the network on corrupted images; return None if the plan has none."""
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
