"""Record the commit, the devices and the software that first produced the numbers of a report, in reports/made.json.

The note is kept while the digest of the results is unchanged, so that reproducing a committed report changes no byte.
As soon as a number differs, the note is rewritten with the current commit.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from cure import catalogue
from cure.reporting.results import Results
from cure.storage.files import read_bytes, write_text
from cure.storage.paths import Run
from cure.storage.records import Record, parse

NOTE = Path("reports/made.json")


class Note(Record):
    """The digest of the results, and the commit, devices and PyTorch versions that first produced them."""

    results: str
    commit: str
    devices: list[str]
    torch: list[str]


def note(results: Results) -> dict[str, Any]:
    """Return commit, devices and software behind the results: the recorded ones if the digest is unchanged."""
    try:
        known = parse(Note, read_bytes(NOTE))
        if known.results == results.digest:
            return known.document()
    except (OSError, ValueError):
        pass  # missing or not readable as a note: it is rewritten
    sidecars = [results.sidecar(run, stage) for run in results.runs for stage in ("pretrain", "update", "attack")]
    facts = [side for side in sidecars if side]
    fresh = {
        "results": results.digest,
        "commit": commit(),
        "devices": sorted({side.device for side in facts}),
        "torch": sorted({side.torch for side in facts}),
    }
    write_text(NOTE, json.dumps(fresh, indent=1) + "\n")
    return fresh


def epochs(results: Results, run: Run) -> int | None:
    """Return the epochs of training, or of fine-tuning if the run has no training; None if no file records them."""
    for stage in ("pretrain", "update", "revise"):
        if side := results.sidecar(run, stage):
            return side.epochs
    return None


def commit() -> str:
    """Return the commit of the code, with `+ changes` if code or settings differ from it."""
    root = catalogue.ROOT.parent
    sources = [str(root / name) for name in ("cure", "stages", "uv.lock")] + ["params.yaml", "dvc.yaml"]
    head = _git("rev-parse", "--short=12", "HEAD")
    if head is None:
        return "unknown (no git)"
    return head + (" + changes" if _git("status", "--porcelain", "--", *sources) else "")


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
