"""attacks.md and attacks.csv: every attack column of every cell, with intervals; survival.csv: accuracy by distance."""

from typing import Any

import pandas as pd

from cure.core.names import NAMES, heading
from cure.evaluation.statistics import results
from cure.evaluation.statistics.intervals import wilson
from cure.reporting import markdown
from cure.reporting.place import place, setting
from cure.reporting.rows import read
from cure.settings.sections import AttackSuite
from cure.storage.paths import Cell

SHARES = [k / 20 for k in range(1, 21)]


def measured(cells: list[Cell]) -> pd.DataFrame:
    """One line per cell and column: images, correct ones, accuracy and NRR with their 95 % intervals; in percent."""
    return pd.DataFrame([line for cell in cells for line in _lines(cell)])


def _lines(cell: Cell) -> list[dict[str, Any]]:
    result = read(cell.result("attack"))
    lines = []
    for name in result["outcomes"]:
        correct, images, _ = results.counts(result, name)
        low, high = wilson(correct, images)
        about = result["columns"].get(name, {})
        numbers = {"accuracy": correct / images, "low": low, "high": high}
        if name != "clean":
            nrr_low, nrr_high = results.ratio_interval(result, name)
            numbers |= {"nrr": results.ratio(result, name), "nrr_low": nrr_low, "nrr_high": nrr_high}
        lines.append(
            {**place(cell), "column": name, "label": about.get("label", ""), "images": images, "correct": correct}
            | {key: round(100 * value, 2) for key, value in numbers.items()}
        )
    return lines


def survival(cells: list[Cell]) -> pd.DataFrame:
    """Per cell and norm: the perturbation at which accuracy on clean-correct images falls to each twentieth."""
    lines = []
    for cell in cells:
        result = read(cell.result("attack"))
        for name in results.minima(result):
            for share in SHARES:
                radius = results.quantile(result, name, share)
                lines.append({**place(cell), "column": name, "surviving": round(1 - share, 2), "radius": radius})
    return pd.DataFrame(lines, columns=[*place(cells[0]), "column", "surviving", "radius"])


def problems(cells: list[Cell]) -> list[str]:
    """What the evaluation of a cell found wrong with itself."""
    return [f"{cell.name}: {said}" for cell in cells for said in read(cell.result("attack"))["problems"]]


def notes(cells: list[Cell], suite: AttackSuite) -> list[str]:
    """What the table must say of its columns: which AutoAttack, and where fewer images were looked at."""
    said = []
    for name in suite.table:
        told = {setting(cell): _note(read(cell.result("attack")), name) for cell in cells}
        one = len(set(told.values())) == 1
        lines = {"": next(iter(told.values()))} if one else {f" on {where}": note for where, note in told.items()}
        said += [f"{heading(name)}{where}: {note}." for where, note in lines.items() if note]
    return said


def _note(result: results.Result, name: str) -> str:
    about, (_, images, _) = result["columns"][name], results.counts(result, name)
    which = [f"AutoAttack {about['label']} ({about['package']})"] if about["label"] else []
    return ", ".join(which + ([f"on {images} of these images"] if images < result["images"] else []))


def page(cells: list[Cell]) -> str:
    """attacks.md."""
    several = len({cell.seed for cell in cells}) > 1
    lines = [
        "# Every attack",
        "",
        "Percent of images that stay correctly classified, with the Wilson 95 % interval over images; NRR pairs each",
        "with clean accuracy on the same images, and its 95 % interval combines the Wilson intervals of clean accuracy",
        "and of the share of clean-correct images that survive (MOVER). `Worst` counts an image as correct only if",
        "nothing that was run broke it within eps; AutoAttack's number (AA) is its own. Smallest perturbations are",
        "upper bounds, over the images that are correct clean, in units of [0, 1].",
        *(["Each seed has lines of its own; means over seeds and their spread stand in table.md."] if several else []),
    ]
    for name in dict.fromkeys(map(setting, cells)):
        mine = [cell for cell in cells if setting(cell) == name]
        lines += ["", f"## {name}", "", *_accuracies(mine), "", *_minima(mine)]
    said = problems(cells)
    lines += ["", "## Problems of the evaluation", "", *(f"- {line}" for line in said or ["none found"])]
    return "\n".join(lines) + "\n"


def _accuracies(cells: list[Cell]) -> list[str]:
    head, rows = ["Method", "Seed", "Attack", "Images", "Accuracy", "95 %", "NRR", "95 %"], []
    for line in measured(cells).to_dict("records"):
        name = heading(line["column"]) + (f" ({line['label']})" if line["label"] else "")
        share = [f"{line['accuracy']:.2f}", f"{line['low']:.2f} to {line['high']:.2f}"]
        ratio = [f"{line['nrr']:.2f}", f"{line['nrr_low']:.2f} to {line['nrr_high']:.2f}"]
        method = NAMES.get(line["method"], line["method"])
        rows.append(
            [method, line["seed"], name, line["images"], *share, *(["", ""] if line["column"] == "clean" else ratio)]
        )
    return markdown.table(head, rows, left=range(3))


def _minima(cells: list[Cell]) -> list[str]:
    head = ["Method", "Seed", "Smallest perturbation", "Images", "Found", "Quartile", "Median", "Quartile"]
    rows: list[list[Any]] = []
    for cell in cells:
        result = read(cell.result("attack"))
        for name in results.minima(result):
            about = result["columns"][name]
            known = [d for d, row in zip(about["distances"], about["rows"], strict=True) if _clean(result, row)]
            share = sum(d is not None for d in known) / len(known) if known else 1.0
            spread = [f"{results.quantile(result, name, q):.4f}" for q in (0.25, 0.5, 0.75)]
            method = NAMES.get(cell.method, cell.method)
            rows.append([method, cell.seed, heading(name), len(known), f"{100 * share:.1f} %", *spread])
    return markdown.table(head, rows, left=range(3)) if rows else []


def _clean(result: results.Result, row: int) -> bool:
    return bool(result["outcomes"]["clean"][row] == "1")
