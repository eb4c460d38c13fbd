"""Report the evidence's cost: `python -m pilot.took` writes pilot/evidence/took.md from the studies' steps.json."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from cure.reporting import markdown
from cure.runtime.terminal import stage
from cure.storage.files import write_text
from pilot.study import EVIDENCE

ABOUT = (
    "Core-hours: processor time of one core, as `python -m pilot.study` recorded it. Training that was interrupted and "
    "resumed is included, except for what came before a kill of `pilot.study` itself. A step that two studies share is "
    "counted in the one that ran it."
)


def steps(evidence: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Return study -> `FOLDER STEP` -> record of the step."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path in sorted(evidence.rglob("steps.json")):
        folder = path.parent.relative_to(evidence)
        for name, told in json.loads(path.read_text()).items():
            found.setdefault(folder.parts[0], {})[f"{folder} {name}"] = told
    return found


def devices(evidence: Path) -> list[str]:
    """Return the devices on which the studies ran, with the release of PyTorch."""
    told = [json.loads(path.read_text()) for path in evidence.rglob("provenance/**/*.json")]
    return sorted({f"{one['device']}, PyTorch {one['torch']}" for one in told})


def page(evidence: Path) -> str:
    """Return took.md: core-hours by study and stage."""
    found = steps(evidence)
    hours = {study: Counter[str]() for study in found}
    for study, told in found.items():
        for name, one in told.items():
            hours[study][name.split()[1]] += one.get("cpu", 0)
    stages = list(dict.fromkeys(stage for one in hours.values() for stage in one))
    body = []
    for study, one in hours.items():
        ran = sum("cpu" in told for told in found[study].values())
        cells = [f"{one[stage] / 3600:.2f}" if one[stage] else "" for stage in stages]
        body.append([study, ran, *cells, f"{one.total() / 3600:.2f}"])
    total = sum(one.total() for one in hours.values()) / 3600
    ruled = markdown.table(["Study", "Steps", *stages, "All"], body, left=(0,))
    where = f"{total:.1f} core-hours in all, on {'; '.join(devices(evidence))}."
    return "\n".join(["# Cost of the evidence", "", ABOUT, where, "", *ruled]) + "\n"


def main() -> None:
    """Write pilot/evidence/took.md."""
    write_text(EVIDENCE / "took.md", page(EVIDENCE))


if __name__ == "__main__":
    stage(main)
