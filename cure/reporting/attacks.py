"""Report every attack column of every run with intervals (attacks.md, attacks.csv), and survival.csv.

survival.csv holds the perturbation sizes at which accuracy falls to given shares of the clean-correct images.
"""

from math import inf
from typing import Any

import pandas as pd

from cure.core.names import NAMES
from cure.evaluation.statistics.headings import headings
from cure.evaluation.statistics.intervals import wilson
from cure.evaluation.statistics.results import RunAttackResult
from cure.reporting import markdown
from cure.reporting.results import AttackResults, not_whole, place, setting
from cure.settings.sections import AttackSuite
from cure.storage.paths import Run

SHARES = [k / 20 for k in range(1, 21)]


def refuse_other(attacks: AttackResults, suite: AttackSuite) -> None:
    """Raise UserError for results that lack a column of the table, or differ in number of images within a setting."""
    for run, result in attacks.items():
        wanted = dict.fromkeys(["clean", *suite.table, suite.nrr, "worst"])
        missing = [name for name in wanted if name not in result.outcomes]
        missing += [name for name in suite.last if result.last and name not in result.last.outcomes]
        if missing:
            raise not_whole(run.result("attack"), f"it has no column {', '.join(missing)}")
        others = next(other.images for place, other in attacks.items() if setting(place) == setting(run))
        if result.images != others:
            raise not_whole(run.result("attack"), f"it is about {result.images} images, others about {others}")


def measured(attacks: AttackResults) -> pd.DataFrame:
    """Return a line per run and column: images, correct images, accuracy and NRR in percent with 95 % intervals."""
    return pd.DataFrame([line for run, result in attacks.items() for line in _lines(run, result)])


def _lines(run: Run, result: RunAttackResult) -> list[dict[str, Any]]:
    lines = []
    for name in result.outcomes:
        correct, images, _ = result.counts(name)
        low, high = wilson(correct, images)
        label = result.columns[name].label if name in result.columns else ""
        numbers = {"accuracy": correct / images, "low": low, "high": high}
        if name != "clean":
            nrr_low, nrr_high = result.ratio_interval(name)
            numbers |= {"nrr": result.ratio(name), "nrr_low": nrr_low, "nrr_high": nrr_high}
        lines.append(
            {**place(run), "column": name, "label": label, "images": images, "correct": correct}
            | {key: round(100 * value, 2) for key, value in numbers.items()}
        )
    return lines


def survival(attacks: AttackResults) -> pd.DataFrame:
    """Return, per run and norm, the perturbation size that leaves 95 %, 90 %, ... 0 % of the clean-correct images."""
    lines = []
    for run, result in attacks.items():
        for name in result.minima:
            for share in SHARES:
                radius = result.quantile(name, share)
                lines.append({**place(run), "column": name, "surviving": round(1 - share, 2), "radius": radius})
    return pd.DataFrame(lines, columns=["setting", "method", "seed", "column", "surviving", "radius"])


def problems(attacks: AttackResults) -> list[str]:
    """Return the problems that the evaluations found in their own results, with the name of the run."""
    return [f"{run.name}: {said}" for run, result in attacks.items() for said in result.problems]


def notes(attacks: AttackResults, suite: AttackSuite) -> list[str]:
    """Return the notes below the table: version of AutoAttack, columns on fewer images, precision of the attacks."""
    used = {result.precision for result in attacks.values()} - {"fp32"}
    titled = headings(attacks.values())
    said = [
        f"Attacks computed in {name}; their results were verified on the networks in fp32." for name in sorted(used)
    ]
    for name in suite.table:
        told = {setting(run): _note(result, name) for run, result in attacks.items()}
        one = len(set(told.values())) == 1
        lines = {"": next(iter(told.values()))} if one else {f" on {where}": note for where, note in told.items()}
        said += [f"{titled(name)}{where}: {note}." for where, note in lines.items() if note]
    return said


def _note(result: RunAttackResult, name: str) -> str:
    about, images = result.columns[name], result.counts(name).images
    which = [f"AutoAttack {about.label} ({about.package})"] if about.label else []
    return ", ".join(which + ([f"on {images} of these images"] if images < result.images else []))


def page(attacks: AttackResults) -> str:
    """Return attacks.md: accuracies, NRR and smallest perturbations of every setting, then problems."""
    several = len({run.seed for run in attacks}) > 1
    lines = [
        "# Every attack",
        "",
        "Percent of images that stay correctly classified, with the Wilson 95 % interval over images. NRR combines",
        "each with clean accuracy on the same images; its 95 % interval combines the Wilson intervals of clean",
        "accuracy and of the share of clean-correct images that survive (MOVER). `Worst` counts an image as correct",
        "only if no attack that was run broke it within eps; AutoAttack's number (AA) is its own. Smallest",
        "perturbations are upper bounds, over the images that are correct clean, in units of [0, 1].",
        *(["Each seed has lines of its own; means over seeds and their spread are in table.md."] if several else []),
    ]
    for name in dict.fromkeys(map(setting, attacks)):
        mine = {run: result for run, result in attacks.items() if setting(run) == name}
        lines += ["", f"## {name}", "", *_accuracies(mine), "", *_minima(mine)]
    said = problems(attacks)
    lines += ["", "## Problems of the evaluation", "", *(f"- {line}" for line in said or ["none found"])]
    return "\n".join(lines) + "\n"


def _accuracies(attacks: AttackResults) -> list[str]:
    head, rows = ["Method", "Seed", "Attack", "Images", "Accuracy", "95 %", "NRR", "95 %"], []
    titled = headings(attacks.values())
    for line in measured(attacks).to_dict("records"):
        name = titled(line["column"]) + (f" ({line['label']})" if line["label"] else "")
        share = [f"{line['accuracy']:.2f}", f"{line['low']:.2f} to {line['high']:.2f}"]
        ratio = [f"{line['nrr']:.2f}", f"{line['nrr_low']:.2f} to {line['nrr_high']:.2f}"]
        method = NAMES.get(line["method"], line["method"])
        rows.append(
            [method, line["seed"], name, line["images"], *share, *(["", ""] if line["column"] == "clean" else ratio)]
        )
    return markdown.table(head, rows, left=range(3))


def _minima(attacks: AttackResults) -> list[str]:
    head = ["Method", "Seed", "Smallest perturbation", "Images", "Found", "Quartile", "Median", "Quartile"]
    rows: list[list[Any]] = []
    titled = headings(attacks.values())
    for run, result in attacks.items():
        for name in result.minima:
            known = result.distances(name)
            share = sum(d < inf for d in known) / len(known) if known else 1.0
            spread = [f"{result.quantile(name, q):.4f}" for q in (0.25, 0.5, 0.75)]
            method = NAMES.get(run.method, run.method)
            rows.append([method, run.seed, titled(name), len(known), f"{100 * share:.1f} %", *spread])
    return markdown.table(head, rows, left=range(3)) if rows else []
