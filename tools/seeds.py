"""Measure how far robust accuracy moves over seeds in the quickstart: `python -m tools.seeds`, `make seeds`.

It trains and attacks a few methods with five seeds in a clone of the last commit. It writes
quickstart/reports/seeds.csv, from which the report of one seed states the deviation between seeds.
"""

import csv
import io
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from ruamel.yaml import YAML

from cure.evaluation.statistics.contradictions import parse_attack
from cure.pipeline.code_texts import search_path
from cure.reporting.comparison.seeds import COLUMNS
from cure.storage.files import write_text
from cure.storage.paths import Run

ROOT = Path(__file__).parents[1]
SEEDS = [0, 1, 2, 3, 4]
GRID = {"update": ["at", "trades"], "update_from_natural_to_revise": ["cure"]}
STAGES = [f"attack_{family}" for family in ("natural", *GRID)]


def reduced(path: Path) -> None:
    """Reduce the grid of a params.yaml to the methods to measure, with all seeds."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(path.read_text(encoding="utf-8"))
    families = [key for key in params["grid"] if key.startswith(("update", "revise", "analyse"))]
    params["grid"] |= {key: [] for key in families} | GRID | {"seeds": SEEDS, "pretrain": params["grid"]["models"]}
    params["grid"]["layers"]["models"] = []
    out = io.StringIO()
    yaml.dump(params, out)
    write_text(path, out.getvalue())


def measured(results: Path) -> pd.DataFrame:
    """Return a line per result and column, with the accuracy in percent."""
    lines = list[dict[str, object]]()
    for path in sorted(results.rglob("*-attack.json")):
        run, shares = asdict(Run.of_result(path)), parse_attack(path.read_bytes()).shares()
        lines += [run | {"column": name, "hit": 100 * share} for name, share in shares.items()]
    return pd.DataFrame(lines)


def main() -> None:
    """Clone, train, attack, and write the sample standard deviations, in points."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with TemporaryDirectory(prefix="cure-seeds-") as place:
        subprocess.run(["git", "clone", "-q", str(ROOT), place], check=True)
        folder = Path(place) / "quickstart"
        reduced(folder / "params.yaml")
        command = [sys.executable, "-m", "dvc", "--cd", str(folder), "repro", *STAGES]
        subprocess.run(command, env=os.environ | {"PATH": search_path()}, check=True)
        found = measured(folder / "results")
    by = found.groupby(["dataset", "model", "method", "column"], sort=False)["hit"]
    table = by.agg(seeds="count", deviation="std").reset_index().assign(commit=commit.stdout.strip())
    table = table[(table["method"] != "natural") & (table["seeds"] == len(SEEDS))]
    text = table[COLUMNS].to_csv(index=False, float_format="%.3f", quoting=csv.QUOTE_MINIMAL)
    write_text(ROOT / "quickstart" / "reports" / "seeds.csv", text)


if __name__ == "__main__":
    main()
