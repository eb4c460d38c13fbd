"""PART: a smaller radius where a pixel does not matter.

Zhang et al., "Improving Accuracy-robustness Trade-off via Pixel Reweighted Adversarial Training", ICML 2024.
https://arxiv.org/abs/2406.00685

    r_ij = eps where the class activation map of x at pixel ij exceeds its mean over the image, eps_low elsewhere
    x'   = the base's PGD with |x' - x|_ij <= r_ij;   L = L_base(x, x', y)      (PART, PART-T, PART-M: at, trades, mart)

The map is Grad-CAM of the predicted class on the clean image (methods/parts/cam.py), scaled to [0, 1] and resized to
the image. It is computed for every batch, in eval mode, from the network in training. Before epoch `begin` the base
trains with eps alone.

Deviation. The released code computes maps in one shuffled pass before an epoch and uses them by batch number in
another, so each image gets another image's mask. It also thresholds a colour-coded map per channel. Here every image
has its own mask; `masks: released` imitates the code, as an ablation. The released PART-T forwards x twice, as TRADES
does (`forward_again`).
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from pydantic import model_validator

from cure.adversarial.pgd import pgd
from cure.core.method import Batch, Method, Networks, Terms
from cure.core.network import Network
from cure.core.tensors import Images, Tensor
from cure.methods.parts.base_losses import BASES, WrappedLoss
from cure.methods.parts.cam import above_mean, colour_coded, grad_cam
from cure.nn.batchnorm import scope
from cure.settings.base import DelayedSettings, Positive


class Hyper(WrappedLoss, DelayedSettings):
    """Settings: the lower radius, the kind of masks, and the base; epoch `begin` has the first masks."""

    eps_low: Positive
    masks: Literal["own", "released"]

    @model_validator(mode="after")
    def _lower_is_lower(self) -> "Hyper":
        if self.eps_low > self.attack.eps:
            raise ValueError(f"eps_low is {self.eps_low:g}; at most the full radius, {self.attack.eps:g}")
        return self


def important(nets: Networks, batch: Batch, hyper: Hyper) -> tuple[Tensor, Tensor]:
    """Return the map and the mask of each image of a batch."""
    assert isinstance(nets.student, Network)
    with scope(nets.student, hyper.attack.bn):
        cam = grad_cam(nets.student, batch.x)
    return {"own": above_mean, "released": colour_coded}[hyper.masks](cam, batch.x)


def before_epoch(nets: Networks, epoch: int, batches: Iterator[Batch], hyper: Hyper) -> dict[str, Any]:
    """Compute the masks of another pass over the training images, which are used by batch number, as released."""
    if hyper.masks == "own" or epoch < hyper.begin:
        return {}
    return {"masks": [important(nets, batch, hyper)[1] for batch in batches]}


def full_radius(nets: Networks, batch: Batch, hyper: Hyper) -> Tensor:
    """Return where the full radius holds, (n, 1 or c, h, w) bool; everywhere before epoch `begin`."""
    position = batch.position
    if position.epoch < hyper.begin:
        return torch.ones_like(batch.x[:, :1], dtype=torch.bool)
    if "masks" in position.found:
        mask: Tensor = position.found["masks"][position.step % position.steps_per_epoch]
        return mask
    cam, mask = important(nets, batch, hyper)
    batch.show("masks", {"map": cam, "full": mask})
    return mask


def attack(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Images]:
    """Compute the masks, and attack within them."""
    mask, one = full_radius(nets, batch, hyper), torch.ones_like(batch.x[:, :1])
    r = torch.where(mask, hyper.attack.eps * one, hyper.eps_low * one)
    adv = pgd(nets.student, batch, hyper.attack, BASES[hyper.base].objective, each={"eps": r})
    return {"adv": adv, "important": mask.to(r.dtype).mean(dim=(1, 2, 3))}


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return the base's loss, and with weight zero the share of pixels with the full radius."""
    terms = BASES[hyper.base].loss(nets, batch, hyper.weight, forward_again=hyper.forward_again)
    return terms | {"important": (0.0, batch.points["important"])}


METHOD = Method(
    cite="Zhang et al. 2024",
    hyper=Hyper,
    loss=loss,
    attack=attack,
    reads_parts=True,
    before_epoch=before_epoch,
    shows=("masks",),
)
