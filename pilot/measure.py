"""Measure the speed of a GPU: training steps, parts of a step, attacks, a validation and a save, with profiles.

`python -m pilot.measure FOLDER` reads model, batch and methods from FOLDER/params.yaml. It rewrites measured.json after
each measurement, and writes profiles/*.txt. If a measurement fails, its error is recorded and the next one begins.
"""

import itertools
import json
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from cure.adversarial.cuda_graphs import graphs
from cure.adversarial.pgd import ce_objective, pgd
from cure.core.method import Batch, TrainingPosition
from cure.core.noise import Stream
from cure.data.loader import Loader
from cure.evaluation.attack_columns import AttackColumn, attack_sequences, attacked, examples_of
from cure.evaluation.driver import multiplying
from cure.nn import order_statistics
from cure.nn.masks import applied, masks
from cure.pipeline.planning.step_profile import networks
from cure.runtime.terminal import stage
from cure.settings.base import AttackPrecision, Augment, Precision
from cure.settings.sections import AttackSuite, Threat
from cure.storage.files import write_text
from cure.storage.resume import Scratch
from cure.training.schedule import sgd
from cure.training.step import Step
from cure.training.validation import validated
from pilot.bench import CLASSES, STEPS, Bench, profiled

IMAGES = 50_000  # images of an epoch, to convert the time of a step
METHODS = ("natural", "at", "cure", "trades")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
WARM = 4
LATE = 25  # an epoch after the warm-up of every method
VALIDATION, ATTACKED = 1000, 200
EVALUATED: tuple[AttackPrecision, ...] = ("fp32", "tf32", "bf16")
WAYS = {False: "eager", True: "graphs"}


def a_step(bench: Bench, name: str, precision: Precision, use_graphs: bool) -> dict[str, Any]:
    """Return time, peak memory and kernels of a training step, and the seconds of an epoch; write a profile."""
    method, hyper, fit = bench.of(name)
    nets = networks(method, hyper, bench.fresh).to(bench.where)
    step = Step(nets, method, hyper, sgd(nets, fit), precision)
    nets.ready()
    loader = Loader(bench.split(bench.batch * 8), bench.batch, Augment(crop=4, padding="zero", flip=True), 0)
    noise, batches = Stream(0, bench.where), itertools.cycle(list(loader.epoch(LATE)))
    count = itertools.count()

    def take() -> None:
        x, y, index = next(batches)
        position = TrainingPosition(LATE, LATE * 400 + next(count), 1e-4, len(loader))
        step(Batch(x, y, index, noise, position))

    with graphs(use_graphs):
        for _ in range(WARM):
            take()
        if bench.where.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        each = bench.seconds(take, bench.steps)
        found = profiled(bench, take, f"{name}-{precision}-{WAYS[use_graphs]}")
    found |= {"ms": 1e3 * each, "epoch_s": each * IMAGES / bench.batch}
    if bench.where.type == "cuda":
        found["peak_mib"] = torch.cuda.max_memory_allocated() // 2**20
    return found


def a_mask(bench: Bench) -> dict[str, Any]:
    """Return the milliseconds of CURE's masks and masked gradients for all weights; write a profile."""
    scores = {name: torch.rand_like(weight) for name, weight in bench.fresh().named_parameters()}
    gradients = {name: torch.randn_like(score) for name, score in scores.items()}

    def take() -> None:
        applied(gradients, masks(scores, 0.3, "layer"))

    take()
    found = profiled(bench, take, "mask")
    return found | {"ms": 1e3 * bench.seconds(take, bench.steps)}


def thresholds(bench: Bench, way: str) -> dict[str, Any]:
    """Return the milliseconds of the masks' thresholds, found by counting bits (`counted`) or the kernel (`radix`)."""
    scores = [torch.rand_like(weight) for weight in bench.fresh().parameters()]
    packing = order_statistics.packing_of(scores)
    keys = order_statistics._ordered(packing.packed(scores))
    ranks = packing.ranks(*(score.numel() // 3 for score in scores))
    find = {"counted": order_statistics.counted, "radix": order_statistics.selected}[way]

    def take() -> None:
        find(keys, packing.owner, ranks)

    take()
    return {"ms": 1e3 * bench.seconds(take, bench.steps)}


def an_attack(bench: Bench, precision: Precision, use_graphs: bool) -> dict[str, Any]:
    """Return the milliseconds of AT's training attack, which has ten steps on the folded copy."""
    _, hyper, _ = bench.of("at")
    net, split = bench.fresh(), bench.split(bench.batch)
    x, y, index = next(split.batches(bench.batch))
    noise = Stream(0, bench.where)

    def take() -> None:
        half = precision == "bf16"
        with torch.autocast(bench.where.type, torch.bfloat16, enabled=half, cache_enabled=False):
            pgd(net, Batch(x, y, index, noise), hyper.attack, ce_objective)

    with graphs(use_graphs):
        for _ in range(WARM):
            take()
        return {"ms": 1e3 * bench.seconds(take, bench.steps)}


def a_validation(bench: Bench, use_graphs: bool) -> dict[str, Any]:
    """Return the seconds of a validation after warm-up, and its number of images."""
    _, _, fit = bench.of("at")
    net, split = bench.fresh(), bench.split(VALIDATION)
    with graphs(use_graphs):
        for _ in range(3):
            validated(net, split, fit, 0)
        return {"s": bench.seconds(lambda: validated(net, split, fit, 0), 2), "images": VALIDATION}


def a_save(bench: Bench) -> dict[str, Any]:
    """Return the milliseconds for which a save of AT blocks the host, and the seconds that it takes in total."""
    method, hyper, _ = bench.of("at")
    nets = networks(method, hyper, bench.fresh).to(bench.where)
    state = {"nets": nets.state_dict(), "momentum": [torch.zeros_like(w) for w in nets.weights().values()]}
    best = {"best": nets.student.state_dict()}
    scratch = Scratch("measure", "save", {}, [])
    with scratch.saver(set()) as saver:
        held = list[float]()
        for _ in range(3):
            bench.wait()
            begin = time.perf_counter()
            saver.save(state, best, last=True)
            held.append(time.perf_counter() - begin)
            saver.wait()
            whole = time.perf_counter() - begin
    size = sum(path.stat().st_size for path in [scratch.path, *scratch.folder.iterdir()])
    scratch.delete()
    return {"held_ms": [1e3 * one for one in held], "whole_s": whole, "mib": size / 2**20}


def an_evaluation(bench: Bench, column: str, precision: AttackPrecision, use_graphs: bool) -> dict[str, Any]:
    """Return the seconds of an attack column. A random network labels the images itself, so that nearly all survive."""
    net, split = bench.fresh().eval(), bench.split(ATTACKED)
    params = bench.params(["attack", "threat"])
    suite = params.get("attack", AttackSuite)
    narrowed = {"columns": {column: suite.columns[column]}, "table": [column], "subset": {}, "nrr": column, "last": []}
    suite = suite.model_copy(update=narrowed | {"precision": precision, "layout": "channels_last"})
    threat = params.get("threat", Threat).model_copy(update={"eps": 1e-4, "step": 2.5e-5})
    data = examples_of(split)
    with torch.no_grad(), multiplying(tf32=False):
        labels = net(data.x).argmax(1)
    data = type(data)(data.x, labels, data.index)
    sequences = attack_sequences(suite, threat, CLASSES)
    found = list[dict[str, AttackColumn]]()
    with graphs(use_graphs):
        seconds = bench.seconds(lambda: found.append(attacked(net, data, sequences, suite, lambda _: None)), 1)
    return {"s": seconds, "images": ATTACKED, "survivors": int(found[0][column].outcome.robust.sum())}


def measures(bench: Bench) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yield name and function of each measurement, the most important first."""
    kinds = list(itertools.product((False, True), PRECISIONS))
    for name, (use_graphs, precision) in itertools.product(METHODS, kinds):
        yield f"step {name}, {precision}, {WAYS[use_graphs]}", partial(a_step, bench, name, precision, use_graphs)
    yield "mask", partial(a_mask, bench)
    for way in ("counted", "radix") if order_statistics._triton() else ("counted",):
        yield f"thresholds, {way}", partial(thresholds, bench, way)
    yield "save", partial(a_save, bench)
    for use_graphs, precision in kinds:
        yield f"attack, {precision}, {WAYS[use_graphs]}", partial(an_attack, bench, precision, use_graphs)
    for use_graphs in (False, True):
        yield f"validation, {WAYS[use_graphs]}", partial(a_validation, bench, use_graphs)
    for column, use_graphs, of_attack in itertools.product(("pgd20", "aa"), (False, True), EVALUATED):
        if use_graphs or column == "pgd20":  # AutoAttack's own classes cannot be captured as graphs
            label = f"{column}, {of_attack}, {WAYS[use_graphs]}"
            yield label, partial(an_evaluation, bench, column, of_attack, use_graphs)


def facts(bench: Bench) -> dict[str, Any]:
    """Return device, PyTorch version and settings of the measurements."""
    gpu = bench.where.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if gpu else "CPU",
        "torch": torch.__version__,
        "model": bench.model,
        "batch": bench.batch,
        "run": bench.raw["run"],
    }


def main(
    folder: Annotated[Path, typer.Argument(help="A folder with params.yaml.")],
    seconds: Annotated[float, typer.Option(help="No measure begins after these.", min=0)] = 360,
    steps: Annotated[int, typer.Option(help="Steps of a measure.", min=1)] = STEPS,
) -> None:
    """Measure for some minutes; print a line for each measure."""
    begin, bench = time.monotonic(), Bench(folder, steps)
    found: dict[str, Any] = facts(bench) | {"measures": {}}
    for name, measure in measures(bench):
        if time.monotonic() - begin > seconds:
            break
        try:
            found["measures"][name] = measure()
        except Exception:  # recorded, to be fixed at home
            found["measures"][name] = {"error": traceback.format_exc()}
        print(f"{name}: {str(found['measures'][name])[-200:]}", flush=True)
        write_text(folder / "measured.json", json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    stage(main)
