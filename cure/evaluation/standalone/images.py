"""Provide the images of an evaluation: test images of a prepared data set, or arrays from Python."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from cure import catalogue
from cure.data import prepared as prepared_file
from cure.data.loader import Split, as_float, evenly_spaced
from cure.data.prepare import lacking, prepare
from cure.errors import UserError, did_you_mean
from cure.evaluation.attack_columns import examples_of
from cure.evaluation.evaluated_run import test_split
from cure.evaluation.standalone.arrays import Arrays, Given, tensors
from cure.evaluation.work_items import Examples, digest
from cure.nn.batchnorm import scope
from cure.settings.base import DataSettings
from cure.settings.params import Params
from cure.storage import paths, resume
from cure.storage.checkpoint import Description
from cure.storage.files import contents, refuse_special

GIVEN = "given"  # the name of images from memory


@dataclass(frozen=True)
class Images:
    """Test images with their places in the split, and a digest that distinguishes image sets."""

    name: str
    examples: Examples
    classes: int
    digest: str

    def some(self, count: int) -> "Images":
        """Return `count` of the images, evenly spaced; all of them if there are fewer."""
        rows = evenly_spaced(len(self.examples), count).to(self.examples.y.device)
        return replace(self, examples=self.examples[rows])

    def in_levels(self) -> tuple[Split, bool]:
        """Return the images as uint8 on their device, for corruptions, and whether that rounded them."""
        levels = (self.examples.x * 255).round().to(torch.uint8)
        rounded = not torch.equal(as_float(levels), self.examples.x)
        return Split(levels, self.examples.y, self.examples.index), rounded

    @property
    def channels(self) -> int:
        """Return 1 for grey images, 3 for colour."""
        return int(self.examples.x.shape[1])


def prepared(name: str, params: Params, settings: Path, named: str = "--data") -> Path:
    """Return the prepared file of a data set: FILE.safetensors itself, the pipeline's own, or one that is prepared now.

    A file prepared now is kept in $CURE_SCRATCH/prepared, under a name made from its settings.

    Args:
        name: an entry of cure/datasets, or a file.
        params: the content of the file `settings`.
        settings: the params.yaml in use; the pipeline's own data is beside it.
        named: the argument's name in messages.
    """
    if name.endswith(".safetensors"):
        refuse_special(Path(name))
        return Path(name)
    if name not in catalogue.names("datasets"):
        raise UserError(f"{named} {name}: no such data set{did_you_mean(name, catalogue.names('datasets'))}")
    if (path := settings.parent / paths.data(name)).exists():
        return path
    hyper = _settings(name, params, settings, named)
    own, files = hyper.model_dump(), ""
    if "path" in own:  # relative to params.yaml; images may be added to a folder or removed
        own["path"] = str(settings.parent / paths.expanded(own["path"]))
        hyper, files = hyper.model_copy(update=own), contents(Path(own["path"]), _stamp)
    key = hashlib.sha256(f"{json.dumps(own, sort_keys=True)}{files}".encode()).hexdigest()[:16]
    if not (path := resume.FOLDER / "prepared" / f"{name}-{key}.safetensors").exists():
        lacking(name, hyper)
        prepare(name, hyper, path)
    return path


def _settings(name: str, params: Params, settings: Path, named: str) -> DataSettings:
    """Return a data set's section of the params.yaml in use, or its entry's defaults if it has all of them."""
    kind: type[DataSettings] = catalogue.hyper("datasets", name)
    if name in params.raw["datasets"]:
        return params.get(f"datasets.{name}", kind)
    if any(field.is_required() for field in kind.model_fields.values()):
        raise UserError(f"{named} {name}: {settings} has no section datasets.{name}; name one by --params")
    return kind.model_validate({})


def _stamp(path: Path) -> str:
    """Return size and modification time, which distinguish two states of a file on this machine."""
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def of_the_test_split(path: Path, device: torch.device, about: Description | None) -> Images:
    """Return all test images; raise UserError if the described weights were trained on another file."""
    source = prepared_file.load(path, ("test",), device)
    split = source.splits["test"]
    examples = examples_of(test_split(about, source, len(split)) if about else split)
    return Images(str(source.about["name"]), examples, len(source.classes), source.digest)


def classes_of(net: nn.Module, images: Images) -> Images:
    """Return images with as many classes as the network has logits; unchanged if its forward pass fails."""
    with scope(net, "eval"), torch.no_grad(), suppress(Exception):  # the preflight checks report why a network fails
        return replace(images, classes=int(net(images.examples.x[:1]).shape[1]))
    return images


def given(images: Given, labels: Arrays | None, classes: int | None, device: torch.device) -> Images:
    """Return images from memory, in a form that `tensors` accepts. An image's place is its index."""
    x, y = tensors(images, labels, device)
    index = torch.arange(len(y))
    return Images(GIVEN, Examples(x, y, index), classes or int(y.max()) + 1, digest([], {"x": x, "y": y}))
