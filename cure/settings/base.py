"""What every section of params.yaml is made of: frozen, typed values in which unknown keys are errors."""

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

SEEDS = 2**31
"""A seed lies below: what every generator takes, NumPy's of 32 bits included."""
COUNTS = 2**31
"""A count lies below: what PyTorch's splits and shapes take on every platform."""
LONGEST_NAME = 64
"""Characters of a name that stands in paths and headings."""


T = TypeVar("T")


class Settings(BaseModel):
    """A section of params.yaml; nothing in it can change after it was read."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    top_level: ClassVar[tuple[str, ...]] = ()
    """Fields that stand at the top of params.yaml, so that `-S alpha=0.5` reaches them."""


def number(value: Any) -> Any:
    """8/255, 5e-4 or 0.1 as the nearest float; anything else is left for pydantic to refuse."""
    try:
        if isinstance(value, str):
            plain = value.replace(" ", "")
            value = float(Fraction(plain) if "/" in plain else plain)  # a Fraction of 1e999999999 would fill the memory
        if isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
    except (ValueError, ZeroDivisionError):
        raise ValueError("not a number or a fraction such as 8/255") from None
    except OverflowError:
        raise ValueError("not a finite number") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a finite number")
    return value


def name(value: str) -> str:
    """Return a name that a user chose and that paths, tables and files of results hold; refuse other characters."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", value) or len(value) > LONGEST_NAME:
        raise ValueError(f"not a name of letters, digits, _ and - (up to {LONGEST_NAME} of them)")
    return value


Name = Annotated[str, AfterValidator(name)]
Number = Annotated[float, BeforeValidator(number)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Momentum = Annotated[Number, Field(ge=0, lt=1)]
Radius = Annotated[Positive, Field(le=1)]  # images are in [0, 1]
Count = Annotated[int, Field(ge=1, lt=COUNTS)]
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
Scope = Literal["eval", "train", "batch"]
Layout = Literal["contiguous", "channels_last", "probe"]
Precision = Literal["fp32", "bf16", "bf16_attack"]
AttackPrecision = Literal["fp32", "tf32", "bf16"]
Norm = Literal["linf", "l2"]


def integer_keys(value: Any) -> Any:
    """Epochs as keys: YAML gives integers, an experiment's override may give words."""
    if not isinstance(value, dict):
        return value
    found = [(int(k) if is_epoch(k) else k, v) for k, v in value.items()]
    keys = [key for key, _ in found]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ValueError(f"epoch {twice} stands there twice, as {twice} and as '{twice}'; leave one of them out")
    return dict(found)


def is_epoch(key: Any) -> bool:
    """Whether a key is an epoch that an experiment's override wrote as a word."""
    return isinstance(key, str) and key.isascii() and key.isdecimal()


Epoch = Count
Drops = Annotated[dict[Epoch, Positive], BeforeValidator(integer_keys)]
"""1-based epoch -> factor of a learning rate from there on."""


def at_epoch(table: Mapping[int, T], epoch: int, before: T) -> T:
    """The value of the last key that the epoch has reached, or the one `before` the first."""
    reached = [key for key in table if key <= epoch]
    return table[max(reached)] if reached else before


def between(table: Mapping[int, float], epoch: int) -> float:
    """The value at an epoch, linear between the keys of a table and constant beyond them."""
    (low, before), *others = sorted(table.items())
    for high, after in others:
        if low <= epoch < high:
            return before + (after - before) * (epoch - low) / (high - low)
        if epoch >= high:
            low, before = high, after
    return before


class Augment(Settings):
    """Training-time augmentation, drawn anew each epoch."""

    crop: Annotated[int, Field(ge=0, lt=COUNTS)]  # padding in pixels around each image before a random crop
    padding: Literal["zero", "reflect"]
    flip: bool  # horizontal, with probability 1/2


class DataSettings(Settings):
    """What every data set's section holds besides the fields of its own.

    An entry of cure/datasets may declare defaults, with which it can be evaluated where no params.yaml names it.
    """

    validation: Count | None  # images taken from the training split, stratified; null: a tenth of them
    split_seed: Seed
    augment: Augment

    def validation_images(self, images: int, classes: int) -> int:
        """Return how many of so many training images are taken; a tenth has at least one of each class."""
        return self.validation or max(classes, images // 10)


class Ball(Settings):
    """Whatever lives in the L-infinity ball of the threat model, which is laid under it."""

    eps: Radius


class Search(Ball):
    """An L-infinity ascent: `steps` sign steps of size `step` in the ball of radius `eps` (units of [0, 1])."""

    step: Positive
    steps: Count
    start: Literal["uniform", "gaussian", "zero"]
    sigma: NonNegative | None = None  # deviation of a Gaussian start, which alone has one
    clip_start: bool  # whether the start is clipped to [0, 1] before the first gradient
    bn: Scope = "eval"  # batch-norm scope: running, as evaluated | batch and moved | batch and left alone

    @model_validator(mode="after")
    def _gaussian_has_sigma(self) -> "Search":
        if self.start == "gaussian" and self.sigma is None:
            raise ValueError("start is gaussian, but sigma is not given; TRADES has 0.001")
        return self


class FixedSearch(Search):
    """An ascent of an evaluation: on batch statistics the outcome of an image would depend on its batch."""

    bn: Literal["eval"] = "eval"


class L2Ball(Ball):
    """The L2 ball of an evaluation; the Euclidean length of a change of all pixels may be far above 1."""

    eps: Positive


class L2Search(L2Ball):
    """An L2 ascent: `steps` steps of Euclidean length `step` in the ball of radius `eps` (units of [0, 1])."""

    step: Positive
    steps: Count
    start: Literal["uniform", "zero"]  # uniform in the ball, or the image itself
    clip_start: bool  # whether the start is clipped to [0, 1] before the first gradient


class MethodSettings(Settings):
    """The settings of a method: the base class of every `Hyper` in cure/methods.

    The two properties say how the cost of a step changes during training. `cure plan` and docs/methods.md read them. A
    method whose steps are all alike keeps the defaults.
    """

    @property
    def begin_epoch(self) -> int:
        """Return the 1-based epoch from which the whole method runs; the epochs before it are a warm-up."""
        return 1

    @property
    def steps_per_cycle(self) -> int:
        """Return the number of steps in a cycle, of which the first does more than the others."""
        return 1


class DelayedSettings(MethodSettings):
    """The settings of a method that trains a simpler objective before epoch `begin`."""

    begin: Count  # 1-based epoch, within the schedule

    @property
    def begin_epoch(self) -> int:
        """Return `begin`."""
        return self.begin


class ReviseSettings(Settings):
    """The settings of a method's stage revise: which network of its training checkpoint is evaluated."""

    network: str  # each method lists the names that it allows
