"""Read the prepared file of a data set: uint8 images, labels, class names, and the three splits."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from cure.data.loader import Split
from cure.errors import UserError
from cure.storage.files import refuse_special, sha256

PARTS = ("images", "labels")


@dataclass(frozen=True)
class Data:
    """The requested splits of a data set, and its description."""

    path: Path
    digest: str  # sha256 of the file
    about: dict[str, Any]  # name, source, classes, channels, test images that are also training images
    splits: dict[str, Split]

    @property
    def classes(self) -> list[str]:
        """Return the class names in the order of the labels."""
        names: list[str] = self.about["classes"]
        return names

    @property
    def channels(self) -> int:
        """Return 1 for grey images, 3 for colour."""
        return int(self.about["channels"])


def load(path: Path, splits: tuple[str, ...], device: torch.device) -> Data:
    """Read splits of a prepared file.

    Args:
        path: the file.
        splits: names of splits (train, val, test); the others are not read.
        device: where the images are put.

    Raises:
        UserError: the file is missing, damaged, or has other contents.
    """
    if not path.exists():
        raise UserError(f"{path}: not found; `dvc repro` makes it in its stage prepare")
    refuse_special(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = dict(json.loads((file.metadata() or {}).get("cure", "{}")))
            held = {name: Split(*(file.get_tensor(f"{name}/{k}").to(device) for k in PARTS)) for name in splits}
    except (SafetensorError, OSError, ValueError) as problem:
        raise UserError(f"{path}: not a whole prepared data file ({problem}); delete it and run `dvc repro`") from None
    if about.get("kind") != "data":
        raise UserError(f"{path}: holds {about.get('kind', 'something else')}, not prepared data")
    if missing := {"classes", "channels"} - set(about):
        raise UserError(f"{path}: its description lacks {', '.join(sorted(missing))}; delete it and run `dvc repro`")
    for name, split in held.items():
        if split.images.dtype != torch.uint8 or split.images.ndim != 4:
            found = f"{split.images.dtype} {tuple(split.images.shape)}"
            raise UserError(f"{path}: images of split {name} are {found}, not uint8 (n, c, h, w)")
        if len(split.images) != len(split.labels):
            raise UserError(f"{path}: split {name} has {len(split.images)} images and {len(split.labels)} labels")
        if split.labels.numel() == 0 or int(split.labels.max()) >= len(about["classes"]) or int(split.labels.min()) < 0:
            raise UserError(f"{path}: split {name} is empty or has labels outside its {len(about['classes'])} classes")
    return Data(path, sha256(path), about, held)
