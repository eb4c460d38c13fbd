"""Sources of random draws: a training run, an evaluation and a test each choose their own."""

import hashlib
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch

from cure.core.tensors import Images, Labels


def seed_for(*parts: object) -> int:
    """Return a 63-bit seed for any description; with (seed, epoch, purpose), any epoch can be repeated alone."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


@runtime_checkable
class Noise(Protocol):
    """A source of the draws that one training step or one attack makes."""

    def uniform(self, x: Images, width: float | torch.Tensor) -> Images:
        """Draw U(-width, width) per pixel, shaped like x."""

    def normal(self, x: Images, sigma: float) -> Images:
        """Draw sigma * N(0, 1) per pixel, shaped like x."""

    def chance(self, probability: float) -> bool:
        """Return True with this probability. The draw is made on the CPU, so that no device waits."""


class Stream:
    """Training noise: one generator on the device and one on the CPU, with the same seed."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device_draws = torch.Generator(device).manual_seed(seed)
        self.host_draws = torch.Generator().manual_seed(seed)

    def uniform(self, x: Images, width: float | torch.Tensor) -> Images:
        """Draw U(-width, width) per pixel, shaped like x."""
        return torch.empty_like(x).uniform_(-1, 1, generator=self.device_draws) * width

    def normal(self, x: Images, sigma: float) -> Images:
        """Draw sigma * N(0, 1) per pixel, shaped like x."""
        return torch.empty_like(x).normal_(generator=self.device_draws) * sigma

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return bool(torch.rand((), generator=self.host_draws) < probability)


class Rows:
    """A rank's rows of the draws that another source makes for a whole batch of `images`."""

    def __init__(self, noise: Noise, rows: slice, images: int) -> None:
        self.noise, self.rows, self.images = noise, rows, images

    def uniform(self, x: Images, width: float | torch.Tensor) -> Images:
        """Draw U(-width, width) per pixel, shaped like x."""
        return self.noise.uniform(self._whole(x), 1.0)[self.rows] * width

    def normal(self, x: Images, sigma: float) -> Images:
        """Draw sigma * N(0, 1) per pixel, shaped like x."""
        return self.noise.normal(self._whole(x), 1.0)[self.rows] * sigma

    def chance(self, probability: float) -> bool:
        """Return True with this probability, and the same value on every rank."""
        return self.noise.chance(probability)

    def _whole(self, x: Images) -> torch.Tensor:
        return x.new_empty((self.images, *x.shape[1:]))


class PerImage:
    """Evaluation noise: image i draws from a generator of its own, seeded by (seed, i).

    An image receives the same draws whatever the batch size, the order of the images and the device. `index` is on the
    CPU.
    """

    def __init__(self, seed: int, index: Labels) -> None:
        self.draws = [torch.Generator().manual_seed(seed_for(seed, i)) for i in index.tolist()]

    def uniform(self, x: Images, width: float | torch.Tensor) -> Images:
        """Draw U(-width, width) per pixel, shaped like x."""
        return self._like(x, lambda out, g: out.uniform_(-1, 1, generator=g)) * width

    def normal(self, x: Images, sigma: float) -> Images:
        """Draw sigma * N(0, 1) per pixel, shaped like x."""
        return self._like(x, lambda out, g: out.normal_(generator=g)) * sigma

    def poisson(self, rate: Images) -> Images:
        """Draw a Poisson count of this rate per pixel."""
        return torch.stack([torch.poisson(r, generator=g) for r, g in zip(rate, self.draws, strict=True)])

    def each(self, draw: Callable[[torch.Generator], torch.Tensor]) -> torch.Tensor:
        """Stack `draw` of every image's generator into (n, ...), for draws that are not shaped like the images."""
        return torch.stack([draw(g) for g in self.draws])

    def chance(self, probability: float) -> bool:
        """Raise TypeError: a decision about a whole batch would make the result of an image depend on its batch."""
        raise TypeError("evaluation noise is drawn per image, never per batch")

    def _like(self, x: Images, draw: Callable[[torch.Tensor, torch.Generator], torch.Tensor]) -> Images:
        drawn = self.each(lambda g: draw(torch.empty(x.shape[1:], dtype=x.dtype), g))
        return drawn.pin_memory().to(x.device, non_blocking=True) if x.is_cuda else drawn
