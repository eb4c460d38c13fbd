"""Generate corrupted images and cache them outside DVC, so that all networks of a data set get the same ones."""

import contextlib
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cure import catalogue
from cure.core import corruption as definition
from cure.core import noise as draws
from cure.core.corruption import Corruption, Picture
from cure.core.noise import PerImage, seed_for
from cure.data import image_filters
from cure.data.loader import Split, as_float
from cure.storage import resume
from cure.storage.files import replacing, sha256

LEVELS = (1, 2, 3, 4, 5)
CHUNK = 500
"""Images at a time; limits the memory and does not change any result."""
SHARED = (__file__, definition.__file__, image_filters.__file__, draws.__file__)
LIBRARIES = ("numpy", "scipy", "pillow", "torch")


def lacking(name: str) -> str | None:
    """Return why a corruption cannot be made here, naming its missing packages; None if it can."""
    needs = catalogue.entry("corruptions", name).CORRUPTION.needs
    absent = [module for module in needs if importlib.util.find_spec(module) is None]
    return f"needs the optional extra `corruptions`, no module {' or '.join(absent)}" if absent else None


@dataclass(frozen=True)
class Generated:
    """The corrupted images of `split`. Noise depends on (seed, corruption, severity, place in the test split) alone."""

    split: Split  # on the CPU
    digest: str  # sha256 of the prepared file
    seed: int

    def array(self, name: str) -> NDArray[np.uint8]:
        """Return (5 n, h, w, c) memory-mapped, severity s in rows (s - 1) n .. s n; generate and cache it if needed.

        Two processes that need the same array generate it once.
        """
        path = self._path(name)
        if (found := self._cached(path)) is None:
            with resume.locked(path.with_suffix(".lock"), f"corruption {name}", "corruption"):
                if self._cached(path) is None:
                    self._make(name, path)
            found = np.load(path, mmap_mode="r")
        return found

    def _path(self, name: str) -> Path:
        """Return a path whose folder is a hash of test images, seed, constants, code, libraries and pictures."""
        entry = catalogue.entry("corruptions", name)
        code = [sha256(Path(str(file))) for file in (entry.__file__, *SHARED)]
        index = hashlib.sha256(self.split.index.numpy().tobytes()).hexdigest()
        corruption: Corruption = entry.CORRUPTION
        libraries = [*map(version, LIBRARIES), *map(_version, corruption.needs)]
        laid_over = [sha256(path) for path in photographs(corruption)]
        facts = [self.digest, index, self.seed, definition.VERSION, code, libraries, laid_over]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
        return resume.FOLDER / "corrupted" / key / f"{name}.npy"

    def _cached(self, path: Path) -> NDArray[np.uint8] | None:
        with contextlib.suppress(OSError, ValueError):
            found: NDArray[np.uint8] = np.load(path, mmap_mode="r")
            return found
        return None

    def _make(self, name: str, path: Path) -> None:
        corruption: Corruption = catalogue.entry("corruptions", name).CORRUPTION
        loaded, n = pictures(corruption), len(self.split)
        channels, h, w = self.split.images.shape[1:]
        with replacing(path) as draft:
            out = np.lib.format.open_memmap(draft, "w+", np.uint8, (len(LEVELS) * n, h, w, channels))
            for severity in LEVELS:
                for rows in torch.split(torch.arange(n), CHUNK):
                    noise = PerImage(seed_for(self.seed, name, severity), self.split.index[rows])
                    made = corruption(as_float(self.split.images[rows]), severity, noise, loaded)
                    levels = (made * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
                    out[(severity - 1) * n + int(rows[0]) :][: len(rows)] = levels
            out.flush()


def _version(module: str) -> list[str]:
    """Return the versions of all packages that may provide an optional module."""
    return sorted(f"{package} {version(package)}" for package in packages_distributions().get(module, []))


def photographs(corruption: Corruption) -> list[Path]:
    """Return the picture files that a corruption adds to images, from the first package that it needs."""
    if not corruption.pictures:
        return []
    spec = importlib.util.find_spec(corruption.needs[0])  # found, not imported: the import of the package takes seconds
    folder = Path(str(spec.origin)).parent / "frost" if spec else Path()
    return [folder / name for name in corruption.pictures]


def pictures(corruption: Corruption) -> list[Picture]:
    """Return the photographs as RGB arrays."""
    from PIL import Image

    return [np.asarray(Image.open(path).convert("RGB")) for path in photographs(corruption)]
