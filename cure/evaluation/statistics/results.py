"""Define the results of the stages attack, corrupt, layers and revise as typed records; each is one JSON file.

An outcome is a text with one character per image: 1 correct, 0 not, - not evaluated. The names in the field `outcomes`
are columns: `clean`, an attack column, or `worst`.
"""

import json
from collections.abc import Mapping
from math import ceil, inf
from typing import Annotated, Literal, NamedTuple

from pydantic import ConfigDict, Field, model_validator

from cure.evaluation.statistics import whole
from cure.evaluation.statistics.intervals import nrr, nrr_interval
from cure.storage.records import Record, validated

Share = Annotated[float, Field(ge=0, le=1)]
Several = Annotated[int, Field(ge=1)]


class Counts(NamedTuple):
    """Numbers of images: correct in a column, evaluated in it, and correct clean among those evaluated."""

    correct: int
    images: int
    clean: int


def counts(outcomes: Mapping[str, str], column: str) -> Counts:
    """Count the outcomes of a column over the images that it covers."""
    pairs = [(here, clean) for here, clean in zip(outcomes[column], outcomes["clean"], strict=True) if here != "-"]
    return Counts(sum(here == "1" for here, _ in pairs), len(pairs), sum(clean == "1" for _, clean in pairs))


class ColumnResult(Record):
    """One attack column, except for its outcomes."""

    model_config = ConfigDict(extra="forbid")  # so that an incomplete MinimumResult is not read as a ColumnResult

    label: str  # of AutoAttack: standard, custom or rand, and the precision of its iterates if it is not fp32
    title: str = ""  # where the attack has one (core/attack.py)
    package: str  # the package that ran AutoAttack, with its version
    batch: int | None = None  # where memory did not suffice for the batch size of the suite
    broken_by: dict[str, list[int]]  # attack -> the images that it was the first to break


class MinimumResult(ColumnResult):
    """A column of smallest perturbations."""

    norm: Literal["linf", "l2"]
    rows: list[int]  # the images that it covers
    distances: list[Annotated[float, Field(ge=0)] | None]  # one per row, in [0, 1]; None where none was found


class AttackResult(Record):
    """Every attack column of one network on the same test images."""

    images: int
    outcomes: dict[str, str]
    columns: dict[str, MinimumResult | ColumnResult]
    problems: list[str]
    eps: Annotated[float, Field(gt=0)]
    norm: Literal["linf", "l2"] = "linf"  # of the ball; given only if it is not linf
    seed: int
    batch: int
    precision: str = "fp32"  # of the attacks' iterates: fp32, tf32 or bf16; results are verified in fp32

    @model_validator(mode="after")
    def _is_whole(self) -> "AttackResult":
        whole.refuse_odd_outcomes(self.outcomes, self.images)
        others = (name for name in self.outcomes if name not in ("clean", "worst"))
        whole.refuse_missing(others, self.columns, "settings of the column")
        for name, column in self.columns.items():
            for attack, rows in column.broken_by.items():
                whole.refuse_odd_rows(rows, self.images, f"columns.{name}.broken_by.{attack}")
            if isinstance(column, MinimumResult):
                whole.refuse_odd_rows(column.rows, self.images, f"columns.{name}.rows")
                if len(column.rows) != len(column.distances):
                    raise ValueError(f"{name} has {len(column.distances)} distances of {len(column.rows)} images")
        return self

    def counts(self, column: str) -> Counts:
        """Count the outcomes of a column over the images that it covers."""
        return counts(self.outcomes, column)

    def ratio(self, column: str) -> float:
        """Return the natural-robustness ratio in [0, 1], with clean accuracy on the images of the column."""
        correct, images, clean = self.counts(column)
        return nrr(clean / images, correct / images)

    def ratio_interval(self, column: str) -> tuple[float, float]:
        """Return the 95 % interval of the ratio."""
        correct, images, clean = self.counts(column)
        return nrr_interval(clean, correct, images)

    def shares(self) -> dict[str, float]:
        """Return the accuracy of every column, then the ratio of each except `clean`, all in [0, 1]."""
        found = {name: correct / images for name in self.outcomes for correct, images, _ in [self.counts(name)]}
        return found | {f"nrr_{name}": self.ratio(name) for name in found if name != "clean"}

    @property
    def minima(self) -> dict[str, MinimumResult]:
        """Return the columns of smallest perturbations."""
        return {name: column for name, column in self.columns.items() if isinstance(column, MinimumResult)}

    def distances(self, column: str) -> list[float]:
        """Return the smallest perturbations of clean-correct images; infinity where none was found."""
        about = self.minima[column]
        pairs = zip(about.distances, about.rows, strict=True)
        return [inf if d is None else d for d, row in pairs if self.outcomes["clean"][row] == "1"]

    def quantile(self, column: str, share: float) -> float:
        """Return the perturbation at which accuracy on clean-correct images falls to 1 - share, in units of [0, 1].

        It is the smallest distance within which at least this share has a verified adversarial image, else infinity.
        """
        found = sorted(self.distances(column))
        rank = ceil(share * len(found) - 1e-9)  # 0.55 * 20 is slightly more than 11 in floating point
        return found[max(0, rank - 1)] if found else 0.0


class LastEpochResult(Record):
    """The network of the last epoch on the same images, in the columns of `attack.last`."""

    epoch: int
    outcomes: dict[str, str]


class RunAttackResult(AttackResult):
    """The result of the stage attack: a run's evaluated network, and its network of the last epoch."""

    epoch: int  # of the evaluated network
    last: LastEpochResult | None

    @model_validator(mode="after")
    def _last_epoch_is_whole(self) -> "RunAttackResult":
        if self.last is not None:
            whole.refuse_odd_outcomes(self.last.outcomes, self.images)
            whole.refuse_missing(self.last.outcomes, self.outcomes, "column")
        return self


class CorruptResult(Record):
    """The result of the stage corrupt: how many test images stay correct under each corruption and severity."""

    images: int
    source: str  # official or generated
    version: str
    missing: dict[str, str]  # corruption -> why it was not measured
    categories: dict[str, str]
    extra: list[str]  # corruptions that are not part of any mean
    clean: int
    correct: dict[str, dict[str, int]]  # corruption -> severity -> correct images

    @model_validator(mode="after")
    def _is_whole(self) -> "CorruptResult":
        whole.refuse_odd_counts(self.correct, self.clean, self.images)
        whole.refuse_missing(self.correct, self.categories, "category of")
        return self


class LayersNetwork(Record):
    """One network of the layer-wise study: the trained parts, their share of all weights, and its outcomes."""

    parts: list[str]
    updated: Share
    clean: str
    pgd: str


class LayersResult(Record):
    """The result of the stage layers, on the validation split after the last epoch."""

    images: int
    epochs: Several
    networks: dict[str, LayersNetwork]

    @model_validator(mode="after")
    def _is_whole(self) -> "LayersResult":
        for net in self.networks.values():
            whole.refuse_odd_outcomes({"clean": net.clean, "pgd": net.pgd}, self.images)
        whole.refuse_missing(["natural"], self.networks, "network")
        return self


class Ascent(Record):
    """The gradient ascent that found RiFT's criticalities."""

    images: Several
    batch: Several
    epochs: Several
    steps: Several
    lr: float
    eps: float


class Criticality(Record):
    """RiFT's criticality of one module in nats, and the drop of accuracy in [0, 1]."""

    mrc: float
    drop: float


class Accuracies(Record):
    """Accuracies on the validation split, in [0, 1]."""

    clean: Share
    pgd: Share


class Interpolation(Record):
    """RiFT's eleven points between the robust and the fine-tuned network, and the chosen one.

    `draws` random starts were attacked for every accuracy. `another` and `weaker` are shares of resampled image sets:
    those that choose another point, and those in which the chosen one is too weak.
    """

    a: Share
    draws: Several
    another: Share
    weaker: Share
    points: Annotated[list[Accuracies], Field(min_length=11, max_length=11)]


class RiftResult(Record):
    """The result of the stage revise for RiFT (methods/rift.py)."""

    module: str
    bn: str
    ascent: Ascent
    criticality: dict[str, Criticality]
    interpolation: dict[str, Interpolation]

    @model_validator(mode="after")
    def _is_whole(self) -> "RiftResult":
        whole.refuse_missing([self.module], self.criticality, "criticality of")
        whole.refuse_missing([self.bn], self.interpolation, "interpolation")
        return self


def parse_rift(text: bytes | str) -> RiftResult | None:
    """Read a result of the stage revise; return None if it is not RiFT's, raise ValueError if it is not a result."""
    document = json.loads(text)
    if not isinstance(document, dict) or not document:
        raise ValueError("it is not a report of a consolidation")
    return validated(RiftResult, document) if "criticality" in document else None
