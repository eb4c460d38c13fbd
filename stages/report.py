"""Report: the table, metrics and figures of every cell that `grid` names.

Reads results/, curves/, provenance/ and claims.yaml. Writes reports/: table.md, claims.md (ours beside the papers'),
attacks.md (every attack, with intervals), corruptions.md, findings.md (what the papers say of their figures, and what
our data say), metrics.json, attacks, survival, curves, corruptions and findings as CSV, figures/ and, in data/, the
table behind each of them, all in git, and made.json, which remembers the commit and device the numbers were first made
with.
"""

import json
from pathlib import Path

from cure import catalogue
from cure.check import load
from cure.files import write_text
from cure.reporting import attacks, beside, claims, corrupted, figures, findings, made, rows, table
from cure.schema import AttackSuite, Grid, ReportText
from cure.terminal import stage

FOLDER = Path("reports")


def reads() -> list[str]:
    """The params that dvc.yaml declares for this stage."""
    return ["grid", "threat", "attack", "report"]


def main() -> None:
    """Rebuild reports/ from results/ and curves/ and print the table."""
    params = load(reads())
    grid, suite, text = params.get("grid", Grid), params.get("attack", AttackSuite), params.get("report", ReportText)
    lines = rows.measured(grid, suite)
    means = rows.over_seeds(lines, grid)
    history, found = rows.curves(grid), rows.corruptions(grid)
    cells = rows.cells(grid)
    note = made.note(cells)
    epochs = {rows.place(cell): str(made.epochs(cell) or "?") for cell in cells}
    eps = params.as_text()["threat"]["eps"]
    about = [
        f"Percent of {lines['images'].iloc[0]} test images; L-inf attacks with eps {eps}; seeds {grid.seeds}.",
        *attacks.notes(cells, suite),
        f"NRR: 2 n r / (n + r) of clean and {table.heading(suite.nrr)}, of unrounded values.",
        corrupted.note(found),
        "Epoch: the epoch of the evaluated network, chosen on the validation split, and the epochs trained.",
        f"Made at commit {note['commit']} on {', '.join(note['devices'])} with PyTorch {', '.join(note['torch'])}.",
    ]
    about += [f"Problem: {said}." for said in attacks.problems(cells)]
    body = table.rows(lines, means, epochs, suite)
    write_text(FOLDER / "table.md", table.markdown(body, text, suite, about))
    write_text(FOLDER / "metrics.json", json.dumps(rows.metrics(means), indent=1) + "\n")
    write_text(FOLDER / "attacks.md", attacks.page(cells))
    write_text(FOLDER / "attacks.csv", attacks.measured(cells).to_csv(index=False))
    write_text(FOLDER / "survival.csv", attacks.survival(cells).to_csv(index=False))
    write_text(FOLDER / "curves.csv", history.round(6).to_csv(index=False))
    write_text(FOLDER / "corruptions.csv", corrupted.lines(found).round(2).to_csv(index=False))
    write_text(FOLDER / "corruptions.md", corrupted.page(found, rows.methods(grid)))
    trained = {place: f"{count} epochs, {', '.join(note['devices'])}" for place, count in epochs.items()}
    published = claims.load(catalogue.ROOT.parent / "claims.yaml")
    write_text(FOLDER / "claims.md", beside.page(means, published, suite, trained))
    concluded = findings.table(text.figures, grid)
    write_text(FOLDER / "findings.md", findings.page(concluded))
    write_text(FOLDER / "findings.csv", concluded.to_csv(index=False))
    left_out = figures.draw(FOLDER / "figures", FOLDER / "data", text.figures, grid)
    table.show(FOLDER / "table.md")
    for name, reason in left_out.items():
        print(f"report: figure {name} left out: {reason}")
    print(f"report: {FOLDER.resolve() / 'table.md'}")


if __name__ == "__main__":
    stage(main)
