"""Run tests, measurements and rows of the pilot on a lent GPU for half an hour, with only Python and PyTorch there.

Such a machine ends each command after some minutes; rerun the command to continue. Each command writes to `--out` the
files to bring home: test output, measurements, the files that the report reads, and as many networks as fit.
`python -m pilot.merge` merges them at home.

The steps of the rows are those of dvc.yaml. A run is trained, revised and attacked before the next one begins, so a
lease that ends early leaves complete rows. A step runs if one of its outputs is absent, and the report or another step
that runs needs it. So a training is skipped if its results exist. An interrupted step continues from its resume file in
$CURE_SCRATCH.
"""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from cure.errors import UserError
from cure.runtime.terminal import stage
from cure.settings.check import check
from cure.settings.params import read
from cure.storage.files import replacing, sha256, write_text
from pilot.pipeline import ROOT, WANTED, Step, pending, steps

ORDER = ("natural", "at", "cure", "trades", "mart", "arat", "rift", "hat", "lbgat", "generalist", "ikl_at", "at_ema")
TESTS, MEASURES = 4 * 60.0, 6 * 60.0  # limits of the first two phases, in seconds
TO_DO = 3  # exit code
GRACE = 45  # seconds from SIGINT to SIGKILL
ROOM = 54 * 2**20  # most bytes of networks in the archive of one command
TOLD = ("tests.txt", "measured.json", "profiles")  # files of the folder to bring home, in addition to results


class Lease:
    """The remaining time of a lease and its finished phases, kept in a file that all commands share."""

    def __init__(self, path: Path, seconds: float, call: float) -> None:
        self.path, self.seconds, self.begin = path, seconds, time.monotonic()
        self.state: dict[str, Any] = {"spent": 0.0, "done": [], "sent": []}
        if path.exists():
            self.state |= json.loads(path.read_text())
        self.before, self.call = float(self.state["spent"]), call

    def left(self) -> float:
        """Return the seconds that this command may still take."""
        gone = time.monotonic() - self.begin
        return min(self.seconds - self.before, self.call) - gone

    def note(self, **news: Any) -> None:
        """Record finished work and the time spent."""
        self.state |= {"spent": self.before + time.monotonic() - self.begin} | news
        write_text(self.path, json.dumps(self.state) + "\n")


def given(settings: list[str]) -> dict[str, Any]:
    """Parse words KEY=VALUE into a dictionary."""
    values = dict[str, Any]()
    for key, equals, text in (word.partition("=") for word in settings):
        if not equals:
            raise UserError(f"-S {key}: has no value; write KEY=VALUE")
        values[key] = YAML(typ="safe", pure=True).load(text)
    return values


def write_params(path: Path, overrides: dict[str, Any]) -> None:
    """Write pilot/params.yaml with `overrides`, by dotted key, to `path`; raise UserError if other values are there."""
    yaml = YAML()
    raw = yaml.load((ROOT / "pilot" / "params.yaml").read_text(encoding="utf-8"))
    for key, value in overrides.items():
        *outer, last = key.split(".")
        section = raw
        for part in outer:
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise UserError(
                f"{key}: {'.'.join(outer)} is not a section of pilot/params.yaml; name a key in one that is there"
            )
        section[last] = value
    with replacing(path) as draft:
        yaml.dump(raw, draft)
        values = read(draft)
        check(values).refuse(path)
        if path.exists() and read(path) != values:
            raise UserError(f"{path}: belongs to a run with other settings; give them again, or name another --folder")


def run(command: list[str], folder: Path, seconds: float, output: Path | None = None) -> str:
    """Run a command and return how it ended: done, cut, or failed. Its output goes to stdout, or to a file."""
    with output.open("w") if output else nullcontext() as file:
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file)
        try:
            code = process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            return "cut"
        except KeyboardInterrupt:  # the command received it as well
            process.wait()
            raise
    return "failed" if code else "done"


def phase(name: str, command: list[str], where: Path, lease: Lease, seconds: float, output: Path | None = None) -> None:
    """Run a phase once. It is not repeated even if it fails, since the rows need the time.

    If less than a minute and a half remains, the next command runs it.
    """
    if name in lease.state["done"] or lease.left() < 2 * GRACE:
        return
    begin = time.monotonic()
    ended = run(command, where, min(seconds, lease.left() - GRACE), output)
    print(f"{name}: {ended}, {time.monotonic() - begin:.0f} s", flush=True)
    if output:
        print("\n".join(output.read_text(errors="replace").splitlines()[-15:]), flush=True)
    lease.note(done=[*lease.state["done"], name])


def rows(ordered: list[Step], folder: Path, lease: Lease) -> int:
    """Run pending steps while there is time, print a line for each step, and return the exit code."""
    todo, failed = {step.name for step in pending(ordered, folder)}, False
    for step in ordered:
        state, begin = "not needed" if step.name not in todo else "to do", time.monotonic()
        if all((folder / out).exists() for out in step.outs):
            state = "there"
        elif state == "to do" and lease.left() > GRACE and all((folder / dep).exists() for dep in step.deps):
            state = run(step.cmd, folder, lease.left() - GRACE)
            lease.note()
        failed |= state == "failed"
        print(f"{step.name}: {state}, {time.monotonic() - begin:.0f} s", flush=True)
    return 1 if failed else TO_DO if pending(ordered, folder) else 0


def of_a_device() -> list[str]:
    """Return the test files with the mark `cuda`; other files import packages that a lent machine lacks."""
    return [
        str(path) for path in sorted((ROOT / "tests" / "unit").rglob("test_*.py")) if "mark.cuda" in path.read_text()
    ]


def tests() -> list[str]:
    """Return the command of the phase `tests`."""
    how = ["-q", "-m", "cuda", "-o", "addopts=", "--continue-on-collection-errors"]
    return [sys.executable, "-m", "pytest", *how, *of_a_device()]


def measures(folder: Path, seconds: float) -> list[str]:
    """Return the command of the phase `measures`."""
    return [sys.executable, "-m", "pilot.measure", str(folder.resolve()), "--seconds", f"{seconds:.0f}"]


def pack(folder: Path, out: Path, lease: Lease) -> None:
    """Write results.tar.gz without networks, and networks.tar.gz with those that fit and were not packed before."""
    networks, room = list[Path](), ROOM
    for path in sorted(folder.glob("weights/**/*.safetensors"), key=lambda path: path.stat().st_mtime):
        name = str(path.relative_to(folder))
        if name not in lease.state["sent"] and (room := room - path.stat().st_size) >= 0:
            networks.append(path)
    small = [path for name in ("params.yaml", *WANTED, *TOLD) if (path := folder / name).exists()]
    for name, paths in {"results": small, "networks": networks}.items():
        with replacing(out / f"{name}.tar.gz") as draft, tarfile.open(draft, "w:gz", compresslevel=1) as tar:
            for path in paths:
                tar.add(path, path.relative_to(folder))
    lease.note(sent=[*lease.state["sent"], *(str(path.relative_to(folder)) for path in networks)])


def main(
    archive: Annotated[Path, typer.Argument(help="A tar archive of train/CLASS/* and test/CLASS/*; never unpacked.")],
    minutes: Annotated[float, typer.Option(help="Minutes of the whole lease.", min=0)] = 28,
    call: Annotated[float, typer.Option(help="Limit of one command in minutes.", min=0)] = 9,
    folder: Annotated[Path, typer.Option(help="Folder of the run, kept from command to command.")] = Path("pilot/run"),
    out: Annotated[Path | None, typer.Option(help="Folder for the files to bring home.")] = None,
    digest: Annotated[str | None, typer.Option("--sha256", help="Checksum of the archive.")] = None,
    overrides: Annotated[Path, typer.Option(help="File of values by dotted key.")] = ROOT / "pilot" / "lent.yaml",
    setting: Annotated[list[str] | None, typer.Option("-S", help="One more value, as KEY=VALUE.")] = None,
) -> None:
    """Test, measure and train for some minutes; rerun to continue.

    Exit codes: 0: all done; 1: a step failed; 2: wrong input; 3: more to do; 130: interrupted.
    """
    lease = Lease(folder / "lease.json", minutes * 60, call * 60)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background, a shell's children ignore SIGINT
    if digest is not None and (found := sha256(archive)) != digest:
        raise UserError(f"{archive}: has sha256 {found}, not {digest}; fetch it again")
    if not archive.is_file():
        raise UserError(f"{archive}: not found; name a tar archive of train/ and test/")
    write_params(folder / "params.yaml", read(overrides) | given(setting or []))
    os.environ["CURE_PILOT_IMAGES"] = str(archive.resolve())
    ordered = steps(read(ROOT / "pilot" / "dvc.yaml"), read(folder / "params.yaml"), ORDER)
    try:
        phase("tests", tests(), ROOT, lease, TESTS, folder / "tests.txt")
        phase("measures", measures(folder, min(MEASURES, lease.left() - GRACE)), ROOT, lease, MEASURES + GRACE)
        code = rows(ordered, folder, lease)
    finally:
        if out is not None:
            pack(folder, out, lease)
    raise typer.Exit(code)


if __name__ == "__main__":
    stage(main)
