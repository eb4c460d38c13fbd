"""What the stages that measure will cost: attack, corrupt and analyse."""

import math

from cure.evaluation.speed import Pace, Speed
from cure.pipeline.planning.cost_model import Bench, Estimate, size
from cure.pipeline.planning.tasks import Task
from cure.settings.sections import Analyse, AttackSuite, CorruptSuite
from cure.storage.paths import Cell

FLOAT = 4  # bytes
FORWARD, GRADIENT = Speed(0.0, 1.0), Speed(0.0, 2.0)  # in passes for an image, where Pace has seconds


def attacking(task: Task, bench: Bench) -> Estimate:
    """Every column, and those that the network of the last epoch meets, too; survivors as in the section preflight."""
    cell, suite = task.cell, bench.suite(task.cell, "attack", AttackSuite)
    images = min(suite.images, bench.facts.extent(cell.dataset).test)
    parts = [bench.columns(cell, list(suite.columns))]
    if suite.last and _leaves_a_last(bench, cell):
        parts.append(bench.columns(cell, suite.last))

    def spent(pace: Pace) -> float:
        return pace.check(images) + sum(part.of_columns(pace, images) for part in parts)

    passes = spent(Pace(FORWARD, GRADIENT, suite.batch))
    flops = passes * bench.flops(cell)
    seconds = flops / bench.speed if bench.speed is not None else bench.start + spent(bench.pace(cell))
    return Estimate(passes, flops, seconds, _memory(bench, cell, suite.batch, images), 0, 0)


def corrupting(task: Task, bench: Bench) -> Estimate:
    """A forward of every image under every corruption and severity; making them, once for all rows, is left out."""
    cell, suite = task.cell, bench.suite(task.cell, "corrupt", CorruptSuite)
    images = min(suite.images, bench.facts.extent(cell.dataset).test)
    passes = float(images * (1 + len(suite.corruptions) * len(suite.severities)))
    flops = passes * bench.flops(cell)
    seconds = flops / bench.speed if bench.speed is not None else bench.start + bench.pace(cell).check(passes)
    return Estimate(passes, flops, seconds, _memory(bench, cell, suite.batch, images), 0, 0)


def analysing(task: Task, bench: Bench) -> Estimate:
    """At most: as if every analysis took the steps of every phase again and looked at all images."""
    cell, suite = task.cell, bench.suite(task.cell, "analyse", Analyse)
    _, _, fit = bench.facts.training(cell)
    images = min(suite.images, bench.facts.validation(cell.dataset))
    step = bench.count(cell, fit.epochs).passes
    replays = (len(fit.snapshots) + 1) * suite.replays * suite.batch * step
    passes = len(suite.entries) * (replays + 3 * images) + 2 * suite.attack.steps * images
    memory = _memory(bench, cell, suite.batch, images)
    return Estimate(passes, passes * bench.flops(cell), bench.seconds(cell, passes), memory, 0, 0)


def _leaves_a_last(bench: Bench, cell: Cell) -> bool:
    """Whether the network of the last epoch may be another than the evaluated one."""
    method, _, fit = bench.facts.training(cell)
    if method.revise is None:
        return method.updates and fit.select != "last"
    return getattr(bench.facts.consolidation(cell)[1], "network", "") == "best"


def _memory(bench: Bench, cell: Cell, batch: int, images: int) -> int:
    """The network and its twin, what the graph of one batch holds, and the images as floats."""
    extent, net = bench.facts.extent(cell.dataset), bench.plain(cell)
    pixels = extent.channels * extent.size**2
    return math.ceil(bench.held(cell) * min(batch, images)) + 2 * size(net) + FLOAT * images * pixels
