"""Write docs/methods.md from cure/methods: description, paper, requirements and cost of each method.

`python -m tools.methods_page` rewrites the page. A test compares it with the methods.
"""

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cure import catalogue
from cure.core.method import Batch, Method, Networks, TrainingPosition
from cure.core.names import RELEASED_LAST
from cure.core.network import Network
from cure.core.noise import Stream
from cure.settings.params import Params, read, update_key
from cure.storage import checkpoint
from cure.training.schedule import sgd
from cure.training.step import Step
from tools.passes import Passes

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
SCALE = Path(__file__).parents[1] / "quickstart" / "params.yaml"
IMAGES = 8


def page() -> str:
    """Return the whole page."""
    parts = [
        "# Methods",
        "",
        "`python -m tools.methods_page` makes this page from the docstrings of cure/methods.",
        "",
        "- Passes per image are those of one training step with the quickstart's settings (10 attack steps, IKL-AT 5),",
        "  over all networks of the student's architecture. A pass is one forward, one gradient to the activations or",
        "  one gradient to the weights. On a CPU, images whose attack has ended are left out, so the passes of FAT and",
        "  LAS-AT depend on the network; here it is untrained.",
        "- Running statistics are those of batch norms; the number counts how often one step updates them.",
        "- Best validation PGD accuracy chooses the evaluated epoch. AR-AT is evaluated at its last epoch instead,",
        "  except under `protocol: matched`. Where a release evaluates the last epoch, its method says so.",
        "- docs/own_loop.md runs a method in your own loop.",
    ]
    for name in catalogue.names("methods"):
        parts += ["", *section(name)]
    return "\n".join(parts) + "\n"


def section(name: str) -> list[str]:
    """Return the section of a method: the first line of its docstring, the facts, and the rest of the docstring."""
    module = catalogue.entry("methods", name)
    method: Method = module.METHOD
    title, _, rest = inspect.cleandoc(module.__doc__ or "").partition("\n")
    needs = ", ".join(method.roles) or "nothing"
    brings = ", ".join(companions(name, method)) or "none"
    evaluated = [] if method.evaluated == "student" else [f"evaluated: {method.evaluated}"]
    reads = ["reads parts of its networks by name"] if method.reads_parts else []
    released = ["its release evaluates the last epoch"] if name in RELEASED_LAST else []
    facts = [f"needs: {needs}", f"companions: {brings}", *costs(name, method), *reads, *evaluated, *released]
    return [f"## {title}", "", f"`{name}`. " + "; ".join(facts) + ".", "", "```text", rest.strip(), "```"]


def settings(name: str, method: Method) -> Any:
    """Return the settings of the method and of its training in the quickstart."""
    key = update_key(name, method)
    declared = [key, "train", "threat", *method.hyper.top_level]
    return Params(read(SCALE), declared, "digits", "small").method(key, method.hyper)


def companions(name: str, method: Method) -> list[str]:
    """Return the names of the networks that the method adds to the student."""
    return list(method.companions(settings(name, method)[0])) if method.companions else []


def networks(method: Method, hyper: Any) -> Networks:
    """Build a small student with the method's companions, and stand-ins for its teachers."""

    def fresh() -> Network:
        return checkpoint.build("small", {"width": 4}, 1, 10)

    torch.manual_seed(0)
    student = fresh()
    if method.prepare:
        method.prepare(student, hyper)
    teachers: dict[str, nn.Module] = {role: fresh() for role in method.teachers}
    return Networks(student, method.companions(hyper) if method.companions else {}, teachers)


def costs(name: str, method: Method) -> list[str]:
    """Count passes and updates of running statistics per step, over one cycle of the method's steps."""
    if not method.updates:
        return ["passes per image: no step of its own, it fine-tunes another method's network"]
    hyper, train = settings(name, method)
    nets = networks(method, hyper)
    step, noise = Step(nets, method, hyper, sgd(nets, train)), Stream(0, torch.device("cpu"))
    x, y = torch.rand(IMAGES, 1, 8, 8), torch.arange(IMAGES) % 10
    period = hyper.steps_per_cycle
    nets.ready()
    with Passes((8, 4, 3, 3)) as count:  # the middle convolution of `small` at width 4
        for i in range(period):
            step(Batch(x, y, torch.arange(IMAGES), noise, TrainingPosition(train.epochs, i, train.lr)))
    moved = ", ".join(f"{key} {times}" for key, net in nets.items() if (times := moves(net, period)))
    return [f"passes per image: {round(count.per_image(IMAGES * period), 2):g}", f"running statistics move: {moved}"]


def moves(net: nn.Module, steps: int) -> str:
    """Return how often a step updated the statistics of a new network; several numbers if batch norms differ."""
    seen = [int(norm.num_batches_tracked or 0) for norm in net.modules() if isinstance(norm, _BatchNorm)]
    return " or ".join(f"{times / steps:g}" for times in dict.fromkeys(seen) if times)


def main() -> None:
    """Rewrite docs/methods.md."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
