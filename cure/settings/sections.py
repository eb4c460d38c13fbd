"""The sections of params.yaml that no catalogue entry owns."""

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
    """When a network counts as unfit for gradient attacks, and the accuracies that the cost estimate assumes."""

    images: Annotated[Count, Field(ge=16)]  # images that are checked; the checks that repeat forwards take 16
    program_seconds: Annotated[Positive, Field(le=86_400)]  # limit for one run of a TorchScript or torch.export file
    rounding: Positive  # relative to the largest logit: other batch sizes choose other kernels
    spread: Annotated[Number, Field(ge=1)]  # times the difference of repeated forwards: beyond the network's noise
    alive: Share  # of the images with a gradient; nearly all in a network without a fault
    level: Annotated[Number, Field(gt=0, lt=1)]  # p-value below which the accuracy is better than guessing
    clean: Share  # assumed accuracies, before anything is measured
    robust: Share  # at most `clean`

    @model_validator(mode="after")
    def _robust_is_clean(self) -> "Preflight":
        if self.robust > self.clean:
            raise ValueError(f"robust is {self.robust:g}, but clean is {self.clean:g}; robust may be at most clean")
        return self


class Masking(Settings):
    """When an evaluation warns of gradient masking; shares of images. A gap counts only if chance does not explain it.

    Networks without masking stay far inside: PGD-100 takes less than a point off PGD-20, and the margin loss takes up
    to five points off the cross-entropy. Carlini et al. 2019 and Croce et al. 2020 give the signs.
    """

    level: Annotated[Number, Field(gt=0, lt=1)]  # probability of such a gap by chance, below which it counts
    slack: Share  # by which the weaker attack may win, and an attack without bounds may leave images
    steps_gap: Share  # which PGD-100 may take off PGD-20
    losses_gap: Share  # between PGD-20 on the cross-entropy and on the margin
    radius: Annotated[Number, Field(gt=1)]  # in multiples of eps: an attack that works leaves next to nothing there
    remaining: Share  # accuracy that may remain there
    late_rise: Share  # largest part of the rise of an image's margin that the last quarter of the steps may add
    least_rise: Share  # smallest rise of the margin, relative to its start, of an attack that makes progress
    exceptions: Share  # of the surviving images, on which these two may fail
    images: Count  # of an extra attack that the evaluation itself did not run


Few = Annotated[Count, Field(le=1024)]  # a CPU library that is asked for a million threads ends the process


class RunSettings(Settings):
    """Where and how to compute. Every result depends on these settings, so every hash includes them."""

    device: Literal["cuda", "cpu", "auto"]  # auto: cuda if there is a GPU
    threads: Few  # of one CPU process; another number rounds differently
    processes: Few  # that train or attack one run together on this machine, each on its own GPU
    sync_batchnorm: bool  # batch statistics over the images of all processes, or of each alone
    deterministic: bool  # whether a kernel that does not repeat its bits is an error
    cpu_isa: Literal["native", "avx2"]  # avx2: newer CPUs round as older ones do, so that hashes agree
    layout: Layout  # of networks in training, and so of their attacks; probe: the faster one on this machine
    precision: Precision  # of forwards in training: all in bfloat16, or the attack's alone; validation uses fp32
    tf32: bool  # CUDA: whether training multiplies with 10-bit mantissas; for an evaluation attack.precision says so
    compile: bool  # attacks of training by torch.compile: needs a C++ compiler and a minute for each network
    graphs: bool  # CUDA: attacks of a shape that occurs again are recorded once and replayed


FAMILIES = (
    "update",
    "update_to_revise",
    "update_from_natural",
    "update_from_natural_to_revise",
    "update_from_teacher",
    "update_from_both",
    "revise_from_robust",
)
"""The lists of methods in `grid`, named by the start and the end of their training; dvc.yaml has stages for each."""


class Grid(Settings):
    """The runs of the table: data sets x models x methods x seeds."""

    datasets: Annotated[list[str], Field(min_length=1)]  # entries of cure/datasets
    models: Annotated[list[str], Field(min_length=1)]  # entries of cure/models
    seeds: Annotated[list[Seed], Field(min_length=1)]  # one run of every method for each
    pretrain: list[str]  # models with a natural network: those of the table and of the layer-wise study
    update: list[str]  # random start, evaluated as trained
    update_to_revise: list[str]  # random start, then the stage revise
    update_from_natural: list[str]  # need the natural network
    update_from_natural_to_revise: list[str]  # need it, then the stage revise
    update_from_teacher: list[str]  # need the method of `roles.teacher`
    update_from_both: list[str]  # natural and teacher
    revise_from_robust: list[str]  # start from the method of `roles.robust`
    analyse: list[str]  # methods to analyse; each analysis skips those that it does not suit
    layers: LayersGrid  # runs of the layer-wise study

    @property
    def methods(self) -> list[str]:
        """Return all methods with an evaluated network, first `natural`, then the lists family by family."""
        return ["natural", *(method for family in FAMILIES for method in getattr(self, family))]

    @property
    def revised(self) -> list[str]:
        """Return the methods whose network the stage revise makes."""
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
            raise ValueError(
                f"pretrain must list all of grid.models and grid.layers.models, no others: {', '.join(natural)}"
            )
        for name, values in [*self, *((f"layers.{name}", values) for name, values in self.layers)]:
            if isinstance(values, list) and len(set(values)) != len(values):
                raise ValueError(f"{name} names an entry twice; remove one")
        if twice := [method for method in dict.fromkeys(self.methods) if self.methods.count(method) > 1]:
            raise ValueError(f"{', '.join(twice)} is listed twice (natural is always included; do not list it)")
        return self


class Threat(Ball):
    """The L-infinity ball: eps and step of every attack, in training and evaluation, that does not set its own."""

    norm: ClassVar[Norm] = "linf"
    step: Positive


class L2Threat(L2Ball):
    """The L2 ball: eps and step of the attacks of `cure eval --norm l2`; training never uses it."""

    norm: ClassVar[Norm] = "l2"
    step: Positive


ThreatModel = Threat | L2Threat


class Roles(Settings):
    """Which methods serve others: RiFT starts from `robust`, ARD and IAD learn from `teacher`."""

    robust: str  # a method of the grid
    teacher: str  # a method of the grid


class Suite(Settings):
    """The images of the test split that an evaluation uses."""

    images: Count  # evenly spaced over the test split; all if there are fewer
    batch: Count  # images of a batch
    seed: Seed  # of the random draws, image by image


class AttackSuite(Suite):
    """The columns of the evaluation; each names an entry of cure/attacks and its settings."""

    layout: Layout  # of the folded copy; probe: the faster one on this machine
    precision: AttackPrecision  # of the attacks; the network in fp32 verifies their results
    subset: dict[str, Count]  # columns on fewer images than the others, and how many
    table: list[str]  # columns of the table; reports/attacks.md has all
    nrr: str  # the column that the table's natural-robustness ratio combines with clean accuracy
    last: list[str]  # columns that also run on the network of the last epoch
    columns: dict[Name, dict[str, Any]]  # name of a column -> `attack`, an entry of cure/attacks, and its settings
    on_request: dict[Name, dict[str, Any]]  # columns that `cure eval --attacks` accepts and the stage does not run

    @model_validator(mode="after")
    def _names_are_columns(self) -> "AttackSuite":
        for key, named in (("subset", self.subset), ("table", self.table), ("last", self.last), ("nrr", [self.nrr])):
            for name in named:
                if name not in self.columns:
                    raise ValueError(f"{key} names {name!r}, which is not among columns: {', '.join(self.columns)}")
        if self.columns and set(self.columns) <= set(self.subset):
            raise ValueError("subset names every column; at least one must use all images")
        return self


class CorruptSuite(Suite):
    """The corruptions, which are entries of cure/corruptions, and the severities of the evaluation."""

    source: Literal["official", "generated", "auto"]  # auto: the arrays of CIFAR-10-C and CIFAR-100-C if downloaded
    severities: Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=1)]  # 1 is the weakest
    corruptions: Annotated[list[str], Field(min_length=1)]  # entries of cure/corruptions


class Analyse(Settings):
    """The images that analyses use, the attack on them, and the analyses with their settings."""

    images: Count  # evenly spaced over the validation split; all if there are fewer
    batch: Count  # of gradients, which are means over batches; the same as in training
    replays: Count  # batches on which training steps are repeated
    seed: Seed  # of the random draws, image by image
    attack: FixedSearch  # on the cross-entropy of the evaluated network
    entries: dict[str, dict[str, Any]]  # entries of cure/analyses and their settings


class ReportText(Settings):
    """The texts of the table, and the figures beside it."""

    title: str  # of the table
    note: str  # names a stand-in data set or a shortened schedule
    against: list[str]  # methods that pairs.md compares every method with, beside the best
    figures: list[str]  # entries of cure/figures
