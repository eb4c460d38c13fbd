"""The sections of params.yaml for training: `pretrain`, `train`, and the overrides of a method or a study."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from cure.settings.base import Count, Drops, FixedSearch, Momentum, NonNegative, Number, Positive, Settings, Share


class OneCycle(Settings):
    """A learning rate that rises once and falls once, step by step along half cosines. Smith and Topin 2018.

    Momentum moves in the opposite direction. In PyTorch's OneCycleLR, `first` is 0.04, `last`
    is 4e-6, and momentum is between 0.85 and 0.95.
    """

    rise: Annotated[Number, Field(gt=0, lt=1)]  # share of the steps until the rate reaches lr
    first: Annotated[Positive, Field(le=1)]  # factor of lr in the first step
    last: Annotated[Positive, Field(le=1)]  # factor of lr in the last step
    low_momentum: Momentum  # at the step of the highest rate
    high_momentum: Momentum  # in the first and the last step


def _cycle_or_word(value: Any) -> str:
    return "a cycle" if isinstance(value, dict | OneCycle) else "a word"


LrSchedule = Annotated[
    Annotated[Literal["drops", "linear", "cosine"], Tag("a word")] | Annotated[OneCycle, Tag("a cycle")],
    Discriminator(_cycle_or_word),  # so that a message is about the kind that the user meant
]


class Schedule(Settings):
    """SGD with momentum and its learning rate over the epochs (training/schedule.py has the formulas)."""

    epochs: Count  # length of the training
    batch: Count  # images of a batch, over all processes
    lr: Positive  # learning rate, which `lr_schedule` scales over the epochs
    momentum: Momentum  # of SGD
    nesterov: bool  # whether momentum is Nesterov's
    weight_decay: NonNegative  # of SGD
    drops: Drops  # factors of lr by epoch
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
    every: Count  # steps from one snapshot to the next


class EpochAverage(Settings):
    """The mean of the weights after each epoch from `begin` on; each epoch counts `decay` times as much as the next."""

    decay: Share  # weight of the previous average at each epoch
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
    """A schedule, how it is validated, and which networks are kept."""

    select: Literal["best", "last", "average"]  # the network that a run without revise reports; best by validation PGD
    average: Average | None  # a weight average beside the evaluated network: its decay per step, or one of these
    average_images: Count  # training images, in whole batches, that its batch-norm statistics are estimated from
    validate_every: Count  # in epochs; the last epoch is always validated
    validate_attack: FixedSearch  # PGD on the validation split
    snapshots: list[Annotated[Number, Field(ge=0, lt=1)]]
    """Shares of the schedule after which all networks are kept for analyses, beside the last; 0 is the start."""

    @model_validator(mode="after")
    def _snapshots_follow_each_other(self) -> "Fit":
        if self.snapshots != sorted(set(self.snapshots)):
            raise ValueError(f"snapshots must increase; found {', '.join(f'{share:g}' for share in self.snapshots)}")
        return self

    @model_validator(mode="after")
    def _an_average_begins_within(self) -> "Fit":
        if isinstance(self.average, Snapshots | EpochAverage) and self.average.begin > self.epochs:
            raise ValueError(f"average.begin is {self.average.begin}, but there are {self.epochs} epochs; lower it")
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

    protocol: Literal["paper", "matched"]  # each method's own schedule, or one for all
