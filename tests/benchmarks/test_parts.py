"""The mask, the loader, an epoch, and how much of what the machine can multiply is used."""

import dataclasses
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cure.data.loader import Loader, Split
from cure.nn.masks import masks
from cure.settings.base import Augment
from tests.support.counters import Operations
from tests.support.race import CUDA, DEVICE, clock, fresh, race
from tests.support.steps import CASES, steps

pytestmark = pytest.mark.benchmark(timer=clock)
IMAGES = 50_000 if CUDA else 5_000
PRODUCT = (
    (256 if CUDA else 16, 512, 16, 16),
    (512, 512, 1, 1),
)  # images and weights, 4096 pixels times 512 channels on a CPU
AUGMENT = Augment(crop=4, padding="zero", flip=True)


def by_numpy(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """As released: every tensor to the host, its percentile there."""
    found = {name: score.cpu().numpy() for name, score in scores.items()}
    kept = {name: score >= np.percentile(score, 30.0) for name, score in found.items()}
    return {name: torch.from_numpy(mask).to(DEVICE) for name, mask in kept.items()}


def test_mask(benchmark) -> None:
    torch.manual_seed(0)
    named = [(name, w) for name, w in fresh("resnet18").named_parameters() if "linear" not in name]
    scores = {name: torch.randn_like(w).abs() for name, w in named}
    count = sum(score.numel() for score in scores.values())
    ours, theirs = masks(scores, 0.3, "layer"), by_numpy(scores)
    differ = sum(int((ours[name] != theirs[name]).sum()) for name in scores)
    assert differ <= 5  # float32 percentiles are interpolated with a rounding
    row = f"RGP masks of {len(scores)} tensors, {count / 1e6:.2f} million values"
    facts: dict[str, Any] = {"row": row, "network": "resnet18", "bars": {"numpy.percentile": None if CUDA else 0.5}}
    facts |= {"limit": 1e-3} if CUDA else {}
    race(
        benchmark,
        lambda: masks(scores, 0.3, "layer"),
        {"numpy.percentile": partial(by_numpy, scores)},
        rounds=7,
        table="parts",
        **facts,
    )


class Pictures(Dataset[tuple[Any, int]]):
    """uint8 images as a data set of torchvision hands them out: by PIL, then through transforms."""

    def __init__(self, split: Split) -> None:
        self.images, self.labels = split.images.permute(0, 2, 3, 1).cpu().numpy(), split.labels.tolist()
        steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[i])), self.labels[i]


def generated(n: int) -> Split:
    draws = torch.Generator().manual_seed(0)
    x = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=draws)
    return Split(x.to(DEVICE), torch.randint(10, (n,), generator=draws).to(DEVICE))


def test_loader(benchmark) -> None:
    split, name = generated(IMAGES), "DataLoader, PIL transforms, no workers"
    loader, theirs = Loader(split, 128, AUGMENT, 0), DataLoader(Pictures(split), 128, shuffle=True)
    row = f"batches of 128 from {IMAGES:,} images"
    race(
        benchmark,
        lambda: deque(loader.epoch(1), maxlen=0),
        {name: lambda: deque((x.to(DEVICE) for x, _ in theirs), maxlen=0)},
        rounds=15,
        table="parts",
        row=row,
        network="",
        bars={name: 0.05 if CUDA else 0.12},
    )


def flops_of(act: Callable[[], object]) -> int:
    with Operations() as operations:
        act()
    return operations.flops


@pytest.mark.parametrize(("network", "method"), [("resnet18", "natural"), ("resnet18", "at"), ("small_resnet", "at")])
def test_share_of_the_peak(benchmark, network: str, method: str) -> None:
    size = 8192 if CUDA else 1024
    a, b = torch.randn(2, size, size, device=DEVICE)
    rows, columns = (torch.randn(*shape, device=DEVICE).to(memory_format=torch.channels_last) for shape in PRODUCT)
    step, _ = steps(next(case for case in CASES if case.method == method), network)
    products = {"matrix product": lambda: a @ b, "1x1 convolution": lambda: F.conv2d(rows, columns)}
    facts: dict[str, Any] = {"row": f"{method} step", "network": network, "flops": flops_of(step)}
    facts["each"] = {name: flops_of(product) for name, product in products.items()}
    race(benchmark, step, products, rounds=3, table="peak", **facts)


@pytest.mark.cuda
def test_epoch_of_at(benchmark) -> None:
    turn, _ = steps(next(case for case in CASES if case.method == "at"), "resnet18")
    loader = Loader(generated(50_000), 128, AUGMENT, 0)

    def epoch() -> None:
        for x, y, index in loader.epoch(1):
            turn.batch = dataclasses.replace(turn.batch, x=x, y=y, index=index)
            turn()

    facts = {"row": "PGD-10 AT epoch of 50,000 images", "network": "resnet18", "limit": 8.0}
    race(benchmark, epoch, {}, rounds=2, table="parts", bars={}, **facts)
