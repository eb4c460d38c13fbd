"""Define the data of an evaluation: its images, its work items, and the outcome that they add up to.

A work item is the result of one attack on one batch, or of one corruption at one severity. Its key is a digest of
everything that decides it.
"""

import hashlib
import json
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import nn

from cure.core.tensors import Flags, Images, Labels, PerExample, Tensor
from cure.storage.files import replacing
from cure.storage.resume import code

WorkItem = dict[str, Tensor]
"""Of an attack: the misclassified images of the batch as `rows`, `predicted` by the network itself, and `x_adv`; also,
by name, the values that the attack showed of every image of the batch. Of a corruption at one severity: the number of
`correct` images."""

FOUND = {"rows", "predicted", "x_adv"}

Store = MutableMapping[str, WorkItem]
"""The store of work items: a dict, or a WorkItemFolder, which outlives the process and may be shared by several."""


@dataclass(frozen=True)
class Examples:
    """Images (n, c, h, w) in [0, 1], float32, labels (n), and each image's place in its split, which seeds its noise.

    The places are on the host. So are the row indices that select images.
    """

    x: Images
    y: Labels
    index: Labels

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: Tensor) -> "Examples":
        there = rows.to(self.y.device)
        return Examples(self.x[there], self.y[there], self.index[rows])


@dataclass
class Outcome:
    """The result of a sequence on each of n images, on the CPU."""

    clean: Flags  # classified correctly
    predicted: Labels  # at x_adv
    x_adv: Images  # the adversarial image; the image itself if none was found or needed
    distance: PerExample  # of x_adv, in the sequence's metric; infinity if none was found
    batch: int  # images per batch, on which AutoAttack's numbers depend
    broken_by: dict[str, Tensor] = field(default_factory=dict)  # attack -> rows whose x_adv it made
    shown: dict[str, Tensor] = field(default_factory=dict)  # name -> what an attack showed of each image, else NaN

    @property
    def robust(self) -> Flags:
        """Return (n) whether an image is classified correctly and no attack of the sequence changed that."""
        return self.distance.isinf()

    def take(self, name: str, rows: Labels, item: WorkItem, length: PerExample) -> None:
        """Store the adversarial images of a work item for these rows, where they are nearer than those found before."""
        nearer = length < self.distance[rows]
        rows = rows[nearer]
        for other, theirs in self.broken_by.items():
            self.broken_by[other] = theirs[~torch.isin(theirs, rows)]
        self.broken_by[name] = torch.cat([self.broken_by[name], rows])
        self.predicted[rows], self.x_adv[rows] = item["predicted"][nearer], item["x_adv"][nearer]
        self.distance[rows] = length[nearer]

    def keep_shown(self, rows: Labels, item: WorkItem) -> None:
        """Store the values that the attack showed in a work item, for these rows."""
        for name in item.keys() - FOUND:
            nothing = torch.full((len(self.clean), *item[name].shape[1:]), torch.nan)
            self.shown.setdefault(name, nothing)[rows] = item[name]


def sound(item: WorkItem, part: Examples) -> bool:
    """Return whether a stored work item is possible for these images, by its types, shapes and ranges."""
    shown = [value for name, value in item.items() if name not in FOUND]
    if not set(item) >= FOUND or any(not value.ndim or len(value) != len(part) for value in shown):
        return False
    rows, predicted, x_adv = item["rows"], item["predicted"], item["x_adv"]
    if rows.ndim != 1 or rows.shape != predicted.shape or x_adv.shape != (len(rows), *part.x.shape[1:]):
        return False
    if (rows.dtype, predicted.dtype, x_adv.dtype) != (torch.int64, torch.int64, part.x.dtype):
        return False
    if not len(rows):
        return True
    inside = bool(rows[0] >= 0) and bool(rows[-1] < len(part)) and bool((rows.diff() > 0).all())
    return inside and bool((predicted != part.y.cpu()[rows]).all()) and bool(((x_adv >= 0) & (x_adv <= 1)).all())


class WorkItemFolder(Store):
    """Work items as files with a digest of their content. A file that is incomplete or was edited counts as missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _file(self, key: str) -> Path:
        return self.path / f"{key}.safetensors"

    def __getitem__(self, key: str) -> WorkItem:
        try:
            if not self._file(key).is_file():
                raise KeyError(key)
            content = self._file(key).read_bytes()
            item = from_bytes(content)
            head = json.loads(content[HEAD : HEAD + int.from_bytes(content[:HEAD], "little")])
            if head["__metadata__"]["digest"] != _digest_of(item):
                raise KeyError(key)
        except (OSError, SafetensorError, ValueError, TypeError) as problem:
            raise KeyError(key) from problem
        return item

    def __setitem__(self, key: str, item: WorkItem) -> None:
        with replacing(self._file(key)) as draft:
            held = {name: t.contiguous() for name, t in item.items()}
            draft.write_bytes(to_bytes(held, metadata={"digest": _digest_of(held)}))

    def __delitem__(self, key: str) -> None:
        self._file(key).unlink()

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in sorted(self.path.glob("[!.]*.safetensors")) if path.stem in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


HEAD = 8  # bytes at the start of a safetensors file that give the length of its header


def _digest_of(item: WorkItem) -> str:
    return digest([], dict(sorted(item.items())))


def digest(facts: Any, tensors: dict[str, Tensor]) -> str:
    """Return a name for facts and tensors: 32 hex digits."""
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in tensors.items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:32]


def identity(seed: int, precision: str, **nets: nn.Module) -> str:
    """Return a digest of all that computes a work item: networks, memory layout, code, PyTorch, precision, seed."""
    states = {f"{p} {key} {t.stride()}": t for p, net in nets.items() for key, t in net.state_dict().items()}
    return digest([*(str(net) for net in nets.values()), code(), torch.__version__, precision, seed], states)
