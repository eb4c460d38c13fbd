"""Base classes and types of the sections of params.yaml: frozen, typed values in which unknown keys are errors."""

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cure.settings.bounds import COUNTS, SEEDS

LONGEST_NAME = 64
"""Longest name in characters, since names are part of paths and headings."""


T = TypeVar("T")


class Settings(BaseModel):
    """The base class of every section of params.yaml: unknown keys are errors, and values are read-only."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    top_level: ClassVar[tuple[str, ...]] = ()
    """Fields that are read from the top level of params.yaml, so that `-S alpha=0.5` reaches them."""


def number(value: Any) -> Any:
    """Convert a number of params.yaml to the nearest float.

    Args:
        value: An integer, a float, or a text such as 8/255 or 5e-4. Anything else is returned unchanged, for pydantic
            to refuse.

    Raises:
        ValueError: A text is not a number or a fraction, or the number is not finite.
    """
    try:
        if isinstance(value, str):
            plain = value.replace(" ", "")
            value = float(Fraction(plain) if "/" in plain else plain)  # Fraction("1e999999999") would fill the memory
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
    """Return a name chosen by the user, which paths, tables and result files contain.

    Args:
        value: Letters, digits, _ and -, at most LONGEST_NAME of them.

    Raises:
        ValueError: It has other characters, or is too long or empty.
    """
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
    """Convert the keys of a mapping by epoch to integers; an override with -S may have written them as strings.

    Args:
        value: A mapping; anything else is returned unchanged, for pydantic to refuse.

    Raises:
        ValueError: Two keys are the same epoch.
    """
    if not isinstance(value, dict):
        return value
    found = [(int(k) if is_epoch(k) else k, v) for k, v in value.items()]
    keys = [key for key, _ in found]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ValueError(f"epoch {twice} is given twice, as {twice} and as '{twice}'; remove one of them")
    return dict(found)


def is_epoch(key: Any) -> bool:
    """Return whether a key is an epoch that an override with -S wrote as a string."""
    return isinstance(key, str) and key.isascii() and key.isdecimal()


Epoch = Count
Drops = Annotated[dict[Epoch, Positive], BeforeValidator(integer_keys)]
"""1-based epoch -> factor of the learning rate from this epoch on."""


def at_epoch(table: Mapping[int, T], epoch: int, before: T) -> T:
    """Return the value of the last key that the epoch has reached, or `before` if it has reached none.

    Args:
        table: 1-based epoch -> value from this epoch on.
        epoch: 1-based epoch.
        before: value ahead of the first key.
    """
    reached = [key for key in table if key <= epoch]
    return table[max(reached)] if reached else before


def between(table: Mapping[int, float], epoch: int) -> float:
    """Return the value at an epoch, interpolated linearly between the keys of a table and constant beyond them.

    Args:
        table: 1-based epoch -> value at this epoch; at least one.
        epoch: 1-based epoch.
    """
    (low, before), *others = sorted(table.items())
    for high, after in others:
        if low <= epoch < high:
            return before + (after - before) * (epoch - low) / (high - low)
        if epoch >= high:
            low, before = high, after
    return before


class Augment(Settings):
    """Augmentation of training images, with new draws in each epoch."""

    crop: Annotated[int, Field(ge=0, lt=COUNTS)]  # padding in pixels around each image before a random crop
    padding: Literal["zero", "reflect"]
    flip: bool  # horizontal, with probability 1/2


class DataSettings(Settings):
    """Fields of every data set's section; the `Hyper` of a data set inherits them.

    An entry of cure/datasets may declare defaults. It can then be evaluated without a params.yaml that names it.
    """

    validation: Count | None  # number of training images to take, stratified; null: a tenth of them
    split_seed: Seed
    augment: Augment

    def validation_images(self, images: int, classes: int) -> int:
        """Return the number of validation images; a tenth is raised to one image of each class.

        Args:
            images: number of training images.
            classes: number of classes.
        """
        return self.validation or max(classes, images // 10)


class Ball(Settings):
    """The base of settings with an L-infinity ball, whose defaults are those of the section `threat`."""

    eps: Radius


class Search(Ball):
    """Settings of PGD in L-inf: `steps` sign steps of size `step` in the ball of radius `eps` (units of [0, 1])."""

    step: Positive
    steps: Count
    start: Literal["uniform", "gaussian", "zero"]
    sigma: NonNegative | None = None  # standard deviation; only for a Gaussian start
    clip_start: bool  # whether the start is clipped to [0, 1] before the first gradient
    bn: Scope = "eval"  # eval: running statistics | train: batch statistics, running ones move | batch: they stay

    @model_validator(mode="after")
    def _gaussian_has_sigma(self) -> "Search":
        if self.start == "gaussian" and self.sigma is None:
            raise ValueError("start is gaussian, but sigma is not given; TRADES has 0.001")
        return self


class FixedSearch(Search):
    """Settings of PGD in an evaluation: with batch statistics, the result of an image would depend on its batch."""

    bn: Literal["eval"] = "eval"


class L2Ball(Ball):
    """The L2 ball of an evaluation; its radius, the Euclidean length of a change of all pixels, may be far above 1."""

    eps: Positive


class L2Search(L2Ball):
    """Settings of PGD in L2: `steps` steps of Euclidean length `step` in the ball of radius `eps` (units of [0, 1])."""

    step: Positive
    steps: Count
    start: Literal["uniform", "zero"]  # uniform in the ball, or the image itself
    clip_start: bool  # whether the start is clipped to [0, 1] before the first gradient


class MethodSettings(Settings):
    """The settings of a method: the base class of every `Hyper` in cure/methods.

    The two properties describe how the cost of a step changes during training, for `cure plan` and docs/methods.md.
    A method whose steps are all alike keeps the defaults.
    """

    @property
    def begin_epoch(self) -> int:
        """Return the 1-based epoch from which the whole method runs; earlier epochs are a warm-up."""
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
