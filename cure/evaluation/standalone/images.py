"""Which images an evaluation sees: test images of a prepared data set, or arrays from Python."""

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
    """Test images with the places that they have in their split, and what tells two image sets apart."""

    name: str
    examples: Examples
    classes: int
    digest: str

    def some(self, count: int) -> "Images":
        """`count` of the images, evenly spread; all of them if there are fewer."""
        rows = evenly_spaced(len(self.examples), count).to(self.examples.y.device)
        return replace(self, examples=self.examples[rows])

    def in_levels(self) -> tuple[Split, bool]:
        """The images as uint8 on their device, for corruptions, and whether that rounded them."""
        levels = (self.examples.x * 255).round().to(torch.uint8)
        rounded = not torch.equal(as_float(levels), self.examples.x)
        return Split(levels, self.examples.y, self.examples.index), rounded

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return int(self.examples.x.shape[1])


def prepared(name: str, params: Params, settings: Path, named: str = "--data") -> Path:
    """Return the prepared file of a data set: FILE.safetensors itself, the pipeline's own, or one made now.

    That one is kept in $CURE_SCRATCH/prepared, named by its settings.

    Args:
        name: an entry of cure/datasets, or a file.
        params: what the file `settings` holds.
        settings: the params.yaml that was read; the pipeline's own data lies beside it.
        named: what the caller calls the argument, for messages.
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
    if "path" in own:  # relative to params.yaml; a folder may get and lose images
        own["path"] = str(settings.parent / paths.expanded(own["path"]))
        hyper, files = hyper.model_copy(update=own), contents(Path(own["path"]), _stamp)
    key = hashlib.sha256(f"{json.dumps(own, sort_keys=True)}{files}".encode()).hexdigest()[:16]
    if not (path := resume.FOLDER / "prepared" / f"{name}-{key}.safetensors").exists():
        lacking(name, hyper)
        prepare(name, hyper, path)
    return path


def _settings(name: str, params: Params, settings: Path, named: str) -> DataSettings:
    """Return a data set's section of the params.yaml in use, or its entry's defaults where it declares all of them."""
    kind: type[DataSettings] = catalogue.hyper("datasets", name)
    if name in params.raw["datasets"]:
        return params.get(f"datasets.{name}", kind)
    if any(field.is_required() for field in kind.model_fields.values()):
        raise UserError(f"{named} {name}: {settings} has no section datasets.{name}; name one by --params")
    return kind.model_validate({})


def _stamp(path: Path) -> str:
    """Return size and time of change, which tell one state of a file on this machine from another."""
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


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


def given(images: Given, labels: Arrays | None, classes: int | None, device: torch.device) -> Images:
    """Return images from memory, as `tensors` takes them. An image's place is its index."""
    x, y = tensors(images, labels, device)
    index = torch.arange(len(y))
    return Images(GIVEN, Examples(x, y, index), classes or int(y.max()) + 1, digest([], {"x": x, "y": y}))
