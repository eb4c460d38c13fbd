"""Write the files of an evaluation: results.json, per_image.csv and x_adv.pt, each whole or not at all."""

import csv
import io
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from cure.core.corruption import BENCHMARK
from cure.evaluation.standalone import beside
from cure.evaluation.standalone.measure import Evaluation
from cure.evaluation.statistics.results import CorruptResult
from cure.runtime.version import version
from cure.settings.base import Norm
from cure.settings.sections import ThreatModel
from cure.storage.files import replacing, write_text


def write(found: Evaluation, folder: Path) -> None:
    """Write all three files in `folder`."""
    keys = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in document(found).items())
    write_text(folder / "results.json", f"{{\n{keys}\n}}\n")
    write_text(folder / "per_image.csv", per_image(found))
    buffer = io.BytesIO()
    torch.save(found.adversarial(), buffer)
    with replacing(folder / "x_adv.pt") as draft:
        draft.write_bytes(buffer.getbuffer())


def threat(found: ThreatModel) -> str:
    """Return the threat model as text: Linf, eps 8/255, or L2, eps 0.5, step 0.0586."""
    step = f", step {found.step:.3g}" if found.norm == "l2" else ""  # no file records it
    return f"{THREATS[found.norm]}, eps {radius(found.eps)}{step}"


def radius(eps: float) -> str:
    """Return a radius as RobustBench writes it: 8/255 for grey levels; 0.5 and 1 in L2."""
    levels = eps * 255
    return f"{round(levels)}/255" if eps < 1 and abs(levels - round(levels)) < 1e-6 else f"{eps:g}"


THREATS: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}
"""RobustBench's names."""


def document(found: Evaluation) -> dict[str, Any]:
    """Return RobustBench's fields (strings, percent with two decimals; null if only an author knows), then cure's."""
    about, subject, images = found.subject.about, found.subject, found.images
    told = {name: column.label for name, column in found.result.columns.items()}
    strong = [name for name, label in told.items() if label in ("standard", "standard, tf32")]  # as its authors run it
    entry = {
        "link": None,
        "name": subject.name,
        "authors": None,
        "additional_data": None,
        "number_forward_passes": "1",
        "dataset": images.name,
        "venue": None,
        "architecture": about.model if about else type(subject.net).__name__,
        "eps": radius(found.plan.threat.eps),
        "clean_acc": f"{100 * _clean(found, strong[0] if strong else 'clean'):.2f}",
        "reported": None,
        "autoattack_acc": f"{100 * found.accuracy(strong[0]):.2f}" if strong else None,
    }
    if found.corrupted and _is_whole(found.corrupted):
        entry["corruptions_acc"] = f"{100 * (found.corrupted_accuracy or 0):.2f}"
    ours = {
        "subject": subject.name,
        "notes": subject.notes,
        "data": images.name,
        "data_digest": images.digest,
        "index": images.examples.index.tolist(),
        "threat_model": THREATS[found.plan.threat.norm],
        "norm": found.plan.threat.norm,
        "eps": found.plan.threat.eps,
        "device": str(images.examples.x.device),
        "versions": {"cure": version(), "torch": metadata.version("torch")},
        "accuracy": {name: summary(found, name) for name in found.result.outcomes},
        "preflight": [vars(line) for line in found.preflight],
        "masking": [vars(line) for line in found.masking],
        "flags": found.flags,
    }
    if found.beside:
        ours["published"] = [beside.document(one) for one in found.beside]
    if found.corrupted:
        ours["corruptions"] = _corruptions(found, found.corrupted)
    return {"robustbench": entry, **ours, "result": found.result.document()}


def _is_whole(corrupted: CorruptResult) -> bool:
    """Return whether RobustBench's mean is measured: 15 corruptions at 5 severities."""
    return set(corrupted.correct) == set(BENCHMARK) and all(len(by) == 5 for by in corrupted.correct.values())


def _corruptions(found: Evaluation, corrupted: CorruptResult) -> dict[str, Any]:
    """Return the mean with its interval, missing corruptions, and the accuracy under each corruption and severity."""
    share, (low, high) = found.corrupted_accuracy or 0.0, found.corrupted_interval or (0.0, 1.0)
    return {
        "accuracy": round(share, 6),
        "low": round(low, 6),
        "high": round(high, 6),
        "images": corrupted.images,
        "source": corrupted.source,
        "version": corrupted.version,
        "missing": {name: why for name, why in corrupted.missing.items() if name in BENCHMARK},
        "each": {
            name: {severity: round(count / corrupted.images, 6) for severity, count in by.items()}
            for name, by in corrupted.correct.items()
        },
    }


def _clean(found: Evaluation, column: str) -> float:
    """Return clean accuracy on the images that a column covers."""
    _, images, clean = found.result.counts(column)
    return clean / images


def summary(found: Evaluation, column: str) -> dict[str, Any]:
    """Return accuracy and NRR in [0, 1] with their 95 % intervals, and the number of images."""
    low, high = found.interval(column)
    images = found.result.counts(column).images
    numbers = {"accuracy": found.accuracy(column), "low": low, "high": high}
    if column != "clean":
        nrr_low, nrr_high = found.nrr_interval(column)
        numbers |= {"nrr": found.nrr(column), "nrr_low": nrr_low, "nrr_high": nrr_high}
    return {"images": images} | {name: round(value, 6) for name, value in numbers.items()}


def per_image(found: Evaluation) -> str:
    """Return CSV with one line per image.

    Its columns are place, label, clean prediction, the first attack that broke it, predictions under each attack, and
    smallest perturbations.
    """
    lines: list[dict[str, Any]] = [
        {"index": index, "label": label, "clean": clean, "broken_by": ""}
        for index, label, clean in zip(
            found.images.examples.index.tolist(),
            found.images.examples.y.tolist(),
            found.columns["clean"].outcome.predicted.tolist(),
            strict=True,
        )
    ]
    for name, column in found.columns.items():
        for place, row in enumerate(column.rows.tolist()):
            if column.sequence.norm is not None:
                lines[row][name] = f"{float(column.outcome.distance[place]):.7g}"
            elif name != "clean":
                lines[row][name] = int(column.outcome.predicted[place])
        for attack, rows in column.outcome.broken_by.items() if column.sequence.norm is None else ():
            for row in column.rows[rows].tolist():
                lines[row]["broken_by"] = lines[row]["broken_by"] or (name if attack == name else f"{name}/{attack}")
    out = io.StringIO()
    columns = list(dict.fromkeys(key for line in lines for key in line))
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()
