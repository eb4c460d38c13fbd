"""Evaluate a network on corrupted test images, from published arrays or generated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from cure import catalogue
from cure.core.corruption import BENCHMARK, EXTRAS, VERSION
from cure.core.tensors import Tensor
from cure.data.generated_corruptions import Generated, lacking
from cure.data.loader import Split
from cure.data.published_corruptions import ARCHIVES, Archive
from cure.errors import UserError
from cure.evaluation.measure import finite, frozen
from cure.evaluation.statistics.results import CorruptResult
from cure.evaluation.work_items import Store, digest, identity
from cure.runtime.memory import halving
from cure.settings.sections import CorruptSuite


@dataclass(frozen=True)
class Source:
    """Corrupted versions of the images of `split`, and where they come from."""

    kind: Literal["official", "generated"]
    version: str
    split: Split  # on the CPU
    arrays: Archive | Generated

    def missing(self, corruptions: list[str]) -> dict[str, str]:
        """Map each corruption that is not available on this machine to the reason."""
        if self.kind == "official":
            return {}
        return {name: why for name in corruptions if (why := lacking(name))}

    def images(self, name: str, severity: int) -> Tensor:
        """Return (n, c, h, w) uint8; image i is test image split.index[i], corrupted."""
        array = self.arrays.array(name)
        size = len(array) // 5
        rows = self.split.index.numpy() if self.kind == "official" else np.arange(size)
        return torch.from_numpy(array[(severity - 1) * size + rows]).permute(0, 3, 1, 2).contiguous()


def source(suite: CorruptSuite, dataset: str, digest: str, split: Split) -> Source:
    """Return the source that `corrupt.source` sets; `auto` uses the published arrays if all required ones are present.

    A published array with another md5 raises UserError; it is never replaced by a generated one.
    """
    local = Split(split.images.cpu(), split.labels.cpu(), split.index)
    archive = ARCHIVES.get(dataset)
    absent = archive.absent(suite.corruptions) if archive else []
    if archive and not absent and suite.source != "generated":
        return _official(archive, local)
    if suite.source != "official":
        return Source("generated", VERSION, local, Generated(local, digest, suite.seed))
    if archive is None:
        raise UserError(
            f"corrupt.source: official, but only {' and '.join(ARCHIVES)} have published arrays, not {dataset}; set it "
            "to generated or auto"
        )
    raise UserError(
        f"{archive.folder}: without {', '.join(absent)}; run `cure download {archive.command}`, or set "
        "corrupt.source to generated"
    )


def correct(net: nn.Module, split: Split, batch: int) -> int:
    """Return how many images of `split` are classified correctly; raise UserError for logits that are not finite."""

    def right(batch: int) -> list[Tensor]:
        return [(net(x).argmax(dim=1) == y).sum() for x, y, _ in split.batches(batch)]

    with frozen(net), finite(net), torch.no_grad():
        return int(torch.stack(halving(batch, right, "corrupted images")).sum())


def counts(
    net: nn.Module,
    split: Split,
    found: Source,
    names: list[str],
    suite: CorruptSuite,
    on_progress: Callable[[str, int], object],
    store: Store | None = None,
) -> dict[str, dict[str, int]]:
    """Map corruption -> severity -> how many corrupted images of `split` the network classifies correctly.

    Each (corruption, severity) is a work item, read from `store` if present. `on_progress` receives the corruption and
    the count.
    """
    store, right = {} if store is None else store, dict[str, dict[str, int]]()
    who = identity(suite.seed, "fp32", net=net)
    for name in names:
        for severity in suite.severities:
            images = found.images(name, severity)
            key = digest([who, name, severity, suite.batch], {"images": images, "labels": split.labels})
            if (kept := _kept(store, key, len(split))) is None:
                corrupt = Split(images.to(split.images.device), split.labels)
                kept = correct(net, corrupt, suite.batch)
                store[key] = {"correct": torch.tensor(kept)}
            right.setdefault(name, {})[str(severity)] = kept
            on_progress(name, kept)
    return right


def measured(
    net: nn.Module,
    split: Split,
    found: Source,
    suite: CorruptSuite,
    on_progress: Callable[[str, int], object],
    store: Store | None = None,
) -> CorruptResult:
    """Measure every corruption of the suite that is available on this machine, and record why others are missing."""
    missing = found.missing(suite.corruptions)
    names = [name for name in suite.corruptions if name not in missing]
    own = {name: catalogue.entry("corruptions", name).CORRUPTION.category for name in suite.corruptions}
    categories = dict(sorted({**BENCHMARK, **EXTRAS, **own}.items()))
    unlisted = {name: "not listed in params.yaml" for name in categories if name not in own}
    return CorruptResult(
        images=len(split),
        source=found.kind,
        version=found.version,
        missing=missing | unlisted,
        categories=categories,
        extra=[name for name in categories if name not in BENCHMARK],
        clean=correct(net, split, suite.batch),
        correct=counts(net, split, found, names, suite, on_progress, store),
    )


def _kept(store: Store, key: str, images: int) -> int | None:
    """Return the count of a stored work item; None if there is none or it is impossible for this number of images."""
    count = store[key].get("correct") if key in store else None
    if count is None or count.ndim or count.dtype != torch.int64 or not 0 <= int(count) <= images:
        return None
    return int(count)


def _official(archive: Archive, split: Split) -> Source:
    """Return the published arrays; raise UserError if the test split is not the one that was corrupted."""
    labels = archive.array("labels")
    size = len(labels) // 5
    if int(split.index.max()) >= size or not np.array_equal(labels[:size][split.index.numpy()], split.labels.numpy()):
        raise UserError(
            f"{archive.folder}: its labels are not those of the prepared test split, so its images differ; run "
            "`dvc repro` anew, or set corrupt.source to generated"
        )
    return Source("official", f"{archive.name} {archive.md5}", split, archive)
