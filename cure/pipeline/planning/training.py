"""Estimate costs of the stages that train: pretrain, update, revise and layers."""

import copy
import math

from cure.core.method import Networks
from cure.pipeline.planning.consolidating import consolidated
from cure.pipeline.planning.cost_model import CostModel, Estimate, size
from cure.pipeline.planning.step_profile import Count
from cure.pipeline.planning.tasks import Task
from cure.settings.sections import Fit
from cure.storage.paths import Run


def training(task: Task, cost_model: CostModel) -> Estimate:
    """Estimate the epochs over the training images and the validations; of an average at most."""
    run, extent = task.run, cost_model.facts.extent(task.run.dataset)
    method, hyper, fit = cost_model.facts.training(run)
    begin = min(hyper.begin_epoch, fit.epochs)  # a warm-up costs less
    early, late = cost_model.count(run, 1 if begin > 1 else fit.epochs), cost_model.count(run, fit.epochs)
    steps = (begin - 1) * early.passes + (fit.epochs - begin + 1) * late.passes
    passes = extent.train * steps + _validations(fit) * _validation_passes(cost_model, run, fit)
    if fit.average is not None:
        statistics = min(fit.average_images, extent.train) * late.passes
        passes += _validations(fit) * (statistics + _validation_passes(cost_model, run, fit))
    nets = cost_model.outline(run)
    own = sum(size(net) for name, net in nets.items() if name not in method.teachers)
    kept = own * (1 + len(fit.snapshots)) + size(nets.student) * (1 if fit.average is None else 3)
    copies = own * len(fit.snapshots) + size(nets.student)  # of snapshots and the best, on the device
    return Estimate(
        passes=passes,
        flops=passes * cost_model.flops(run),
        seconds=cost_model.seconds(run, passes),
        memory=_memory(cost_model, run, fit, nets, late) + copies,
        disk=kept + (size(nets.student) if method.select_network is None else 0),
        resume=kept + _weights(nets),
    )


def revision(task: Task, cost_model: CostModel) -> Estimate:
    """Estimate the method's `select_network`."""
    run, facts = task.run, cost_model.facts
    extent, natural = facts.extent(run.dataset), run.of("natural")
    method, hyper, train = facts.consolidation(run)
    net, splits = facts.fresh(run.dataset, run.model), (extent.train, facts.validation(run.dataset))
    student, form = copy.deepcopy(net), (extent.channels, extent.classes)
    if method.prepare:
        method.prepare(student, facts.training(run)[1])
    passes = consolidated(student, method, hyper, _validation_passes(cost_model, run, train), splits, form)
    held = cost_model.count(natural, 1).held * extent.size**2 * train.batch
    memory = math.ceil(held) + 4 * size(net) + _data(cost_model, run)
    return Estimate(passes, passes * cost_model.flops(run), cost_model.seconds(natural, passes), memory, size(net), 0)


def study(task: Task, cost_model: CostModel) -> Estimate:
    """Estimate an upper bound: AT of each block set, as if nothing were frozen."""
    run, extent = task.run.of("at"), cost_model.facts.extent(task.run.dataset)
    train, sets = cost_model.facts.study(run.dataset, run.model, task.group)
    each = cost_model.count(run, cost_model.facts.training(run)[2].epochs)
    one = extent.train * train.epochs * each.passes + (_validations(train) + 1) * _validation_passes(
        cost_model, run, train
    )
    passes, nets = len(sets) * one, cost_model.outline(run)
    memory, resume = _memory(cost_model, run, train, nets, each), len(sets) * (2 * size(nets.student) + _weights(nets))
    return Estimate(passes, passes * cost_model.flops(run), cost_model.seconds(run, passes), memory, 0, resume)


def _validations(fit: Fit) -> int:
    return -(-fit.epochs // fit.validate_every)


def _validation_passes(cost_model: CostModel, run: Run, fit: Fit) -> int:
    """Return the passes of one validation: clean, the attack, and its images."""
    return cost_model.facts.validation(run.dataset) * (2 + 2 * fit.validate_attack.steps)


def _weights(nets: Networks) -> int:
    """Return the bytes of all trained weights. Gradients take the same number, and so does momentum."""
    return sum(weight.nbytes for weight in nets.weights().values())


def _data(cost_model: CostModel, run: Run) -> int:
    """Return the bytes of the training images, which are on the device twice: as they are, and padded."""
    extent, crop = cost_model.facts.extent(run.dataset), cost_model.facts.augment(run.dataset).crop
    return extent.train * extent.channels * (extent.size**2 + (extent.size + 2 * crop) ** 2)


def _memory(cost_model: CostModel, run: Run, fit: Fit, nets: Networks, count: Count) -> int:
    """Return the allocator's peak on CUDA; else add networks, gradients, momentum and tensors kept by graphs."""
    if cost_model.flops_per_second is None and (peak := cost_model.timing(run).peak) is not None:
        return peak + _data(cost_model, run)
    extent = cost_model.facts.extent(run.dataset)
    held = count.held * extent.size**2 * min(fit.batch, extent.train)
    return math.ceil(held) + sum(map(size, nets.values())) + 2 * _weights(nets) + _data(cost_model, run)
