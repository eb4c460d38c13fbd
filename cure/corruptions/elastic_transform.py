"""Elastic transform: a random affine map, then a smooth random displacement of every pixel; lengths in sides."""

import torch
import torch.nn.functional as F

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images, Tensor
from cure.data.image_filters import gaussian


def sources(moves: Tensor, h: int, w: int) -> Tensor:
    """Return (n, h, w, 2), x before y: the place that each pixel of the affine image comes from.

    Three corners of the middle third move by `moves` (n, 3, 2). The original calls OpenCV, which rounds the result to
    1/32 of a pixel; this code does not round.
    """
    centre, arm = torch.tensor([w // 2, h // 2], dtype=torch.float64), min(h, w) // 3
    corners = centre + arm * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
    ones = torch.ones(len(moves), 3, 1, dtype=torch.float64)
    back = torch.linalg.solve(torch.cat([corners + moves, ones], dim=2), corners.expand(len(moves), 3, 2))
    return torch.matmul(torch.cat([pixels(h, w), torch.ones(h, w, 1, dtype=torch.float64)], dim=2), back[:, None])


def pixels(h: int, w: int) -> Tensor:
    """Return (h, w, 2): the place of every pixel, x before y."""
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return torch.stack([columns, rows], dim=2).double()


def sampled(x: Images, place: Tensor, edge: bool) -> Images:
    """Return bilinear values at `place` (n, h, w, 2), mirrored at border pixels' outer edges (`edge`) or centres."""
    side = torch.tensor([x.shape[3], x.shape[2]])
    grid = (2 * place + 1) / side - 1 if edge else 2 * place / (side - 1) - 1
    return F.grid_sample(x, grid.to(x.dtype), padding_mode="reflection", align_corners=not edge)


def apply(x: Images, constants: tuple[float, float, float], noise: PerImage) -> Images:
    """Warp by length and smoothness of the displacement and reach of the affine map, as shares of the side."""
    h, w = x.shape[2:]
    alpha, sigma, reach = (min(h, w) * share for share in constants)
    moves = noise.each(lambda g: torch.rand(3, 2, generator=g, dtype=torch.float64)) * 2 - 1
    field = noise.each(lambda g: torch.rand(2, h, w, generator=g, dtype=torch.float64)) * 2 - 1
    field = gaussian(field, sigma, mode="reflect", truncate=3.0) * alpha
    x = sampled(x, sources(moves * reach, h, w), edge=False)
    return sampled(x, pixels(h, w) + field.permute(0, 2, 3, 1), edge=True)


CORRUPTION = Corruption(
    "digital", ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)), apply
)
