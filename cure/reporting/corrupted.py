"""Report accuracy under common corruptions: the mean in the table, and reports/corruptions.md."""

from typing import Any

import pandas as pd

from cure.core.corruption import CATEGORIES
from cure.core.names import NAMES
from cure.errors import UserError
from cure.evaluation.statistics.summaries import corrupted_mean
from cure.reporting import markdown
from cure.reporting.results import CorruptResults, not_whole, place, setting

SEVERITIES = [1, 2, 3, 4, 5]


def lines(results: CorruptResults) -> pd.DataFrame:
    """Return a line per run, corruption and severity, with the accuracy in percent."""
    return pd.DataFrame(
        {
            **place(run),
            "corruption": name,
            "category": found.categories[name],
            "severity": int(severity),
            "accuracy": 100 * right / found.images,
            "images": found.images,
            "source": found.source,
        }
        for run, found in results.items()
        for name, by in found.correct.items()
        for severity, right in by.items()
    )


def benchmark(results: CorruptResults) -> list[str]:
    """Return the 15 corruptions of CIFAR-10-C, measured or not. Its four extra ones are shown but enter no mean."""
    known = [name for found in results.values() for name in (*found.correct, *found.missing)]
    extra = {name for found in results.values() for name in found.extra}
    return [name for name in dict.fromkeys(known) if name not in extra]


def counted(results: CorruptResults) -> list[str]:
    """Return those of the 15 that every run has, so that means are comparable; raise UserError if there are none."""
    names = benchmark(results)
    common = [name for name in names if all(name in found.correct for found in results.values())]
    if not common:
        raise UserError(f"corrupt.corruptions: no row has any of {', '.join(names)}; list one of them or more")
    return common


def refuse_other(results: CorruptResults) -> None:
    """Raise UserError for results whose severities differ, or that lack a corruption without giving a reason."""
    for run, found in results.items():
        if lost := [name for name in benchmark(results) if name not in found.correct and name not in found.missing]:
            raise not_whole(run.result("corrupt"), f"it has neither counts of {', '.join(lost)} nor a reason")
    levels = {run: sorted({level for by in found.correct.values() for level in by}) for run, found in results.items()}
    for run, own in levels.items():
        if own != (others := next(iter(levels.values()))):
            raise not_whole(
                run.result("corrupt"), f"it has the severities {', '.join(own)}, others {', '.join(others)}"
            )


def shared(results: CorruptResults) -> pd.DataFrame:
    """Return the lines of those corruptions that are in the mean."""
    found = lines(results)
    return found[found["corruption"].isin(counted(results))]


def note(results: CorruptResults) -> str:
    """Return a note on the corruptions and severities in the mean; it names any of the 15 x 5 that are absent."""
    names, all_names = counted(results), benchmark(results)
    missing = {name: why for found in results.values() for name, why in found.missing.items()}
    absent = [f"{name} ({missing[name]})" for name in all_names if name not in names]
    levels = sorted({int(level) for found in results.values() for by in found.correct.values() for level in by})
    told = [f"Corrupted: mean over {len(names)} of the {len(all_names)} corruptions of CIFAR-10-C"]
    told += [f"without {', '.join(absent)}"] if absent else []
    told += ["at 5 severities" if levels == SEVERITIES else f"at severity {', '.join(map(str, levels))} of 5"]
    sources = sorted({f"{found.images} {found.source} images ({found.version})" for found in results.values()})
    return f"{', '.join(told)}; {', '.join(sources)}."


def page(results: CorruptResults, order: list[str]) -> str:
    """Return corruptions.md: per setting the mean and relative drop, category by severity, and every corruption."""
    names, found, inside = counted(results), lines(results), shared(results)
    about = (
        "Accuracy in percent; of several seeds the mean ± the sample standard deviation. "
        "Drop: (clean - corrupted) / clean, clean on the same images. "
        "Extra corruptions enter no mean."
    )
    text = ["# Common corruptions", "", f"- {note(results)}", f"- {about}"]
    for where in map(str, inside["setting"].unique()):
        part = inside[inside["setting"] == where]
        rows = [method for method in order if method in set(part["method"])]
        text += ["", f"## {where}", "", *_summary(results, where, part, names, rows)]
        text += ["", *_by_severity(part, rows), "", *_by_corruption(found[found["setting"] == where], names, rows)]
    return "\n".join(text) + "\n"


def _summary(results: CorruptResults, where: str, part: pd.DataFrame, names: list[str], rows: list[str]) -> list[str]:
    by = _of_seeds(part, "method", "category")
    head = [name for name in CATEGORIES if name in set(part["category"])]
    body = []
    for method in rows:
        own = [r for c, r in results.items() if setting(c) == where and c.method == method]
        clean = [100 * found.clean / found.images for found in own]
        corrupted = [corrupted_mean(found, names) for found in own]
        drops = [100 * (a - b) / a for a, b in zip(clean, corrupted, strict=True) if a]
        numbers = [*map(pd.Series, (clean, corrupted, drops)), *(by[method, name] for name in head)]
        source = ", ".join(sorted({f"{found.source}, {found.images} images" for found in own}))
        body.append([NAMES.get(method, method), *map(markdown.spread, numbers), source])
    return markdown.table(["Method", "Clean", "Corrupted", "Drop", *head, "Source"], body, left=(0, len(head) + 4))


def _by_severity(part: pd.DataFrame, rows: list[str]) -> list[str]:
    by = _of_seeds(part, "method", "category", "severity")
    head = [name for name in CATEGORIES if name in set(part["category"])]
    levels = [level for level in SEVERITIES if level in set(part["severity"])]
    body = [
        [NAMES.get(method, method), name, *(markdown.spread(by[method, name, level]) for level in levels)]
        for method in rows
        for name in head
    ]
    return markdown.table(["Method", "Category", *(f"severity {level}" for level in levels)], body, left=(0, 1))


def _by_corruption(part: pd.DataFrame, names: list[str], rows: list[str]) -> list[str]:
    by, none = _of_seeds(part, "corruption", "method"), pd.Series(dtype=float)
    order = [*names, *(name for name in part["corruption"].unique() if name not in names)]
    body = [
        [
            name,
            "" if name in names else "in no mean",
            *(markdown.spread(by.get((name, method), none)) for method in rows),
        ]
        for name in order
    ]
    return markdown.table(["Corruption", "", *(NAMES.get(method, method) for method in rows)], body, left=(0, 1))


def _of_seeds(part: pd.DataFrame, *by: str) -> dict[Any, "pd.Series[float]"]:
    """Return the accuracy of every seed for each group of `by`, averaged over the lines of a group."""
    means = part.groupby([*by, "seed"], sort=False)["accuracy"].mean()
    return dict(list(means.groupby([*by])))
