"""Provide the settings of a folder, its device, timing that waits for the device, and profiles of calls."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from cure import catalogue
from cure.core.method import Method
from cure.core.network import Network
from cure.data.loader import Split
from cure.runtime import device
from cure.settings.params import Params, read, update_key
from cure.settings.sections import RunSettings
from cure.storage.checkpoint import build
from cure.storage.files import write_text

SIZE, CLASSES = 32, 10
STEPS, PROFILED = 20, 3
SHOWN = 40  # lines of a profile


@dataclass
class Bench:
    """The settings of a pipeline folder, and the networks and images to measure on its device."""

    folder: Path
    steps: int = STEPS

    @cached_property
    def raw(self) -> dict[str, Any]:
        """Return the contents of params.yaml."""
        return read(self.folder / "params.yaml")

    @cached_property
    def run_settings(self) -> RunSettings:
        """Return the section `run`."""
        return self.params(["run"]).get("run", RunSettings)

    @cached_property
    def where(self) -> torch.device:
        """Return the device, set up as a stage does."""
        return device.set_up(self.run_settings)

    @property
    def model(self) -> str:
        """Return the first model of the grid."""
        name: str = self.raw["grid"]["models"][0]
        return name

    @property
    def batch(self) -> int:
        """Return the number of images in a training step."""
        size: int = self.raw["train"]["batch"]
        return size

    def params(self, declared: list[str]) -> Params:
        """Return the settings under these keys of params.yaml."""
        return Params(self.raw, declared, "folder", self.model)

    def fresh(self) -> Network:
        """Return a network with random weights, on the device and in the memory layout of GPUs."""
        torch.manual_seed(0)
        net = build(self.model, self.raw["models"].get(self.model) or {}, 3, CLASSES)
        return net.to(self.where).to(memory_format=torch.channels_last)

    def split(self, images: int) -> Split:
        """Return random uint8 images and labels, on the device."""
        draws = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (images, 3, SIZE, SIZE), generator=draws, dtype=torch.uint8)
        return Split(pixels.to(self.where), torch.randint(CLASSES, (images,), generator=draws).to(self.where))

    def of(self, name: str) -> tuple[Method, Any, Any]:
        """Return a method, its settings and those of its training."""
        method: Method = catalogue.entry("methods", name).METHOD
        key = update_key(name, method)
        declared = [key, "train", "threat", *method.hyper.top_level]
        return method, *self.params(declared).method(key, method.hyper)

    def wait(self) -> None:
        """Wait until the device has finished its work."""
        if self.where.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, act: Callable[[], object], times: int) -> float:
        """Return the seconds of one call, as the mean over `times` calls between two waits."""
        self.wait()
        begin = time.perf_counter()
        for _ in range(times):
            act()
        self.wait()
        return (time.perf_counter() - begin) / times


def profiled(bench: Bench, act: Callable[[], object], name: str) -> dict[str, Any]:
    """Return the number of kernels that a call starts, and their time; write the profile to profiles/NAME.txt."""
    cuda = bench.where.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as seen:
        for _ in range(PROFILED):
            act()
        bench.wait()
    by = "self_device_time_total" if cuda else "self_cpu_time_total"
    averages = seen.key_averages()
    write_text(bench.folder / "profiles" / f"{name}.txt", averages.table(sort_by=by, row_limit=SHOWN))
    kernels = [event for event in averages if "CUDA" in str(event.device_type)]
    return {
        "kernels": sum(event.count for event in kernels) / PROFILED,
        "kernel_ms": sum(event.self_device_time_total for event in kernels) / PROFILED / 1e3,
    }
