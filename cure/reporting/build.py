"""reports/, whole, from what lies in results/, curves/ and provenance/."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from cure import catalogue
from cure.core.names import heading
from cure.errors import UserError
from cure.reporting import (
    attacks,
    beside,
    claims,
    corrupted,
    figures,
    findings,
    layers,
    made,
    overfitting,
    page,
    pairs,
    rows,
    table,
)
from cure.reporting.results import Results, load_results, methods
from cure.settings.params import Params
from cure.settings.sections import AttackSuite, Grid, ReportText
from cure.storage.files import write_text

FOLDER = Path("reports")
READS = ["grid", "threat", "attack", "report"]


def build(params: Params) -> dict[str, str]:
    """Write every page, table, figure and metric of the folder we are in; figures left out, with the reason."""
    grid, suite, text = params.get("grid", Grid), params.get("attack", AttackSuite), params.get("report", ReportText)
    results = load_results(grid)
    require(results)
    lines = rows.measured(results)
    means = rows.over_seeds(lines, grid)
    attacked, curves = attacks.measured(results.attacks), rows.curves(results)
    outcomes = {run: result.outcomes for run, result in results.attacks.items()}
    told, overfit = pairs.compared(outcomes, ["clean", *suite.table]), overfitting.epochs(curves)
    ends = ["clean", *suite.last] if suite.last else []
    concluded = findings.table(text.figures, results)
    note = made.note(results)
    epochs = {rows.key(run): str(made.epochs(results, run) or "?") for run in results.runs}
    trained = {row: f"{count} epochs, {', '.join(note['devices'])}" for row, count in epochs.items()}
    published = claims.load(catalogue.ROOT.parent / "claims.yaml")
    about = facts(params, results, note)
    body = table.rows(lines, means, attacked, pairs.marks(told), epochs, suite)
    pages = {
        "table": table.markdown(body, text, suite, about),
        "findings": findings.page(concluded),
        "claims": beside.page(lines, published, suite, trained, about[0]),
        "pairs": pairs.page(told, text.against),
        "overfitting": overfitting.page(overfit, lines, ends),
        "corruptions": corrupted.page(results.corruptions, methods(grid)),
        "attacks": attacks.page(results.attacks),
    }
    lists = {
        "table": lines.round(2),
        "findings": concluded,
        "pairs": pairs.rounded(told),
        "overfitting": overfitting.both(overfit, lines, ends).round(2),
        "curves": curves.round(6),
        "corruptions": corrupted.lines(results.corruptions).round(2),
        "attacks": attacked,
        "survival": attacks.survival(results.attacks),
    }
    _write(pages, lists)
    write_text(FOLDER / "metrics.json", json.dumps(rows.metrics(means, suite), indent=1) + "\n")
    left_out = figures.draw(FOLDER / "figures", FOLDER / "data", text.figures, results)
    del pages["table"]
    write_text(FOLDER / "index.html", page.page(text, table.head(suite), body, about, FOLDER, pages))
    return left_out


def _write(pages: dict[str, str], lists: dict[str, pd.DataFrame]) -> None:
    for name, content in pages.items():
        write_text(FOLDER / f"{name}.md", content)
    for name, lines in lists.items():
        write_text(FOLDER / f"{name}.csv", lines.to_csv(index=False))


def require(results: Results) -> None:
    """Refuses with every result and curve that is missing."""
    grid = results.grid
    wanted = [path for run in results.runs for path in (run.result("attack"), run.result("corrupt"))]
    wanted += [run.result("revise") for run in results.of(grid.revised)]
    wanted += [run.result("layers") for _, run in layers.runs(grid)]
    wanted += [run.analyses for run in results.of(grid.analyse)]
    wanted += [run.curve for run in results.trained]
    missing = [str(path) for path in wanted if not path.exists()]
    if missing:
        listed = "\n".join(f"  {path}" for path in missing)
        raise UserError(f"{len(missing)} of {len(wanted)} results are not there yet; `dvc repro` makes them:\n{listed}")


def facts(params: Params, results: Results, note: dict[str, Any]) -> list[str]:
    """What the table says below itself: what was measured on what, how to read it, and what is wrong with it."""
    grid, suite = params.get("grid", Grid), params.get("attack", AttackSuite)
    threat, images = params.as_text()["threat"], results.attacks[results.runs[0]].images
    ball = f"eps {threat['eps']}, step {threat['step']}"
    several = f" (mean ± sample standard deviation of {len(grid.seeds)})" if len(grid.seeds) > 1 else ""
    shown = ", ".join(map(heading, ["clean", *suite.table]))
    return [
        f"Percent of {images} test images; L-inf attacks with {ball}; seeds {grid.seeds}{several}.",
        *attacks.notes(results.attacks, suite),
        f"Bold: the best under {shown}; †: not told apart from it by a paired test on the same images (pairs.md).",
        f"NRR: 2 n r / (n + r) of clean and {heading(suite.nrr)}, of unrounded values.",
        corrupted.note(results.corruptions),
        *(
            f"{heading(name)}, last: of the last epoch's network, and its difference (overfitting.md)."
            for name in suite.last[:1]
        ),
        "Epoch: the epoch of the evaluated network, chosen on the validation split, and the epochs trained.",
        f"Made at commit {note['commit']} on {', '.join(note['devices'])} with PyTorch {', '.join(note['torch'])}.",
        *(f"Problem: {said}." for said in attacks.problems(results.attacks)),
    ]


def show(left_out: dict[str, str]) -> None:
    """Print the table, which figures were left out and why, and where the page lies."""
    table.show(FOLDER / "table.md")
    for name, reason in left_out.items():
        print(f"report: figure {name} left out: {reason}")
    print(f"report: {FOLDER.resolve() / 'index.html'}")
