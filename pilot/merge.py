"""Merge the results of a lent GPU: `python -m pilot.merge FOLDER`, where FOLDER holds the files of `pilot.gpu --out`.

The files are unpacked to pilot/lent/DEVICE/, together with the report of the rows and a page of measurements. Git
ignores the networks, in weights/ there. Results of a later command replace those of an earlier one.
"""

import contextlib
import json
import re
import tarfile
from pathlib import Path
from typing import Annotated, Any

import typer

from cure.datasets.folder import BROKEN_ARCHIVE
from cure.errors import UserError
from cure.reporting import build
from cure.runtime.terminal import stage
from cure.settings.check import load
from cure.storage.files import write_text
from pilot.pipeline import ROOT

BARS = {  # for an H100: measurement -> the key of its number, and the bar in seconds
    "step at, bf16, graphs": ("epoch_s", 5.0),
    "step cure, bf16, graphs": ("epoch_s", 6.0),
}


def extracted(archive: Path, place: Path) -> None:
    """Unpack an archive of `pilot.gpu` into a folder; replace files of the same names."""
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(place, filter="data")
    except BROKEN_ARCHIVE as problem:
        raise UserError(f"{archive}: cannot be unpacked ({problem}); bring it home again") from None


def device_of(archive: Path) -> str:
    """Return the device of measured.json, as a name for a folder."""
    try:
        with tarfile.open(archive) as tar:
            file = tar.extractfile("measured.json")
            assert file is not None
            name = json.load(file)["device"]
    except (*BROKEN_ARCHIVE, KeyError, ValueError) as problem:
        raise UserError(f"{archive}: names no device ({problem}); measured.json is missing or broken") from None
    return re.sub(r"[^a-z0-9]+", "-", str(name).lower()).strip("-")


def page(found: dict[str, Any]) -> str:
    """Return measured.md: a table of measurements, and whether they meet their bars."""
    lines = [
        f"# {found['device']}",
        "",
        f"PyTorch {found['torch']}, {found['model']}, batch {found['batch']}. Written by",
    ]
    lines[-1] += " `python -m pilot.merge` from measured.json; profiles are in profiles/."
    lines += ["", "| measure | found | bar |", "|---|---|---|"]
    for name, measure in found["measures"].items():
        error = str(measure.get("error", "")).strip().splitlines()
        numbers = [f"{key} {_short(value)}" for key, value in measure.items() if key != "error"]
        said = f"failed: {error[-1]}" if error else ", ".join(numbers)
        lines.append(f"| {name} | {said} | {_judged(measure, *BARS[name]) if name in BARS else ''} |")
    return "\n".join(lines) + "\n"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_short, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _judged(measure: dict[str, Any], key: str, bar: float) -> str:
    return f"{key} at most {bar:g}: {'met' if measure.get(key, bar + 1) <= bar else '**not met**'}"


def merge(home: Path, lent: Path) -> Path:
    """Unpack the archives of a folder, write measured.md, and return the folder of the device."""
    archive = home / "results.tar.gz"
    if not archive.exists():
        raise UserError(f"{home}: has no results.tar.gz; name the folder with the files of `pilot.gpu --out`")
    place = lent / device_of(archive)
    extracted(archive, place)
    if (home / "networks.tar.gz").exists():
        extracted(home / "networks.tar.gz", place)
    write_text(place / "measured.md", page(json.loads((place / "measured.json").read_text())))
    return place


def main(
    home: Annotated[Path, typer.Argument(help="A folder with results.tar.gz and, if there is one, networks.tar.gz.")],
    lent: Annotated[Path, typer.Option(help="Where the devices' folders are.")] = ROOT / "pilot" / "lent",
) -> None:
    """Merge the files that were brought home, and write the report of its rows."""
    place = merge(home, lent)
    if (place / "results").exists():
        with contextlib.chdir(place):
            build.show(build.build(load(build.READS), whole=False))
    print(place)


if __name__ == "__main__":
    stage(main)
