"""A split on the device as uint8, and its batches: crops take one gather, flips one select."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from cure.core.noise import seed_for
from cure.core.tensors import Images, Labels, Tensor
from cure.errors import UserError
from cure.runtime import distributed
from cure.settings.base import Augment

FEWEST = 2  # images of a batch on each rank


def as_float(images: Tensor) -> Images:
    """Convert uint8 0..255 to float32 in [0, 1]."""
    return images.float().div_(255)


def evenly_spaced(images: int, count: int) -> Labels:
    """Return the indices of `count` evenly spaced images, or of all if there are fewer."""
    count = min(count, images)
    return torch.arange(count) * images // count


class Split:
    """Images (n, c, h, w) uint8 and labels (n) of one split, on one device.

    `index` (n) is the place of each image in the whole split. It is on the CPU, where it seeds the noise.
    """

    def __init__(self, images: Tensor, labels: Labels, index: Labels | None = None) -> None:
        self.images, self.labels = images, labels
        self.index = torch.arange(len(labels)) if index is None else index

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[tuple[Images, Labels, Labels]]:
        """Yield (x, y, index) in order, without augmentation."""
        for begin in range(0, len(self), size):
            rows = slice(begin, begin + size)
            yield as_float(self.images[rows]), self.labels[rows], self.index[rows]

    def evenly_spaced(self, count: int) -> "Split":
        """Return `count` evenly spaced images of the split, or all if there are fewer."""
        return self.at(evenly_spaced(len(self), count))

    def at(self, rows: Labels | slice) -> "Split":
        """Return the images at these places of the split; the places are on the CPU."""
        there = rows.to(self.labels.device) if isinstance(rows, Tensor) else rows
        return Split(self.images[there], self.labels[there], self.index[rows])


def pad(images: Tensor, augment: Augment) -> Tensor:
    """Return (n, c, h + 2 crop, w + 2 crop): with zeros around each image, or its reflection at the border pixels."""
    if augment.padding == "zero":
        return F.pad(images, [augment.crop] * 4)
    for axis in (2, 3):
        last = images.shape[axis] - 1
        if augment.crop > last:
            raise UserError(
                f"augment.crop: {augment.crop}; padding: reflect has only {last} pixels to mirror; lower it"
            )
        places = torch.arange(-augment.crop, last + 1 + augment.crop, device=images.device).abs()
        images = images.index_select(axis, last - (last - places).abs())
    return images


class Loader:
    """Shuffled, augmented training batches; epoch e is a function of (seed, e) alone.

    The rest of an epoch is a smaller batch. It joins the batch before if it has fewer than two images for each rank,
    since batch norm could not take a variance. A batch that is too small itself raises `UserError`.
    """

    def __init__(self, split: Split, batch: int, augment: Augment, seed: int) -> None:
        self.split, self.batch, self.augment, self.seed = split, batch, augment, seed
        self.fewest = FEWEST * distributed.count()
        if min(batch, len(split)) < self.fewest:
            raise UserError(
                f"batch: {batch} of {len(split)} training images; batch norm needs at least {self.fewest}, two on "
                "each process"
            )
        size = split.images.shape[2:]
        padded = pad(split.images, augment) if augment.crop else split.images
        self.windows = padded.unfold(2, size[0], 1).unfold(3, size[1], 1)  # (n, c, offsets, offsets, h, w), a view

    def __len__(self) -> int:
        whole, rest = divmod(len(self.split), self.batch)
        return whole + (rest >= self.fewest)

    def images(self, i: int) -> int:
        """Return the number of images in the i-th batch of an epoch, over all ranks."""
        return self.batch if i < len(self) - 1 else len(self.split) - i * self.batch

    def epoch(self, epoch: int, purpose: str = "batches") -> Iterator[tuple[Images, Labels, Labels]]:
        """Yield this rank's rows (x, y, index) of every batch; the last batch may be smaller.

        Another `purpose` gives other draws.
        """
        n, device = len(self.split), self.split.labels.device
        draws = torch.Generator(device).manual_seed(seed_for(self.seed, epoch, purpose))
        order = torch.randperm(n, generator=draws, device=device)
        offsets = torch.randint(2 * self.augment.crop + 1, (2, n), generator=draws, device=device)
        flips = torch.rand(n, generator=draws, device=device) < 0.5
        for whole in torch.split(order, [self.images(i) for i in range(len(self))]):
            index = whole[distributed.rows(len(whole))]
            x = as_float(self.windows[index, :, offsets[0, index], offsets[1, index]])
            if self.augment.flip:
                x = torch.where(flips[index, None, None, None], x.flip(3), x)
            yield x, self.split.labels[index], index
