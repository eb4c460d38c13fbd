"""Estimate costs of the stages that measure: attack, corrupt and analyse."""

import math

from cure.evaluation.speed import AttackSpeed, PassTime
from cure.pipeline.planning.cost_model import CostModel, Estimate, size
from cure.pipeline.planning.tasks import Task
from cure.settings.base import ReviseSettings
from cure.settings.sections import Analyse, AttackSuite, CorruptSuite
from cure.storage.paths import Run

FLOAT = 4  # bytes
FORWARD, GRADIENT = PassTime(0.0, 1.0), PassTime(0.0, 2.0)  # in passes per image instead of seconds


def attacking(task: Task, cost_model: CostModel) -> Estimate:
    """Estimate every column, and the columns of the last epoch's network.

    The share of images that survive an attack is taken from the section preflight.
    """
    run, suite = task.run, cost_model.suite(task.run, "attack", AttackSuite)
    images = min(suite.images, cost_model.facts.extent(run.dataset).test)
    parts = [cost_model.columns(run, list(suite.columns))]
    if suite.last and _has_a_last_epoch(cost_model, run):
        parts.append(cost_model.columns(run, suite.last))

    def spent(speed: AttackSpeed) -> float:
        return speed.check(images) + sum(part.of_columns(speed, images) for part in parts)

    passes = spent(AttackSpeed(FORWARD, GRADIENT, suite.batch))
    flops = passes * cost_model.flops(run)
    seconds = (
        flops / cost_model.flops_per_second
        if cost_model.flops_per_second is not None
        else cost_model.start + spent(cost_model.attack_speed(run))
    )
    return Estimate(passes, flops, seconds, _memory(cost_model, run, suite.batch, images), 0, 0)


def corrupting(task: Task, cost_model: CostModel) -> Estimate:
    """Estimate a forward of every image under every corruption and severity.

    Corrupting the images, once for all runs, is left out.
    """
    run, suite = task.run, cost_model.suite(task.run, "corrupt", CorruptSuite)
    images = min(suite.images, cost_model.facts.extent(run.dataset).test)
    passes = float(images * (1 + len(suite.corruptions) * len(suite.severities)))
    flops = passes * cost_model.flops(run)
    seconds = (
        flops / cost_model.flops_per_second
        if cost_model.flops_per_second is not None
        else cost_model.start + cost_model.attack_speed(run).check(passes)
    )
    return Estimate(passes, flops, seconds, _memory(cost_model, run, suite.batch, images), 0, 0)


def analysing(task: Task, cost_model: CostModel) -> Estimate:
    """Estimate an upper bound: as if every analysis replayed the steps of every phase and used all images."""
    run, suite = task.run, cost_model.suite(task.run, "analyse", Analyse)
    _, _, fit = cost_model.facts.training(run)
    images = min(suite.images, cost_model.facts.validation(run.dataset))
    step = cost_model.count(run, fit.epochs).passes
    replays = (len(fit.snapshots) + 1) * suite.replays * suite.batch * step
    passes = len(suite.entries) * (replays + 3 * images) + 2 * suite.attack.steps * images
    memory = _memory(cost_model, run, suite.batch, images)
    return Estimate(passes, passes * cost_model.flops(run), cost_model.seconds(run, passes), memory, 0, 0)


def _has_a_last_epoch(cost_model: CostModel, run: Run) -> bool:
    """Return whether the network of the last epoch may differ from the evaluated one."""
    method, _, fit = cost_model.facts.training(run)
    if method.revise is None:
        return method.updates and fit.select != "last"
    revise: ReviseSettings = cost_model.facts.consolidation(run)[1]
    return revise.network == "best"


def _memory(cost_model: CostModel, run: Run, batch: int, images: int) -> int:
    """Add the bytes of the network, its folded copy, the graph of one batch, and the images as floats."""
    extent, net = cost_model.facts.extent(run.dataset), cost_model.plain(run)
    pixels = extent.channels * extent.size**2
    return math.ceil(cost_model.held(run) * min(batch, images)) + 2 * size(net) + FLOAT * images * pixels
