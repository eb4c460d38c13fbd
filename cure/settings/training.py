"""The sections of params.yaml that train: `pretrain`, `train`, and what a method or a study lays over them."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from cure.settings.base import Count, Drops, FixedSearch, Momentum, NonNegative, Number, Positive, Settings, Share


class OneCycle(Settings):
    """A learning rate that rises once and falls once, step by step along half cosines. Smith and Topin 2018.

    Momentum moves against it. PyTorch's OneCycleLR has 0.04, 4e-6, 0.85 and 0.95 unless told otherwise.
    """

    rise: Annotated[Number, Field(gt=0, lt=1)]  # share of the steps until the rate is lr
    first: Annotated[Positive, Field(le=1)]  # factor of lr in the first step
    last: Annotated[Positive, Field(le=1)]  # factor of lr in the last step
    low_momentum: Momentum  # where the rate is lr
    high_momentum: Momentum  # in the first step and the last


def _cycle_or_word(value: Any) -> str:
    return "a cycle" if isinstance(value, dict | OneCycle) else "a word"


LrSchedule = Annotated[
    Annotated[Literal["drops", "linear", "cosine"], Tag("a word")] | Annotated[OneCycle, Tag("a cycle")],
    Discriminator(_cycle_or_word),  # so that a mistake is told of the one that was meant
]


class Schedule(Settings):
    """SGD with momentum, and how its learning rate goes (training/schedule.py has the formulas)."""

    epochs: Count
    batch: Count
    lr: Positive
    momentum: Momentum
    nesterov: bool
    weight_decay: NonNegative
    drops: Drops
    lr_schedule: LrSchedule  # linear: between the drops

    @model_validator(mode="after")
    def _drops_have_an_effect(self) -> "Schedule":
        if self.drops and self.lr_schedule not in ("drops", "linear"):
            kind = self.lr_schedule if isinstance(self.lr_schedule, str) else "one cycle"
            raise ValueError(f"lr_schedule is {kind}, which has no drops; set drops to {{}}")
        return self

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "Schedule":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov is true, but momentum is 0; PyTorch has no such SGD")
        return self

    @model_validator(mode="after")
    def _steps_are_numbers_of_single_precision(self) -> "Schedule":
        largest = max([self.lr, self.weight_decay, *(self.lr * factor for factor in self.drops.values())])
        if largest > 3.4e38:
            raise ValueError(f"lr, lr times a factor of drops, or weight_decay is {largest:g}, beyond float32")
        return self


class Snapshots(Settings):
    """The equal mean of the weights after every `every`-th step of the epochs from `begin` on (SWA)."""

    begin: Count  # 1-based epoch
    every: Count


class EpochAverage(Settings):
    """The mean of the weights at the end of every epoch from `begin` on, where each step back counts `decay` times."""

    decay: Share
    begin: Count  # 1-based epoch


def _kind_of_average(value: Any) -> str:
    if isinstance(value, dict | EpochAverage | Snapshots):
        return "of epochs" if "decay" in dict(value) else "of snapshots"
    return "of steps"


Average = Annotated[
    Annotated[Share, Tag("of steps")]
    | Annotated[Snapshots, Tag("of snapshots")]
    | Annotated[EpochAverage, Tag("of epochs")],
    Discriminator(_kind_of_average),
]


class Fit(Schedule):
    """A schedule, how it is watched on the validation split, and what is kept."""

    select: Literal["best", "last", "average"]  # what a run without consolidation reports; best by validation PGD
    average: Average | None  # a weight average beside the evaluated network: its decay a step, or one of these
    average_images: Count  # training images, in whole batches, from which its batch-norm statistics are estimated
    validate_every: Count  # epochs; the last one always counts
    validate_attack: FixedSearch
    snapshots: list[Annotated[Number, Field(ge=0, lt=1)]]
    """Shares of the schedule after which all networks are kept for analyses, beside the last; 0 is the start."""

    @model_validator(mode="after")
    def _snapshots_follow_each_other(self) -> "Fit":
        if self.snapshots != sorted(set(self.snapshots)):
            raise ValueError(f"snapshots must rise; found {', '.join(f'{share:g}' for share in self.snapshots)}")
        return self

    @model_validator(mode="after")
    def _an_average_begins_within(self) -> "Fit":
        if isinstance(self.average, Snapshots | EpochAverage) and self.average.begin > self.epochs:
            raise ValueError(f"average.begin is {self.average.begin}, but there are {self.epochs} epochs")
        return self

    @model_validator(mode="after")
    def _there_is_an_average_to_select(self) -> "Fit":
        if self.select == "average" and self.average is None:
            raise ValueError("select is average, but average is null; give it a decay such as 0.999")
        return self


class Train(Fit):
    """Adversarial training. Under `paper` a method's own `train:` overrides this, under `matched` its `matched.train:`.

    The latter may hold a learning rate, a weight decay and a weight average, and nothing else (settings/params.py).
    """

    protocol: Literal["paper", "matched"]
