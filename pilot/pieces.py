"""Run the pilot without DVC, in pieces of a few minutes: for a lent GPU whose commands end before a training does.

The steps are those of dvc.yaml, run by run: a run is trained, revised and attacked before the next one begins, and the
corruptions of all runs come last. A step runs if an output of it is absent and is needed, by the report or by another
step that runs. So results that an earlier piece brought home spare their training on a fresh machine. An interrupted
step continues from its resume file in $CURE_SCRATCH.
"""

import lzma
import os
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from cure.errors import UserError
from cure.runtime.terminal import stage
from cure.settings.check import check
from cure.settings.params import read
from cure.storage.files import replacing, sha256
from pilot.steps import ROOT, WANTED, Step, pending, steps

TO_DO = 3  # exit code
GRACE = 45  # seconds from SIGINT to SIGKILL
ROOM = 16 * 2**20  # bytes of weights that come back


def write_params(path: Path, overrides: dict[str, Any]) -> None:
    """Write pilot/params.yaml with `overrides`, values by dotted key, to `path`; a folder keeps what it began with."""
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
        check(read(draft)).refuse(path)
        if path.exists() and path.read_bytes() != draft.read_bytes():
            raise UserError(f"{path}: belongs to a run with other settings; give them again, or name another --folder")


def unpack(archive: Path, digest: str | None, folder: Path) -> Path:
    """Unpack the archive's folders train and test, once, into a folder of its name, which data/ records."""
    place = folder / archive.name.split(".")[0]
    if place.exists():
        return place
    if digest is not None and (found := sha256(archive)) != digest:
        raise UserError(f"{archive}: has sha256 {found}, not {digest}; fetch it again")
    draft = folder / f".{place.name}.part"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(draft, filter="data")
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError) as problem:
        raise UserError(
            f"{archive}: cannot be unpacked ({problem}); give a tar archive of train/ and test/"
        ) from problem
    draft.rename(place)
    return place


def run(step: Step, folder: Path, seconds: float) -> str:
    """Run the step and return how it ended: done, cut, or failed."""
    process = subprocess.Popen(step.cmd, cwd=folder)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return "cut"
    except KeyboardInterrupt:  # which the step got as well
        process.wait()
        raise
    return "failed" if code else "done"


def go(ordered: list[Step], folder: Path, end: float) -> int:
    """Run what is pending until `end` of the monotonic clock, print a line for each step, and return the exit code."""
    todo, failed = {step.name for step in pending(ordered, folder)}, False
    for step in ordered:
        state, begin = "not needed" if step.name not in todo else "to do", time.monotonic()
        if all((folder / out).exists() for out in step.outs):
            state = "there"
        elif state == "to do" and begin < end and all((folder / dep).exists() for dep in step.deps):
            state = run(step, folder, end - begin)
        failed |= state == "failed"
        print(f"{step.name}: {state}, {time.monotonic() - begin:.0f} s", flush=True)
    return 1 if failed else TO_DO if pending(ordered, folder) else 0


def pack(folder: Path, out: Path) -> None:
    """Write results.tar.gz, all that the report reads, and weights.tar.gz, the networks that fit into 16 MiB."""
    networks, room = list[Path](), ROOM
    for path in sorted(folder.glob("weights/**/*.safetensors")):
        if (room := room - path.stat().st_size) < 0:
            break
        networks.append(path)
    small = [path for name in ("params.yaml", *WANTED) if (path := folder / name).exists()]
    for name, paths in {"results": small, "weights": networks}.items():
        with replacing(out / f"{name}.tar.gz") as draft, tarfile.open(draft, "w:gz") as tar:
            for path in paths:
                tar.add(path, path.relative_to(folder))


def main(
    archive: Annotated[Path, typer.Argument(help="A tar archive of train/CLASS/* and test/CLASS/*.")],
    minutes: Annotated[float, typer.Option(help="Time limit of the piece, in minutes.", min=0)] = 8,
    folder: Annotated[Path, typer.Option(help="Folder of the pilot, kept from piece to piece.")] = Path("pilot/run"),
    out: Annotated[Path | None, typer.Option(help="Folder for results.tar.gz and weights.tar.gz.")] = None,
    digest: Annotated[str | None, typer.Option("--sha256", help="Checksum of the archive.")] = None,
    overrides: Annotated[
        Path | None, typer.Option(help="File of values by dotted key, such as pilot/gpu.yaml.")
    ] = None,
    setting: Annotated[list[str] | None, typer.Option("-S", help="One more value, as KEY=VALUE.")] = None,
) -> None:
    """Run the pilot for some minutes; rerun to continue.

    Exit codes: 0: all done; 1: a step failed; 2: refused; 3: more to do; 130: interrupted.
    """
    end = time.monotonic() + minutes * 60
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it, and so would the steps
    values = read(overrides) if overrides else {}
    for key, found, text in (word.partition("=") for word in setting or []):
        if not found:
            raise UserError(f"-S {key}: has no value; write KEY=VALUE")
        values[key] = YAML(typ="safe", pure=True).load(text)
    write_params(folder / "params.yaml", values)
    os.environ["CURE_PILOT_IMAGES"] = str(unpack(archive, digest, folder).resolve())
    ordered = steps(read(ROOT / "pilot" / "dvc.yaml"), read(folder / "params.yaml"))
    try:
        code = go(ordered, folder, end)
    finally:
        if out is not None:
            pack(folder, out)
    raise typer.Exit(code)


if __name__ == "__main__":
    stage(main)
