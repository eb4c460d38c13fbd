"""Class activation maps, and the pixels that PART treats as important.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.
"""

import numpy as np
import torch
import torch.nn.functional as F

from cure.core.network import Network
from cure.core.tensors import Images, Tensor

# the bends of matplotlib's colour map `jet`: values in [0, 1], and the intensities there
_JET: dict[str, tuple[list[float], list[float]]] = {
    "red": ([0, 0.35, 0.66, 0.89, 1], [0, 0, 1, 1, 0.5]),
    "green": ([0, 0.125, 0.375, 0.64, 0.91, 1], [0, 0, 1, 1, 0, 0]),
    "blue": ([0, 0.11, 0.34, 0.65, 1], [0.5, 1, 1, 0, 0]),
}


def grad_cam(net: Network, x: Images) -> Tensor:
    """Return relu(sum_k v_k A_k), scaled to [0, 1], at the size of the last feature map A, (n, 1, ., .).

    v_k is the mean over the pixels of d logit / d A_k, for the logit of the predicted class.
    """
    with torch.no_grad():
        features, classify = net.map_and_rest(x)
    features.requires_grad_()
    (g,) = torch.autograd.grad(classify(features).amax(dim=1).sum(), features)
    with torch.no_grad():
        cam = (g.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1, keepdim=True).relu()
        low, high = cam.amin(dim=(2, 3), keepdim=True), cam.amax(dim=(2, 3), keepdim=True)
        return (cam - low) / (high - low).clamp(min=1e-12)


def above_mean(cam: Tensor, x: Images) -> tuple[Tensor, Tensor]:
    """Return the map at the size of the image, (n, 1, h, w), and where it exceeds its mean."""
    wide = F.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False)
    return wide, wide > wide.mean(dim=(2, 3), keepdim=True)


def colour_coded(cam: Tensor, x: Images) -> tuple[Tensor, Tensor]:
    """Return the map, and where its colours in `jet` exceed their mean by a standard deviation, as released.

    The mask is (n, c, h, w). Grey images have no colours, so their map itself is compared. Pillow's bicubic
    interpolation, then the square, come before the colours. Mean and deviation are those of all pixels and colours of
    an image.
    """
    wide = F.interpolate(cam, size=x.shape[2:], mode="bicubic", align_corners=False, antialias=True).square()
    painted = jet(wide) if x.shape[1] == 3 else wide
    deviation, mean = torch.std_mean(painted, dim=(1, 2, 3), correction=0, keepdim=True)
    return wide, painted - mean > deviation


def jet(value: Tensor) -> Tensor:
    """Map (n, 1, h, w) to (n, 3, h, w): the colour of each value, in 256 levels."""
    shades = np.stack([np.interp(np.linspace(0, 1, 256), *bends) for bends in _JET.values()], axis=1)
    table = torch.as_tensor(shades, dtype=value.dtype, device=value.device)
    return table[(value[:, 0] * 256).long().clamp(0, 255)].permute(0, 3, 1, 2)
