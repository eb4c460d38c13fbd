"""Types of tensors with their shapes: n images, c channels, h x w pixels, k classes."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Images = Float[Tensor, "n c h w"]  # in [0, 1], never normalised outside a model
Labels = Int[Tensor, " n"]
Logits = Float[Tensor, "n k"]
PerExample = Float[Tensor, " n"]
Flags = Bool[Tensor, " n"]

__all__ = ["Flags", "Images", "Labels", "Logits", "PerExample", "Tensor"]
