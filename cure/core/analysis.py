"""What an analysis is: a few small arrays that show what a trained network, or its method, does to some images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cure.core.method import Batch, Method
from cure.core.network import Network
from cure.core.tensors import Tensor


@dataclass(frozen=True)
class Subject:
    """The evaluated network of a row, its method and settings, and validation images as a batch behind all warm-ups.

    The images are unaugmented, and their noise is drawn per image.
    """

    net: Network
    method: Method
    hyper: Any
    batch: Batch


Measure = Callable[[Subject], dict[str, Tensor]]


@dataclass(frozen=True)
class Analysis:
    """An entry of cure/analyses: arrays by name. One that does not suit the row's method raises Refused."""

    measure: Measure
