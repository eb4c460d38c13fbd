"""What the stages that train will cost: pretrain, update, revise and layers."""

import math

from cure.core.method import Networks
from cure.pipeline.planning.consolidating import consolidated
from cure.pipeline.planning.cost_model import Bench, Estimate, size
from cure.pipeline.planning.step_profile import Count
from cure.pipeline.planning.tasks import Task
from cure.settings.sections import Fit
from cure.storage.paths import Cell


def training(task: Task, bench: Bench) -> Estimate:
    """A loop over the training images, and looks at the validation split."""
    cell, extent = task.cell, bench.facts.extent(task.cell.dataset)
    method, hyper, fit = bench.facts.training(cell)
    begin = min(getattr(hyper, "begin", 1), fit.epochs)  # a warm-up costs less
    early, late = bench.count(cell, 1 if begin > 1 else fit.epochs), bench.count(cell, fit.epochs)
    steps = (begin - 1) * early.passes + (fit.epochs - begin + 1) * late.passes
    passes = extent.train * steps + _looks(fit) * _look(bench, cell, fit)
    nets = bench.outline(cell)
    own = sum(size(net) for name, net in nets.items() if name not in method.teachers)
    kept = own * (1 + len(fit.snapshots)) + size(nets.student) * (1 if fit.average is None else 2)
    weights, teachers = _weights(nets), sum(size(nets[name]) for name in method.teachers)
    return Estimate(
        passes=passes,
        flops=passes * bench.flops(cell),
        seconds=bench.seconds(cell, passes),
        memory=_memory(bench, cell, fit, nets, late),
        disk=kept + (size(nets.student) if method.finish is None else 0),
        resume=kept + weights + teachers,
    )


def revision(task: Task, bench: Bench) -> Estimate:
    """The method's `finish`."""
    cell, facts = task.cell, bench.facts
    extent, natural = facts.extent(cell.dataset), cell.of("natural")
    method, hyper, train = facts.consolidation(cell)
    net, splits = facts.fresh(cell.dataset, cell.model), (extent.train, facts.validation(cell.dataset))
    form = extent.channels, extent.classes
    passes = consolidated(net, method, hyper, _look(bench, cell, train), splits, form)
    held = bench.count(natural, 1).held * extent.size**2 * train.batch
    memory = math.ceil(held) + 4 * size(net) + _data(bench, cell)
    return Estimate(passes, passes * bench.flops(cell), bench.seconds(natural, passes), memory, size(net), 0)


def study(task: Task, bench: Bench) -> Estimate:
    """AT of each block set; what is frozen spares some of it."""
    cell, extent = task.cell.of("at"), bench.facts.extent(task.cell.dataset)
    train, sets = bench.facts.study(cell.dataset, cell.model, task.group)
    each = bench.count(cell, bench.facts.training(cell)[2].epochs)
    one = extent.train * train.epochs * each.passes + (_looks(train) + 1) * _look(bench, cell, train)
    passes, nets = len(sets) * one, bench.outline(cell)
    memory, resume = _memory(bench, cell, train, nets, each), len(sets) * (2 * size(nets.student) + _weights(nets))
    return Estimate(passes, passes * bench.flops(cell), bench.seconds(cell, passes), memory, 0, resume)


def _looks(fit: Fit) -> int:
    return -(-fit.epochs // fit.validate_every)


def _look(bench: Bench, cell: Cell, fit: Fit) -> int:
    """Passes of one look at the validation split: clean, the attack, and what it found."""
    return bench.facts.validation(cell.dataset) * (2 + 2 * fit.validate_attack.steps)


def _weights(nets: Networks) -> int:
    """Bytes of everything that is trained, so of its gradients and of its momentum, too."""
    return sum(weight.nbytes for weight in nets.weights().values())


def _data(bench: Bench, cell: Cell) -> int:
    """Bytes of the training images, which lie on the device twice: as they are, and padded."""
    extent, crop = bench.facts.extent(cell.dataset), bench.facts.augment(cell.dataset).crop
    return extent.train * extent.channels * (extent.size**2 + (extent.size + 2 * crop) ** 2)


def _memory(bench: Bench, cell: Cell, fit: Fit, nets: Networks, count: Count) -> int:
    """On CUDA the allocator's peak in the calibration, else networks, gradients, momentum and what graphs hold."""
    if bench.speed is None and (peak := bench.timing(cell).peak) is not None:
        return peak + _data(bench, cell)
    extent = bench.facts.extent(cell.dataset)
    held = count.held * extent.size**2 * min(fit.batch, extent.train)
    return math.ceil(held) + sum(map(size, nets.values())) + 2 * _weights(nets) + _data(bench, cell)
