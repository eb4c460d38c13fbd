"""Build the folder reports/ from results/, curves/ and provenance/."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from cure.core.names import RECONSTRUCTIONS, heading
from cure.errors import UserError
from cure.evaluation.statistics.headings import headings
from cure.published import claims
from cure.published.attacks import columns
from cure.reporting import (
    acceptance,
    attacks,
    beside,
    corrupted,
    costs,
    figures,
    findings,
    layers,
    made,
    overfitting,
    rows,
    table,
)
from cure.reporting.comparison import pairs, pairs_page, ranks, seeds
from cure.reporting.comparison.samples import sampled
from cure.reporting.html import page
from cure.reporting.results import Results, every_row, load_results, methods, setting
from cure.settings.params import Params
from cure.settings.sections import AttackSuite, Grid, ReportText, Roles, Threat
from cure.storage.files import write_text

FOLDER = Path("reports")
READS = ["grid", "roles", "threat", "attack", "report"]


def build(params: Params, whole: bool = True) -> list[str]:
    """Write every page, table, figure and metric of the working folder; return a line for each missing part.

    Raises UserError if `whole` and any result is missing. Otherwise a row with missing results gets empty cells and its
    estimated cost in GPU-hours.
    """
    grid, suite, text = params.get("grid", Grid), params.get("attack", AttackSuite), params.get("report", ReportText)
    results, files = load_results(grid, whole, params.get("roles", Roles).robust), wanted(grid)
    missing = [path for path in files if not path.exists()]
    counted = f"{len(missing)} of {len(files)} results are not there yet"
    if whole and missing:
        raise UserError(f"{counted}; `dvc repro` makes them:\n" + "\n".join(f"  {path}" for path in missing))
    attacks.refuse_other(results.attacks, suite)
    corrupted.refuse_other(results.corruptions)
    expected = costs.load(FOLDER / "costs.csv")
    todo = table.to_do(results, expected)
    note = made.note(results) if results.runs else {}
    about = facts(params, results, note, lacking(todo, expected))
    published = claims.load(claims.path())
    settings = list(dict.fromkeys(map(setting, every_row(grid))))
    threat = params.get("threat", Threat)
    ours = beside.Ours(settings, about[0], todo, columns(suite.columns, threat.eps, threat.step))
    left_out = dict[str, str]()
    if results.runs:
        left_out = measured(params, results, note, published, ours, about)
    else:
        body = table.with_rows_to_do([], grid, suite, todo)
        head = table.head(suite, heading)
        pages = {"table": table.markdown(body, text, head, about)}
        pages["claims"] = beside.page(pd.DataFrame(), published, {}, ours)
        figures.draw_none(FOLDER / "figures", text.figures, "no run of this grid is finished yet")
        lines = pd.DataFrame(columns=["setting", "method", "seed"])
        _write(pages, {"table": lines}, {}, page.Head(text, head, body, about, _root(params)), page.Measured())
    said = [f"figure {name} left out: {reason}" for name, reason in left_out.items()]
    return said + ([f"{counted}, such as {missing[0]}; `dvc repro` makes them"] if missing else [])


def measured(
    params: Params,
    results: Results,
    note: dict[str, Any],
    published: claims.Published,
    ours: beside.Ours,
    about: list[str],
) -> dict[str, str]:
    """Write the report of the rows that were run; return each figure that was left out, with the reason."""
    grid, suite, text = params.get("grid", Grid), params.get("attack", AttackSuite), params.get("report", ReportText)
    lines = rows.measured(results)
    means = rows.over_seeds(lines, grid)
    attacked, curves = attacks.measured(results.attacks), rows.curves(results)
    titled = headings(results.attacks.values())
    ends = {name: titled(name) for name in ("clean", *suite.last)} if suite.last else {}
    told, ranked, comparing = compared(results, suite, text.against)
    overfit = overfitting.epochs(curves)
    accepted = acceptance.table(published, results, ours.columns)
    concluded = pd.concat([findings.table(text.figures, results, suite), accepted], ignore_index=True)
    epochs = {rows.key(run): str(made.epochs(results, run) or "?") for run in results.runs}
    trained = {row: f"{count} epochs, {', '.join(note['devices'])}" for row, count in epochs.items()}
    body = table.rows(lines, means, attacked, pairs.marks(told), epochs, suite)
    body = table.with_rows_to_do(body, grid, suite, ours.todo) if ours.todo else body
    head = table.head(suite, titled)
    pages = {
        "table": table.markdown(body, text, head, about),
        "findings": findings.page(concluded, len(grid.seeds)),
        "claims": beside.page(lines, published, trained, ours),
        **comparing,
        "overfitting": overfitting.page(overfit, lines, ends),
        "corruptions": corrupted.page(results.corruptions, methods(grid)),
        "attacks": attacks.page(results.attacks),
    }
    lists = {
        "table": lines.round(2),
        "findings": concluded,
        "pairs": pairs.rounded(told),
        "ranks": ranked,
        "overfitting": overfitting.both(overfit, lines, list(ends)).round(2),
        "curves": curves.round(6),
        "corruptions": corrupted.lines(results.corruptions).round(2),
        "attacks": attacked,
        "survival": attacks.survival(results.attacks),
    }
    folders = figures.Folders(FOLDER / "figures", FOLDER / "pdf", FOLDER / "data")
    left_out, dark = figures.draw(folders, text.figures, results, suite)
    titles = {name: titled(name) for name in told["column"].unique()}
    shown = page.Measured(results.attacks, told, titles, dark)
    _write(pages, lists, rows.metrics(means, suite), page.Head(text, head, body, about, _root(params)), shown)
    return left_out


def compared(
    results: Results, suite: AttackSuite, against: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Return the comparisons of all pairs (pairs.csv), the ranks (ranks.csv), and the Markdown pages of both."""
    titled = headings(results.attacks.values())
    columns, nrr = ["clean", *suite.table], f"nrr_{suite.nrr}"
    outcomes = {run: result.outcomes for run, result in results.attacks.items()}
    methods_of = sampled(outcomes, columns, suite.nrr, results.starts)
    told, ranked = pairs.compared(outcomes, columns, methods_of), ranks.table(methods_of)
    titles = {name: titled(name) for name in (*columns, nrr)}
    pages = {
        "pairs": pairs_page.page(told, methods_of, against, titles),
        "ranks": ranks.page(ranked, titles),
    }
    return told, ranked, pages


def _write(
    pages: dict[str, str],
    lists: dict[str, pd.DataFrame],
    metrics: dict[str, Any],
    head: page.Head,
    shown: page.Measured,
) -> None:
    for name, content in pages.items():
        write_text(FOLDER / f"{name}.md", content)
    for name, lines in lists.items():
        write_text(FOLDER / f"{name}.csv", lines.to_csv(index=False))
    write_text(FOLDER / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    del pages["table"]
    write_text(FOLDER / "index.html", page.page(head, shown, FOLDER, pages))


def _root(params: Params) -> str:
    """Return `root` of params.yaml, which dvc.yaml writes into the command of every stage."""
    return str(params.raw.get("root", "."))


def wanted(grid: Grid) -> list[Path]:
    """Return every result file that a complete report requires."""
    whole = load_results(grid)
    return [
        *(path for row in whole.rows for path in whole.wanted(row)),
        *(run.result("layers") for _, run in layers.runs(whole)),
    ]


def lacking(todo: dict[tuple[str, str], str], expected: costs.Costs) -> list[str]:
    """Return the line below the table that counts the rows that were not run; empty if all were."""
    hours = f"; GPU-hours of all seeds, as `cure plan` estimates them at {expected.tflops:g} TFLOP/s"
    return [f"Not run yet: {len(todo)} rows{hours if expected.hours else ''}."] if todo else []


def facts(params: Params, results: Results, note: dict[str, Any], todo: list[str]) -> list[str]:
    """Return the facts below the table: images, threat model, seeds, how to read it, origin, and problems."""
    if not results.runs:
        return ["No run of this grid is finished yet.", *todo]
    grid, suite = params.get("grid", Grid), params.get("attack", AttackSuite)
    threat, images = params.as_text()["threat"], results.attacks[results.runs[0]].images
    ball = f"eps {threat['eps']}, step {threat['step']}"
    several = f" (mean ± sample standard deviation of {len(grid.seeds)})" if len(grid.seeds) > 1 else ""
    titled = headings(results.attacks.values())
    shown = ", ".join(map(titled, ["clean", *suite.table]))
    return [
        f"Percent of {images} test images; L-inf attacks with {ball}; seeds {grid.seeds}{several}.",
        *(said for method, said in RECONSTRUCTIONS.items() if method in {run.method for run in results.runs}),
        *attacks.notes(results.attacks, suite),
        unit(len(grid.seeds), f"{shown}, NRR"),
        *(seeds.told(FOLDER / "seeds.csv", suite.table[0], titled(suite.table[0])) if len(grid.seeds) == 1 else []),
        f"NRR: 2 n r / (n + r) of clean and {titled(suite.nrr)}, of unrounded values.",
        corrupted.note(results.corruptions),
        *(
            f"{titled(name)}, last: of the last epoch's network, and its difference (overfitting.md)."
            for name in suite.last[:1]
        ),
        "Epoch: the epoch of the evaluated network, chosen on the validation split, and the epochs trained; "
        f"{table.EARLIER}: the method's release evaluates the last epoch.",
        f"Made at commit {note['commit']} on {', '.join(note['devices'])} with PyTorch {', '.join(note['torch'])}.",
        *todo,
        *(f"Problem: {problem}." for problem in attacks.problems(results.attacks)),
    ]


def unit(seeds: int, shown: str) -> str:
    """Return a sentence on what marks and intervals compare: methods if there are several seeds, else networks."""
    if seeds == 1:
        return (
            "One seed: each row is a single network, none is marked as better than another, and intervals (index.html) "
            "are over images alone; `grid.seeds` with several seeds compares methods."
        )
    return (
        f"Bold: the best under {shown}; †: not told apart from it. The unit is the method: tests and 95 % intervals "
        "cover other images and other training runs (two-level model, pairs.md and ranks.md); ± is not an interval."
    )


def show(said: list[str]) -> None:
    """Print the missing parts of the report, with the reasons."""
    for line in said:
        print(f"report: {line}")
