"""CIFAR-10-C and CIFAR-100-C as published: which files, with which checksums, and where they lie.

Hendrycks & Dietterich, Zenodo records 2535967 and 3555552: one array per corruption, (5 x 10,000, 32, 32, 3) uint8,
severity s in rows (s - 1) 10,000 .. s 10,000, in the order of the test split.
"""

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cure import paths
from cure.engine.checksums import CIFAR_10_C, CIFAR_100_C
from cure.errors import Refused
from cure.files import md5sum, write_text

STAMP = ".verified.json"


@dataclass(frozen=True)
class Archive:
    """One published archive; `md5s` has its arrays by name, and `labels`."""

    dataset: str
    name: str
    url: str
    md5: str
    md5s: dict[str, str]

    @property
    def folder(self) -> Path:
        """Where its arrays lie once they are downloaded."""
        return paths.downloads(self.dataset) / self.name

    @property
    def command(self) -> str:
        """What `cure download` calls it: cifar10-c."""
        return f"{self.dataset}-c"

    def absent(self, corruptions: Iterable[str]) -> list[str]:
        """The files that these corruptions need and that are not there."""
        return [f"{name}.npy" for name in (*corruptions, "labels") if not (self.folder / f"{name}.npy").exists()]

    def array(self, name: str) -> NDArray[np.uint8]:
        """One array, memory-mapped; refuses one that is not the published one."""
        path = self.folder / f"{name}.npy"
        if not self._verified(path, self.md5s[name]):
            raise Refused(
                f"{path}: not the published file (its md5 is not {self.md5s[name]}); delete it and run "
                f"`cure download {self.command}`"
            )
        found: NDArray[np.uint8] = np.load(path, mmap_mode="r")
        return found

    def _verified(self, path: Path, md5: str) -> bool:
        """Whether the file has this md5; what was found once is remembered by size and time."""
        stamp, about = self.folder / STAMP, path.stat()
        known = _read(stamp)
        facts = [about.st_size, about.st_mtime_ns, md5]
        if known.get(path.name) == facts:
            return True
        if md5sum(path) != md5:
            return False
        with contextlib.suppress(Refused):  # a folder that cannot be written to is verified each time
            write_text(stamp, json.dumps(known | {path.name: facts}, indent=1) + "\n")
        return True


ARCHIVES = {
    "cifar10": Archive(
        "cifar10",
        "CIFAR-10-C",
        "https://zenodo.org/records/2535967/files/CIFAR-10-C.tar?download=1",
        "56bf5dcef84df0e2308c6dcbcbbd8499",
        CIFAR_10_C,
    ),
    "cifar100": Archive(
        "cifar100",
        "CIFAR-100-C",
        "https://zenodo.org/records/3555552/files/CIFAR-100-C.tar?download=1",
        "11f0ed0f1191edbf9fa23466ae6021d3",
        CIFAR_100_C,
    ),
}


def _read(stamp: Path) -> dict[str, list[int | str]]:
    with contextlib.suppress(OSError, ValueError):
        known: dict[str, list[int | str]] = json.loads(stamp.read_text())
        return known
    return {}
