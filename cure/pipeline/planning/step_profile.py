"""Profile a step or two of training on stand-ins: operations, memory held for the backward pass, and time.

Operations are counted on images of few pixels, where a convolutional network does the same in a fraction of the time:
both scale with the pixels. The unit is the pass, a forward of the student for one image, whose gradient to the input
and gradient to the weights are about one each.
"""

import copy
import math
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cure.adversarial.cuda_graphs import graphs
from cure.adversarial.pgd_loop import all_rows
from cure.core.method import Batch, Method, Networks, TrainingPosition
from cure.core.network import Network
from cure.core.noise import Stream
from cure.core.tensors import Tensor
from cure.data.loader import Loader, Split, as_float
from cure.nn.folding.folded_copy import chosen_layout, compile_folded_copy
from cure.nn.memory_format import FORMATS
from cure.runtime.memory import halving
from cure.settings.base import Augment
from cure.settings.sections import Fit, RunSettings
from cure.training.schedule import sgd
from cure.training.step import Step

SMALL = 8  # pixels of a side when counting: the smallest that halves as often as the networks do
IMAGES = 3  # when counting; no weight has as many outputs, so that activations are recognised
STEPS = 20  # in a calibration
LONGEST = 4.0  # seconds of a calibration; above, images and steps are cut
FEWEST = 4  # steps for which a larger batch must leave time
FEW = 2  # images of the smallest step: batch norms need two

Clock = Callable[[], float]


class Flops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the operations of convolutions and matrix products inside the block, two for each multiplication."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0
        self.rows: Counter[int] = Counter()  # of convolutions, by the images in their batch

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Run the operation and count it."""
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            spent = count(*args, **(kwargs or {}), out_val=out)
            self.total += spent
            if args[0].ndim == 4:
                self.rows[len(args[0])] += spent
        return out


@contextmanager
def holding(images: int) -> Iterator[list[int]]:
    """Yield [most bytes held at once by graphs in tensors of `images` rows], counting each storage once."""
    most, live = [0], dict[int, list[int]]()

    def pack(tensor: Tensor) -> Tensor:
        if tensor.ndim and len(tensor) == images:
            storage = tensor.untyped_storage()
            place, size = storage.data_ptr(), storage.nbytes()
            live.setdefault(place, [size, 0])[1] += 1
            held = tensor.detach() if tensor.requires_grad and tensor.is_leaf else tensor.view_as(tensor)
            weakref.finalize(held, _released, live, place)
            most[0] = max(most[0], sum(size for size, _ in live.values()))
            return held
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held):
        yield most


def _released(live: dict[int, list[int]], place: int) -> None:
    live[place][1] -= 1
    if not live[place][1]:
        del live[place]


def forward_flops(net: nn.Module, channels: int, size: int) -> int:
    """Count the operations of a forward of one image."""
    flops = Flops()
    with torch.device("meta"), torch.no_grad(), flops:
        copy.deepcopy(net).to("meta").eval()(torch.empty(1, channels, size, size))
    return flops.total


def networks(method: Method, hyper: Any, fresh: Callable[[], Network]) -> Networks:
    """Return a student with its companions, and untrained networks in place of its teachers."""
    student = fresh()
    if method.prepare:
        method.prepare(student, hyper)
    teachers: dict[str, nn.Module] = {role: fresh() for role in method.teachers}
    return Networks(student, method.companions(hyper) if method.companions else {}, teachers)


@dataclass(frozen=True)
class Count:
    """Cost of one image in one step: passes over all networks, and bytes held at once for each pixel."""

    passes: float
    held: float


def counted(nets: Networks, method: Method, hyper: Any, fit: Fit, channels: int, classes: int, epoch: int) -> Count:
    """Return the mean over the period of steps of the method, in this epoch; this trains the networks."""
    step, noise = Step(nets, method, hyper, sgd(nets, fit)), Stream(0, torch.device("cpu"))
    x, y = torch.rand(IMAGES, channels, SMALL, SMALL), torch.arange(IMAGES) % classes
    period = hyper.steps_per_cycle
    nets.ready()
    with holding(IMAGES) as held:
        spent = [
            _flops(step, Batch(x, y, torch.arange(IMAGES), noise, TrainingPosition(epoch, i, fit.lr)))
            for i in range(min(2, period))
        ]
    mean = (spent[0] + (period - 1) * spent[-1]) / period
    return Count(mean / IMAGES / forward_flops(nets.student, channels, SMALL), held[0] / IMAGES / SMALL**2)


def _flops(step: Step, batch: Batch) -> int:
    with all_rows(), (flops := Flops()):
        step(batch)
    return flops.total


@dataclass(frozen=True)
class Timing:
    """Seconds of a step per image, the steps and images that were timed, and on CUDA the peak of memory in bytes."""

    image: float
    steps: int
    images: int
    peak: int | None


def timed(
    nets: Networks,
    method: Method,
    hyper: Any,
    fit: Fit,
    split: Split,
    augment: Augment,
    run_settings: RunSettings,
    clock: Clock = time.perf_counter,
) -> Timing:
    """Time `STEPS` steps of `fit.batch` images of `split`, which is on the device; fewer where they take too long.

    The step is that of the training: its layout, precision, graphs and compilation. On CUDA the batch is that of the
    training, too, and with it the peak of memory.
    """
    device = split.labels.device
    nets.to(device).ready()
    x = as_float(split.images[: fit.batch])
    nets.to(memory_format=FORMATS[chosen_layout(nets.student, x, run_settings.layout)])
    for net in nets.values() if run_settings.compile else ():
        compile_folded_copy(net)
    step = Step(nets, method, hyper, sgd(nets, fit), run_settings.precision)
    noise, cuda = Stream(0, device), device.type == "cuda"

    def spent(images: int, steps: int) -> float:
        few = Split(split.images[:images], split.labels[:images])
        loader, start = Loader(few, images, augment, 0), clock()
        with all_rows(), graphs(run_settings.graphs):
            for i in range(steps):
                for x, y, index in loader.epoch(i):
                    step(Batch(x, y, index, noise, TrainingPosition(fit.epochs, i, fit.lr)))
        if cuda:
            torch.cuda.synchronize()
        return clock() - start

    def calibrated(batch: int) -> Timing:
        images = batch if cuda else FEW
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        each = spent(images, 1)
        if each < LONGEST:
            each = spent(images, 1)  # the first one chose kernels
        while images < batch and 2 * each < LONGEST / FEWEST:
            images = min(2 * images, batch)
            each = spent(images, 1)
        steps = min(STEPS, math.floor(LONGEST / each))
        each = spent(images, steps) / steps if steps > 1 else each
        return Timing(each / images, max(steps, 1), images, torch.cuda.max_memory_allocated() if cuda else None)

    return halving(min(fit.batch, len(split)), calibrated, "calibration")
