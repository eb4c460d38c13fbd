"""The sections of params.yaml that belong to no catalogue entry."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from cure.errors import did_you_mean
from cure.settings.base import (
    AttackPrecision,
    Ball,
    Count,
    FixedSearch,
    L2Ball,
    Layout,
    Name,
    Norm,
    Number,
    Positive,
    Precision,
    Seed,
    Settings,
    Share,
)
from cure.settings.layers import LayersGrid
from cure.settings.training import EpochAverage as EpochAverage
from cure.settings.training import Fit as Fit
from cure.settings.training import Schedule as Schedule
from cure.settings.training import Snapshots as Snapshots
from cure.settings.training import Train as Train


class Preflight(Settings):
    """When a network is taken to be unfit for gradient attacks, and what the estimate of the cost assumes of it."""

    images: Annotated[Count, Field(ge=16)]  # that are looked at; the checks that repeat forwards take 16
    program_seconds: Annotated[Positive, Field(le=86_400)]  # for a TorchScript or torch.export file to run once
    rounding: Positive  # of the largest logit: other batch sizes choose other kernels
    spread: Annotated[Number, Field(ge=1)]  # times what equal forwards differ by: beyond a random network's own noise
    alive: Share  # of the images have a gradient; of sound networks nearly all
    level: Annotated[Number, Field(gt=0, lt=1)]  # chance of so many right, were it guessing, below which it is not
    clean: Share  # assumed accuracies, before anything is measured
    robust: Share

    @model_validator(mode="after")
    def _robust_is_clean(self) -> "Preflight":
        if self.robust > self.clean:
            raise ValueError(f"robust is {self.robust:g}, but only {self.clean:g} are clean; it may be at most that")
        return self


class Masking(Settings):
    """When an evaluation warns of its own numbers; shares of images. A gap counts only where chance makes none like it.

    Sound networks stay far inside: PGD-100 takes less than a point off PGD-20, the margin loss up to five off the
    cross-entropy; Carlini et al. 2019 and Croce et al. 2020 give the signs.
    """

    level: Annotated[Number, Field(gt=0, lt=1)]  # chance of a gap, were there none, below which it is one
    slack: Share  # by how much the weaker attack may be the stronger, and what an attack without bounds may leave
    steps_gap: Share  # what PGD-100 may take off PGD-20
    losses_gap: Share  # between PGD-20 on the cross-entropy and on the margin
    radius: Annotated[Number, Field(gt=1)]  # in eps: where every attack that works leaves next to nothing
    remaining: Share  # accuracy that may be left there
    late_rise: Share  # of what all steps raise an image's margin by: what the last quarter of them may bring of it
    least_rise: Share  # of the margin at the start: by how much the steps raise it, if they get anywhere
    exceptions: Share  # of the images that survive: those on which these two may be otherwise
    images: Count  # for what the evaluation itself did not measure


Few = Annotated[Count, Field(le=1024)]  # a CPU library that is asked for a million threads ends the process


class RunSettings(Settings):
    """Where and how things are computed; part of every result, so part of every hash."""

    device: Literal["cuda", "cpu", "auto"]
    threads: Few  # of one CPU process; another number gives other roundings
    processes: Few  # that train or attack one run together, on this machine; a GPU each
    sync_batchnorm: bool  # batch statistics over all of them, or of each one's images
    deterministic: bool
    cpu_isa: Literal["native", "avx2"]  # avx2: newer CPUs round as older ones, so that hashes agree
    layout: Layout  # of networks in training, and so of their attacks; probe: whichever is faster here
    precision: Precision  # of forwards in training: all, or the attack's alone, in bfloat16; validation has fp32
    tf32: bool  # CUDA: whether training multiplies with 10-bit mantissas; attacks of an evaluation never do
    compile: bool  # attacks of training by torch.compile: needs a C++ compiler and a minute for each network
    graphs: bool  # CUDA: attacks that come again in the same shape are recorded once and replayed


FAMILIES = (
    "update",
    "update_to_revise",
    "update_from_natural",
    "update_from_natural_to_revise",
    "update_from_teacher",
    "update_from_both",
    "revise_from_robust",
)
"""The lists of methods in `grid`, named by where these start and where they end; dvc.yaml has stages for each."""


class Grid(Settings):
    """The runs of the table: data sets x models x methods x seeds."""

    datasets: Annotated[list[str], Field(min_length=1)]
    models: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    pretrain: list[str]  # models with a natural network: those of the table and of the layer-wise study
    update: list[str]
    update_to_revise: list[str]
    update_from_natural: list[str]
    update_from_natural_to_revise: list[str]
    update_from_teacher: list[str]
    update_from_both: list[str]  # natural and teacher
    revise_from_robust: list[str]
    analyse: list[str]  # methods that are analysed; each analysis leaves out those that it does not suit
    layers: LayersGrid

    @property
    def methods(self) -> list[str]:
        """Every evaluated network: the natural one and, family by family, what the lists name."""
        return ["natural", *(method for family in FAMILIES for method in getattr(self, family))]

    @property
    def revised(self) -> list[str]:
        """The methods whose network the stage revise makes."""
        return [method for family in FAMILIES if "revise" in family for method in getattr(self, family)]

    @model_validator(mode="after")
    def _names_are_known_and_stand_once(self) -> "Grid":
        trained = [method for method in self.methods if method not in self.revise_from_robust]
        if odd := [method for method in self.analyse if method not in trained]:
            raise ValueError(
                f"analyse names {odd[0]!r}, which is not a method with a training loop{did_you_mean(odd[0], trained)}"
            )
        natural = dict.fromkeys([*self.models, *self.layers.models])
        if sorted(self.pretrain) != sorted(natural):
            raise ValueError(f"pretrain must hold models and those of layers: {', '.join(natural)}")
        for name, values in [*self, *((f"layers.{name}", values) for name, values in self.layers)]:
            if isinstance(values, list) and len(set(values)) != len(values):
                raise ValueError(f"{name} names something twice")
        if twice := [method for method in dict.fromkeys(self.methods) if self.methods.count(method) > 1]:
            raise ValueError(f"{', '.join(twice)} stands there twice (natural is a method without being listed)")
        return self


class Threat(Ball):
    """The L-infinity ball; laid under every attack, training and evaluation, that does not name its own."""

    norm: ClassVar[Norm] = "linf"
    step: Positive


class L2Threat(L2Ball):
    """The L2 ball; laid under the attacks of `cure eval --norm l2`. Training has none."""

    norm: ClassVar[Norm] = "l2"
    step: Positive


ThreatModel = Threat | L2Threat


class Roles(Settings):
    """Which methods serve others: `robust` is where RiFT starts, `teacher` is whom ARD and IAD learn from."""

    robust: str
    teacher: str


class Suite(Settings):
    """What evaluates networks on the test split."""

    images: Count  # of the test split, evenly spread; more than there are means all
    batch: Count
    seed: Seed


class AttackSuite(Suite):
    """Columns by name; each names an entry of cure/attacks and its settings."""

    layout: Layout  # of the folded copy; probe: whichever is faster here
    precision: AttackPrecision  # of the attacks; the network in fp32 judges what they find
    subset: dict[str, Count]  # columns that see fewer images than the others, and how many
    table: list[str]  # columns of the table; reports/attacks.md has all
    nrr: str  # the column that the natural-robustness ratio of the table pairs with clean accuracy
    last: list[str]  # columns that the network of the last epoch meets too
    columns: dict[Name, dict[str, Any]]
    on_request: dict[Name, dict[str, Any]]  # columns that `cure eval --attacks` knows and the stage does not run

    @model_validator(mode="after")
    def _names_are_columns(self) -> "AttackSuite":
        for key, named in (("subset", self.subset), ("table", self.table), ("last", self.last), ("nrr", [self.nrr])):
            for name in named:
                if name not in self.columns:
                    raise ValueError(f"{key} names {name!r}, which is not among columns: {', '.join(self.columns)}")
        if self.columns and set(self.columns) <= set(self.subset):
            raise ValueError("subset names every column; at least one must see all images")
        return self


class CorruptSuite(Suite):
    """Corruptions by name (entries of cure/corruptions) at these severities."""

    source: Literal["official", "generated", "auto"]  # auto: CIFAR-10-C's and CIFAR-100-C's own arrays where downloaded
    severities: Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=1)]
    corruptions: Annotated[list[str], Field(min_length=1)]


class Analyse(Settings):
    """The images that analyses look at, what is laid on them, and which analyses with their settings."""

    images: Count  # of the validation split, evenly spread; more than there are means all
    batch: Count  # of gradients, which are means over batches; that of the training
    replays: Count  # batches on which steps of the training are taken again
    seed: Seed
    attack: FixedSearch  # on the cross-entropy of the evaluated network
    entries: dict[str, dict[str, Any]]  # entries of cure/analyses and their settings


class ReportText(Settings):
    """What the table says of itself, and which figures stand beside it."""

    title: str
    note: str  # a stand-in data set or a shortened schedule is named here
    against: list[str]  # methods that every method is compared with in pairs.md, beside the best
    figures: list[str]  # entries of cure/figures
