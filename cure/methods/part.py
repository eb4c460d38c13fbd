"""PART: a smaller radius where a pixel does not matter.

Zhang et al., "Improving Accuracy-robustness Trade-off via Pixel Reweighted Adversarial Training", ICML 2024.
https://arxiv.org/abs/2406.00685

    r_ij = eps where the class activation map of x at pixel ij exceeds its mean over the image, eps_low elsewhere
    x'   = the base's PGD with |x' - x|_ij <= r_ij;   L = L_base(x, x', y)      (PART, PART-T, PART-M: at, trades, mart)

The map is Grad-CAM of the predicted class on the clean image: relu(sum_k v_k A_k), A the last feature map, v_k the
mean over its pixels of d logit / d A_k; scaled to [0, 1] and resized to the image. It is made anew for every batch, in
eval mode, from the network being trained. Before epoch `begin` the base trains with eps alone.

Deviation. The released code computes maps in one shuffled pass and uses them by batch number in another, so that each
image gets another image's mask, and thresholds a colour-coded map per channel. Here every image has its own mask.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import model_validator

from cure.core.ascent import begin, climb
from cure.core.bases import BASES
from cure.core.batchnorm import scope
from cure.core.method import Batch, Method, Networks, Terms
from cure.core.network import Network
from cure.core.settings import Count, NonNegative, Positive, Search, Settings
from cure.core.tensors import Images, Tensor


class Hyper(Settings):
    """The lower radius, when it comes in, and the base with its weight (beta or lambda; unused by `at`)."""

    eps_low: Positive
    begin: Count  # 1-based epoch of the first masks
    base: Literal["at", "trades", "mart"]
    weight: NonNegative
    attack: Search

    @model_validator(mode="after")
    def _lower_is_lower(self) -> "Hyper":
        if self.eps_low > self.attack.eps:
            raise ValueError(f"eps_low is {self.eps_low:g}; at most the full radius, {self.attack.eps:g}")
        return self


def activation_map(net: Network, x: Images) -> Tensor:
    """Grad-CAM of the predicted class, (n, 1, h, w) in [0, 1]."""
    with torch.no_grad():
        features, classify = net.map_and_rest(x)
    features.requires_grad_()
    (g,) = torch.autograd.grad(classify(features).amax(dim=1).sum(), features)
    with torch.no_grad():
        cam = (g.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1, keepdim=True).relu()
        low, high = cam.amin(dim=(2, 3), keepdim=True), cam.amax(dim=(2, 3), keepdim=True)
        scaled = (cam - low) / (high - low).clamp(min=1e-12)
        return F.interpolate(scaled, size=x.shape[2:], mode="bilinear", align_corners=False)


def important(nets: Networks, batch: Batch, hyper: Hyper) -> Tensor:
    """Where the full radius holds, (n, 1, h, w) bool; everywhere before the first masks."""
    if batch.epoch < hyper.begin:
        return torch.ones_like(batch.x[:, :1], dtype=torch.bool)
    assert isinstance(nets.student, Network)
    cam = activation_map(nets.student, batch.x)
    mask = cam > cam.mean(dim=(2, 3), keepdim=True)
    batch.show("masks", {"map": cam, "full": mask})
    return mask


def inner(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Images]:
    """The masks, and x' within them."""
    attack, maximise = hyper.attack, BASES[hyper.base].maximise
    with scope(nets.student, attack.bn):
        mask, one = important(nets, batch, hyper), torch.ones_like(batch.x[:, :1])
        r = torch.where(mask, attack.eps * one, hyper.eps_low * one)
        start, objective = begin(batch.x, attack, batch.noise), maximise(nets.student, batch)
        adv = climb(nets.student, batch.x, start, objective, eps=r, step=attack.step, steps=attack.steps)
    return {"adv": adv, "important": mask.to(r.dtype).mean(dim=(1, 2, 3))}


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """The base's loss, and the share of pixels that kept the full radius, which carries no weight."""
    return BASES[hyper.base].loss(nets, batch, hyper.weight) | {"important": (0.0, batch.points["important"])}


METHOD = Method("Zhang et al. 2024", Hyper, loss, inner, shows=("masks",))
