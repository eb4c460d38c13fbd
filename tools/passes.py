"""Count the cost of a step: passes per image through the trained network and others of its architecture.

A forward pass, a gradient to the input and a gradient to the weights count 1 each. `Passes` counts calls of
convolutions whose weights have a given shape. The count is exact if exactly one convolution of a network has it.
"""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cure.core.tensors import Tensor


class Passes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sum images x passes over the convolutions with this weight shape while the mode is active."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shape = shape
        self.forward = self.to_input = self.to_weights = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Count the call, then run it."""
        if func is torch.ops.aten.convolution.default and tuple(args[1].shape) == self.shape:
            self.forward += len(args[0])
        elif func is torch.ops.aten.convolution_backward.default and tuple(args[2].shape) == self.shape:
            gradient: Tensor = args[0]
            to_input, to_weights, _ = args[-1]
            self.to_input += len(gradient) * int(to_input)
            self.to_weights += len(gradient) * int(to_weights)
        return func(*args, **(kwargs or {}))

    def per_image(self, images: int) -> float:
        """Return the passes so far, divided by the number of images."""
        return (self.forward + self.to_input + self.to_weights) / images
