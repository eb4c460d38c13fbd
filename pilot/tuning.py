"""Report the choices of equal tuning: `python -m pilot.tuning` writes pilot/tuned.yaml and pilot/evidence/tuning.md.

Each method of tier 1 has four configurations: two values of each of two settings (pilot/studies/tuning.yaml). They are
compared on the validation split alone. The best one has the highest NRR = 2 n r / (n + r) of the evaluated network's
clean accuracy n and PGD-10 accuracy r. For natural training, whose r is near 0, it has the highest n.
"""

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from cure.core.names import NAMES
from cure.errors import UserError
from cure.evaluation.statistics.intervals import nrr
from cure.evaluation.statistics.results import parse_rift
from cure.reporting import markdown
from cure.runtime.terminal import stage
from cure.settings.params import read
from cure.storage.files import replacing, write_text
from pilot.pipeline import ROOT
from pilot.study import EVIDENCE, STUDIES, overlays

TUNED = ROOT / "pilot" / "tuned.yaml"
COMMON = "train."  # prefix of settings of the common schedule, which a method overrides under `matched`


@dataclass(frozen=True)
class Configuration:
    """A variant: its own settings, and the validation accuracies of its evaluated network, in [0, 1]."""

    name: str
    settings: dict[str, Any]
    clean: float
    pgd: float

    @property
    def method(self) -> str:
        """Return the method of a configuration: trades for trades-3."""
        return self.name.rpartition("-")[0]

    @property
    def score(self) -> float:
        """Return the number that is maximised, in [0, 1]."""
        return self.clean if self.method == "natural" else nrr(self.clean, self.pgd)


def accuracies(folder: Path, method: str) -> tuple[float, float]:
    """Return clean and PGD accuracy of the evaluated network on the validation split, in [0, 1]."""
    where = Path("folder") / "small_resnet"
    report = folder / "results" / where / f"{method}-s0-revise.json"
    if report.exists() and (rift := parse_rift(report.read_text())):
        walk = rift.interpolation[rift.bn]
        point = walk.points[round(10 * walk.a)]
        return point.clean, point.pgd
    curve = pd.read_csv(folder / "curves" / where / f"{method}-s0.csv").dropna(subset=["val_pgd"])
    row = curve.iloc[-1 if method == "natural" else int(curve["val_pgd"].argmax())]
    return float(row["val_clean"]), float(row["val_pgd"])


def configurations(study: dict[str, Any], place: Path) -> list[Configuration]:
    """Read every variant; raise UserError if one does not exist yet."""
    found = []
    for name, values in study["variants"].items():
        own = {key: value for key, value in values.items() if not key.startswith("grid.")}
        try:
            found.append(Configuration(name, own, *accuracies(place / name, name.rpartition("-")[0])))
        except FileNotFoundError as problem:
            raise UserError(f"{problem.filename}: does not exist yet; run `python -m pilot.study`") from None
    return found


def best(found: list[Configuration]) -> dict[str, Configuration]:
    """Return the best configuration of each method; if tied, the first."""
    methods = dict.fromkeys(one.method for one in found)
    return {name: max((one for one in found if one.method == name), key=lambda one: one.score) for name in methods}


def section(method: str, params: dict[str, Any]) -> str:
    """Return the section that holds the method's `matched`."""
    return f"methods.{method}.update" if "update" in params["methods"][method] else f"methods.{method}"


def values(chosen: dict[str, Configuration], params: dict[str, Any]) -> dict[str, Any]:
    """Return dotted key of pilot/params.yaml -> chosen value."""
    found = dict[str, Any]()
    for method, one in chosen.items():
        own = {key.removeprefix(COMMON): value for key, value in one.settings.items() if key.startswith(COMMON)}
        if own:
            found[f"{section(method, params)}.matched"] = {"train": own}
        found |= {key: value for key, value in one.settings.items() if not key.startswith(COMMON)}
    return found


def page(found: list[Configuration], chosen: dict[str, Configuration], images: int, epochs: int) -> str:
    """Return tuning.md: every configuration with its accuracies, and a mark for the chosen ones."""
    body = []
    for one in found:
        numbers = [f"{100 * share:.1f}" for share in (one.clean, one.pgd, one.score)]
        settings = ", ".join(f"`{key}` {value:g}" for key, value in one.settings.items())
        mark = "chosen" if chosen[one.method] is one else ""
        body.append([NAMES.get(one.method, one.method), settings, *numbers, mark])
    worst = 100 * sqrt(0.25 / images)
    about = (
        f"Written by `python -m pilot.tuning`. Percent of {images} validation images; one seed; {epochs} epochs. "
        "Score: NRR of clean and PGD-10, of natural training the clean accuracy. One accuracy has a standard error "
        f"of up to {worst:.1f} points, so neighbours are often not told apart: the rule takes the highest score all "
        "the same, and the same for every method. The cost is in took.md."
    )
    head = ["Method", "Configuration", "Clean", "PGD-10", "Score", ""]
    return "\n".join(["# Equal tuning", "", about, "", *markdown.table(head, body, left=(0, 1, 5))]) + "\n"


def main() -> None:
    """Write the choices, and the page of all configurations."""
    study, place = read(STUDIES / "tuning.yaml"), EVIDENCE / "tuning"
    found = configurations(study, place)
    chosen = best(found)
    params = read(ROOT / "pilot" / "params.yaml")
    images, epochs = (overlays(study)[key] for key in ("datasets.folder.validation", "train.epochs"))
    write_text(place / "tuning.md", page(found, chosen, images, epochs))
    with replacing(TUNED) as draft:
        draft.write_text("# Chosen by `python -m pilot.tuning`, by dotted key of pilot/params.yaml; not for editing.\n")
        with draft.open("a") as file:
            YAML().dump(values(chosen, params), file)


if __name__ == "__main__":
    stage(main)
