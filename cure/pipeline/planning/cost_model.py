"""What every estimate rests on: counts and timings of stand-ins for the networks of a cell, each made once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import nn

from cure.core.method import Networks
from cure.core.network import Network
from cure.data.loader import Split, as_float
from cure.evaluation.speed import Pace
from cure.evaluation.standalone.plan import Plan, plan
from cure.pipeline.planning import step_profile
from cure.pipeline.planning.facts import Facts
from cure.pipeline.planning.step_profile import Clock, Count, Timing
from cure.settings.sections import AttackSuite
from cure.storage.paths import Cell


@dataclass(frozen=True)
class Estimate:
    """Of one task. A pass is a forward of the cell's network for one image, or as many operations."""

    passes: float
    flops: float
    seconds: float
    memory: int  # bytes on the device, at the peak
    disk: int  # bytes that stay
    resume: int  # bytes of the resume file, while it runs


def size(net: nn.Module) -> int:
    """Bytes of weights and buffers."""
    return sum(t.nbytes for t in net.state_dict().values())


@dataclass(frozen=True, eq=False)
class Bench:
    """One folder on one device, whose steps are timed there or, if a speed is stated, not at all."""

    facts: Facts
    device: torch.device
    speed: float | None  # operations per second
    clock: Clock
    start: float  # seconds until a process computes
    told: Callable[[str], object]  # what is being timed

    def outline(self, cell: Cell) -> Networks:
        """All that the row's training has, without memory or numbers."""
        with torch.device("meta"):
            return self._networks(cell)

    def _networks(self, cell: Cell) -> Networks:
        method, hyper, _ = self.facts.training(cell)
        return step_profile.networks(method, hyper, lambda: self.facts.fresh(cell.dataset, cell.model))

    def count(self, cell: Cell, epoch: int) -> Count:
        """Of a step of the row's training in this epoch."""
        return self._counts(cell.dataset, cell.model, cell.method, epoch)

    def timing(self, cell: Cell) -> Timing:
        """Of a step of the row's training behind all warm-ups."""
        return self._timings(cell.dataset, cell.model, cell.method)

    def pace(self, cell: Cell) -> Pace:
        """Of the attacks on a network like the cell's."""
        return self._paces(cell.dataset, cell.model)

    def flops(self, cell: Cell) -> int:
        """Of one pass."""
        extent = self.facts.extent(cell.dataset)
        return step_profile.forward_flops(self.plain(cell), extent.channels, extent.size)

    def plain(self, cell: Cell) -> Network:
        """The network of the cell, without memory or numbers."""
        with torch.device("meta"):
            return self.facts.fresh(cell.dataset, cell.model)

    def seconds(self, cell: Cell, passes: float) -> float:
        """At the stated speed, or at that of a step of the cell's training."""
        if self.speed is not None:
            return passes * self.flops(cell) / self.speed
        each = self.count(cell, self.facts.training(cell)[2].epochs).passes
        return self.start + passes * self.timing(cell).image / each

    def held(self, cell: Cell) -> float:
        """Bytes of the graph of one image, in eval mode and back to the image."""
        return self._graphs(cell.dataset, cell.model) * self.facts.extent(cell.dataset).size ** 2

    def columns(self, cell: Cell, names: list[str]) -> Plan:
        """These columns of the section attack."""
        params = self.facts.params(cell.dataset, cell.model)
        return plan(params, names, self.facts.extent(cell.dataset).classes, {})

    def suite(self, cell: Cell, section: str, kind: Any) -> Any:
        """A section that evaluates, for the cell."""
        return self.facts.params(cell.dataset, cell.model).get(section, kind)

    @cached_property
    def _graphs(self) -> Callable[[str, str], float]:
        @cache
        def graphs(dataset: str, model: str) -> float:
            net, shape = (
                self.facts.fresh(dataset, model).eval(),
                (step_profile.IMAGES, self.facts.extent(dataset).channels),
            )
            with step_profile.holding(step_profile.IMAGES) as most:
                net.requires_grad_(False)(
                    torch.rand(*shape, step_profile.SMALL, step_profile.SMALL, requires_grad=True)
                )
            return most[0] / step_profile.IMAGES / step_profile.SMALL**2

        return graphs

    @cached_property
    def _counts(self) -> Callable[[str, str, str, int], Count]:
        @cache
        def counts(dataset: str, model: str, method: str, epoch: int) -> Count:
            cell, extent = Cell(dataset, model, method, 0), self.facts.extent(dataset)
            of = self.facts.training(cell)
            return step_profile.counted(self._networks(cell), *of, extent.channels, extent.classes, epoch)

        return counts

    @cached_property
    def _timings(self) -> Callable[[str, str, str], Timing]:
        @cache
        def timings(dataset: str, model: str, method: str) -> Timing:
            self.told(f"calibrating {dataset}/{model}/{method}")
            cell = Cell(dataset, model, method, 0)
            of = self.facts.training(cell)
            split, augment = self._images(dataset, of[2].batch), self.facts.augment(dataset)
            return step_profile.timed(self._networks(cell), *of, split, augment, self.clock)

        return timings

    @cached_property
    def _paces(self) -> Callable[[str, str], Pace]:
        @cache
        def paces(dataset: str, model: str) -> Pace:
            self.told(f"calibrating {dataset}/{model}, attacks")
            cell = Cell(dataset, model, "natural", 0)
            suite = self.suite(cell, "attack", AttackSuite)
            x = as_float(self._images(dataset, suite.batch).images)
            net = self.facts.fresh(dataset, model).to(self.device).eval()
            return self.columns(cell, list(suite.columns)).pace(net, x)

        return paces

    def _images(self, dataset: str, count: int) -> Split:
        """Random ones, on the device."""
        extent, draws = self.facts.extent(dataset), torch.Generator().manual_seed(0)
        shape = (count, extent.channels, extent.size, extent.size)
        images = torch.randint(256, shape, generator=draws, dtype=torch.uint8)
        return Split(images.to(self.device), (torch.arange(count) % extent.classes).to(self.device))
