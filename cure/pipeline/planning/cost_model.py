"""Define the cost model of a folder: operations and timings of untrained networks, each measured once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import nn

from cure.core.method import Networks
from cure.core.network import Network
from cure.data.loader import Split, as_float
from cure.evaluation.speed import AttackSpeed
from cure.evaluation.standalone.plan import Plan, plan
from cure.pipeline.planning import step_profile
from cure.pipeline.planning.facts import Facts
from cure.pipeline.planning.step_profile import Clock, Count, Timing
from cure.settings.sections import AttackSuite, RunSettings
from cure.storage.paths import Run


@dataclass(frozen=True)
class Estimate:
    """The cost of one task. A pass is the number of operations of one forward of the run's network for one image."""

    passes: float
    flops: float
    seconds: float
    memory: int  # bytes on the device, at the peak
    disk: int  # bytes that stay
    resume: int  # bytes of the resume file, while it runs


def size(net: nn.Module) -> int:
    """Return the bytes of weights and buffers."""
    return sum(t.nbytes for t in net.state_dict().values())


@dataclass(frozen=True, eq=False)
class CostModel:
    """Costs of the runs of one folder on one device; steps are timed there unless a speed is stated."""

    facts: Facts
    device: torch.device
    flops_per_second: float | None  # operations per second
    clock: Clock
    start: float  # seconds until a stage computes
    on_progress: Callable[[str], object]  # called with the name of what is being timed

    def outline(self, run: Run) -> Networks:
        """Return the networks of the run's training on the meta device."""
        with torch.device("meta"):
            return self._networks(run)

    def _networks(self, run: Run) -> Networks:
        method, hyper, _ = self.facts.training(run)
        return step_profile.networks(method, hyper, lambda: self.facts.fresh(run.dataset, run.model))

    def count(self, run: Run, epoch: int) -> Count:
        """Count a step of the run's training in this epoch."""
        return self._counts(run.dataset, run.model, run.method, epoch)

    def timing(self, run: Run) -> Timing:
        """Time a step of the run's training after all warm-ups."""
        return self._timings(run.dataset, run.model, run.method)

    def attack_speed(self, run: Run) -> AttackSpeed:
        """Time the attacks on an untrained network of the run's model and data set."""
        return self._speeds(run.dataset, run.model)

    def flops(self, run: Run) -> int:
        """Return the operations of one pass."""
        extent = self.facts.extent(run.dataset)
        return step_profile.forward_flops(self.plain(run), extent.channels, extent.size)

    def plain(self, run: Run) -> Network:
        """Return the network of the run on the meta device."""
        with torch.device("meta"):
            return self.facts.fresh(run.dataset, run.model)

    def seconds(self, run: Run, passes: float) -> float:
        """Convert passes at the stated speed or, without one, at the speed of a step of the run's training."""
        if self.flops_per_second is not None:
            return passes * self.flops(run) / self.flops_per_second
        each = self.count(run, self.facts.training(run)[2].epochs).passes
        return self.start + passes * self.timing(run).image / each

    def held(self, run: Run) -> float:
        """Return the bytes of the graph of one image, in eval mode, for the gradient to the image."""
        return self._graphs(run.dataset, run.model) * self.facts.extent(run.dataset).size ** 2

    def columns(self, run: Run, names: list[str]) -> Plan:
        """Return the plan of these columns of the section attack."""
        params = self.facts.params(run.dataset, run.model)
        return plan(params, names, self.facts.extent(run.dataset).classes, {})

    def suite(self, run: Run, section: str, kind: Any) -> Any:
        """Return the section of params.yaml of an evaluating stage, for the run."""
        return self.facts.params(run.dataset, run.model).get(section, kind)

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
            run, extent = Run(dataset, model, method, 0), self.facts.extent(dataset)
            of = self.facts.training(run)
            return step_profile.counted(self._networks(run), *of, extent.channels, extent.classes, epoch)

        return counts

    @cached_property
    def _timings(self) -> Callable[[str, str, str], Timing]:
        @cache
        def timings(dataset: str, model: str, method: str) -> Timing:
            self.on_progress(f"calibrating {dataset}/{model}/{method}")
            run = Run(dataset, model, method, 0)
            of = self.facts.training(run)
            split, augment = self._images(dataset, of[2].batch), self.facts.augment(dataset)
            run_settings = self.facts.params("", "").get("run", RunSettings)
            return step_profile.timed(self._networks(run), *of, split, augment, run_settings, self.clock)

        return timings

    @cached_property
    def _speeds(self) -> Callable[[str, str], AttackSpeed]:
        @cache
        def speeds(dataset: str, model: str) -> AttackSpeed:
            self.on_progress(f"calibrating {dataset}/{model}, attacks")
            run = Run(dataset, model, "natural", 0)
            suite = self.suite(run, "attack", AttackSuite)
            x = as_float(self._images(dataset, suite.batch).images)
            net = self.facts.fresh(dataset, model).to(self.device).eval()
            return self.columns(run, list(suite.columns)).measure_speed(net, x)

        return speeds

    def _images(self, dataset: str, count: int) -> Split:
        """Draw random images and labels on the device."""
        extent, draws = self.facts.extent(dataset), torch.Generator().manual_seed(0)
        shape = (count, extent.channels, extent.size, extent.size)
        images = torch.randint(256, shape, generator=draws, dtype=torch.uint8)
        return Split(images.to(self.device), (torch.arange(count) % extent.classes).to(self.device))
