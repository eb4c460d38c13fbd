"""Which images an evaluation sees: test images of a prepared data set, or arrays from Python."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cure import catalogue
from cure.data import prepared as prepared_file
from cure.data.loader import as_float, evenly_spaced
from cure.data.prepare import lacking, prepare
from cure.errors import UserError, did_you_mean
from cure.evaluation.attack_columns import examples_of
from cure.evaluation.evaluated_run import test_split
from cure.evaluation.work_items import Examples, digest
from cure.nn.batchnorm import scope
from cure.settings.params import Params
from cure.storage import paths, resume
from cure.storage.checkpoint import Description
from cure.storage.files import refuse_special


@dataclass(frozen=True)
class Images:
    """Test images with the places that they have in their split, and what tells two image sets apart."""

    name: str
    examples: Examples
    classes: int
    digest: str

    def some(self, count: int) -> "Images":
        """`count` of the images, evenly spread; all of them if there are fewer."""
        rows = evenly_spaced(len(self.examples), count).to(self.examples.y.device)
        return replace(self, examples=self.examples[rows])

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return int(self.examples.x.shape[1])


def prepared(name: str, params: Params, folder: Path) -> Path:
    """The prepared file of a data set: FILE.safetensors itself, the pipeline's own, or one made now.

    That one is kept in $CURE_SCRATCH/prepared, named by its settings.
    """
    if name.endswith(".safetensors"):
        refuse_special(Path(name))
        return Path(name)
    if name not in catalogue.names("datasets"):
        raise UserError(f"--data {name}: no such data set{did_you_mean(name, catalogue.names('datasets'))}")
    if (path := folder / paths.data(name)).exists():
        return path
    if name not in params.raw["datasets"]:
        raise UserError(f"--data {name}: the params.yaml in use has no section datasets.{name}; name one by --params")
    hyper = params.get(f"datasets.{name}", catalogue.entry("datasets", name).Hyper)
    key = hashlib.sha256(json.dumps(hyper.model_dump(), sort_keys=True).encode()).hexdigest()[:16]
    if not (path := resume.FOLDER / "prepared" / f"{name}-{key}.safetensors").exists():
        lacking(name, hyper)
        prepare(name, hyper, path)
    return path


def of_the_test_split(path: Path, device: torch.device, about: Description | None) -> Images:
    """All test images; refuses another file than the one that described weights were trained on."""
    source = prepared_file.load(path, ("test",), device)
    split = source.splits["test"]
    examples = examples_of(test_split(about, source, len(split)) if about else split)
    return Images(str(source.about["name"]), examples, len(source.classes), source.digest)


def classes_of(net: nn.Module, images: Images) -> Images:
    """With as many classes as the network has logits, if it says so; else as many as the labels need."""
    with scope(net, "eval"), torch.no_grad(), suppress(Exception):  # what the network cannot do, the preflight says
        return replace(images, classes=int(net(images.examples.x[:1]).shape[1]))
    return images


def given(
    images: Tensor | np.ndarray, labels: Tensor | np.ndarray, classes: int | None, device: torch.device
) -> Images:
    """Arrays: images (n, c, h, w), uint8 or floats in [0, 1]; labels (n). An image's place is its index."""
    x, y = torch.as_tensor(images).to(device), torch.as_tensor(labels).to(device).long()
    if x.ndim != 4 or y.shape != x.shape[:1]:
        raise UserError(f"images are {tuple(x.shape)} and labels {tuple(y.shape)}; needed: (n, c, h, w) and (n,)")
    if x.dtype == torch.uint8:
        x = as_float(x)
    elif not x.is_floating_point():
        raise UserError(f"images are {x.dtype}; needed: uint8 from 0 to 255, or floats in [0, 1]")
    if not len(y):
        raise UserError("there are no images; needed: one or more")
    index = torch.arange(len(y), device=device)
    return Images("given", Examples(x.float(), y, index), classes or int(y.max()) + 1, digest([], {"x": x, "y": y}))
