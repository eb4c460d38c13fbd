"""Networks whose convolutions cannot all be folded."""

from torch import Tensor, nn


class Twice(nn.Module):
    """What the convolution gives is used beside its batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        return (self.bn(h) + h).mean((2, 3))
