"""Steps of every method, ours and with the authors' pass structure, on networks of their own."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from cure import catalogue
from cure.adversarial.cuda_graphs import graphs
from cure.core.method import Batch, Method, Networks, TrainingPosition
from cure.core.noise import Stream
from cure.nn.memory_format import FORMATS
from cure.runtime import device
from cure.settings.params import Params, read, update_key
from cure.settings.sections import RunSettings
from cure.training.schedule import sgd
from cure.training.step import Step
from tests.support import released
from tests.support.method_harness import ROOT
from tests.support.race import CUDA, DEVICE, NETWORKS, fresh, images

LATE = 150  # an epoch after every method's warm-up
BATCHES = dict.fromkeys(NETWORKS, 128) if CUDA else {"small_resnet": 32, "resnet18": 16}  # on a GPU, that of a run
TAPS = {"small_resnet": ["layer4.0.bn1", "layer4.0.bn2"]}


@dataclass(frozen=True)
class Case:
    """A method under a preset of the root's params.yaml, and the authors' step; `bars` by network, or on CUDA."""

    row: str
    method: str
    theirs: str
    preset: str | None = None
    step: released.Step | None = None
    bars: tuple[tuple[str, float], ...] = ()
    precision: str = "fp32"


RUN: dict[str, Any] = read(ROOT / "params.yaml")["run"]
if CUDA:  # deterministic kernels, TF32 and graphs are those of a run
    device.set_up(RunSettings.model_validate(RUN))
CURE_BARS = (("small_resnet", 0.50), ("resnet18", 0.68), ("cuda", 0.30))
CASES = [
    Case("CURE, Eqs. (4)-(8)", "cure", "four backward passes", bars=CURE_BARS),
    Case("CURE, official_soft", "cure", "four backward passes (rgp_soft)", "official_soft", bars=CURE_BARS),
    Case("CURE, official_rgp", "cure", "rgp", "official_rgp", released.cure.one_backward),
    Case("TRADES", "trades", "yaodongyu/TRADES", bars=(("small_resnet", 0.50), ("resnet18", 0.68), ("cuda", 0.35))),
    Case("AT", "at", "CURE's repository", bars=(("small_resnet", 0.72), ("resnet18", 0.97), ("cuda", 0.50))),
    Case("MART", "mart", "YisenWang/MART"),
    Case("natural", "natural", "plain"),
    Case("AWP", "awp", "csdongxian/AWP"),
    Case("FAT", "fat", "zjfheart"),
    Case("ST-AT", "st_at", "qizhangli/ST-AT"),
    Case("ACT", "act", "NeurAI-Lab/ACT"),
    Case("ARD", "ard", "goldblum", "ard_t1"),
    Case("IAD", "iad", "ZFancy/IAD"),
    Case("LAS-AT, with its reward", "las_at", "jiaxiaojunQAQ/LAS-AT"),
    Case("PART", "part", "PART's repository"),
    Case("VFD", "vfd", "written plainly, no code published"),
    Case("AR-AT", "arat", "AR-AT's repository"),
    Case("AT-EMA", "at_ema", "CURE's repository"),
    Case("HAT", "hat", "imrahulr/hat"),
    Case("LBGAT", "lbgat", "dvlab-research/LBGAT"),
    Case("Generalist", "generalist", "PKU-ML/Generalist"),
    Case("IKL-AT", "ikl_at", "jiequancui/DKL"),
    Case("CURE_Eff, official", "cure_eff", "train_warmup.py (rgp)", "official"),
]


# bfloat16, only ours: (small_resnet, resnet18)
HALF = {"cure": (0.30, 0.40), "trades": (0.30, 0.36), "at": (0.45, 0.50)} if "precision" in RUN else {}
CASES += [
    dataclasses.replace(
        case,
        row=f"{case.row}, bf16",
        precision="bf16",
        bars=(("small_resnet", small), ("resnet18", large)),
    )
    for name, (small, large) in HALF.items()
    for case in [next(case for case in CASES if case.method == name)]
]


def settings(name: str, method: Method, preset: str | None) -> Any:
    """Return the method's settings and its schedule, from the root's params.yaml for CIFAR-10 and ResNet-18."""
    key = update_key(name, method)
    raw = read(ROOT / "params.yaml")
    section: Any = raw
    for part in key.split("."):
        section = section[part]
    if preset:
        section["preset"] = preset
    return Params(raw, [key, "train", "threat", *method.hyper.top_level], "cifar10", "resnet18").method(
        key, method.hyper
    )


def batch_of(network: str, seed: int = 0) -> Batch:
    """Return random images with the labels that the network predicts."""
    x = images(BATCHES[network])
    with torch.no_grad():
        y = fresh(network).eval()(x).argmax(1)
    places = torch.arange(len(x), device=DEVICE)
    return Batch(x, y, places, Stream(seed, DEVICE), TrainingPosition(LATE, LATE * 400, 0.01, epochs=200))


def networks(method: Method, hyper: Any, network: str) -> Networks:
    student = fresh(network)
    if method.prepare:
        method.prepare(student, hyper)
    companions = method.companions(hyper) if method.companions else {}
    return Networks(student, companions, {role: fresh(network) for role in method.teachers}).to(DEVICE)


def laid_out(nets: Networks) -> Networks:
    """Return the networks in the memory format of a run; a probe chooses channels_last for networks like these."""
    layout = RUN.get("layout", "contiguous")
    return nets.to(memory_format=FORMATS["channels_last" if layout == "probe" else layout])


class Turn:
    """A step to be taken repeatedly on the same images from where the networks are."""

    def __init__(self, nets: Networks, batch: Batch, take: Callable[[Networks, Batch], object]) -> None:
        self.nets, self.batch, self.take = nets, batch, take

    def __call__(self) -> None:
        self.nets.ready()
        self.take(self.nets, dataclasses.replace(self.batch, points={}))


def steps(case: Case, network: str) -> tuple[Turn, Turn]:
    """Return our step and the authors' step, each on its own networks, both from the same weights and images."""
    method: Method = catalogue.entry("methods", case.method).METHOD
    hyper, train = settings(case.method, method, case.preset)
    if hasattr(hyper, "taps") and network in TAPS:
        hyper = hyper.model_copy(update={"taps": TAPS[network]})
    if case.method == "las_at":
        hyper = hyper.model_copy(update={"every": 1})
    train = train.model_copy(update={"lr": 1e-4})  # rounds repeat the step, so the network must hardly move
    mine, others = laid_out(networks(method, hyper, network)), networks(method, hyper, network)
    half = [case.precision] if case.precision != "fp32" else []
    step, optimizer = Step(mine, method, hyper, sgd(mine, train), *half), sgd(others, train)
    released_step = case.step or released.STEPS[case.method]

    def ours(nets: Networks, batch: Batch) -> object:
        with graphs(RUN["graphs"]):
            return step(batch)

    return (
        Turn(mine, batch_of(network), ours),
        Turn(others, batch_of(network), lambda nets, batch: released_step(nets, batch, hyper, optimizer)),
    )
