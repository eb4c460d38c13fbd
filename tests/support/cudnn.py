"""cuDNN's fused operations by their definition, for a host that has no cuDNN."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor


def convolution_relu(x: Tensor, w: Tensor, b: Tensor | None, *how: Any) -> Tensor:
    return F.relu(F.conv2d(x, w, b, *how))


def convolution_add_relu(x: Tensor, w: Tensor, z: Tensor, alpha: float, b: Tensor | None, *how: Any) -> Tensor:
    return F.relu(F.conv2d(x, w, b, *how) + alpha * z)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "cudnn_convolution_relu": convolution_relu,
    "cudnn_convolution_add_relu": convolution_add_relu,
}
