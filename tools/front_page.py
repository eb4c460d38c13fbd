"""Write the made parts of README.md and docs/evidence.md: `python -m tools.front_page`.

Results and findings come from the reports of the studies in pilot/evidence, the methods from the catalogue and
docs/methods.md. A test compares the pages with both.
"""

import re
from collections.abc import Callable
from pathlib import Path
from statistics import median

from cure import catalogue
from cure.core.method import Method
from cure.core.names import NAMES, ORDER, heading
from cure.storage.files import csv_lines

ROOT = Path(__file__).parents[1]
EVIDENCE = ROOT / "pilot" / "evidence"
TIER_1, TIER_2, LONGER = (EVIDENCE / study / "reports" for study in ("tier1", "tier2", "longer"))
ABLATIONS = EVIDENCE / "ablations" / "ablations.md"
ROWS = ("natural", "at", "trades", "mart", "awp", "rift", "arat", "cure")
COLUMNS = ("clean", "pgd20", "cw20", "aa")
NRR = "cw20"
ANSWERS = {
    "yes": "Yes, at this scale.",
    "no": "No, at this scale: at least one baseline is above it.",
    "not told apart": "Not told apart at this scale.",
}
OTHERWISE = {"ar_at": "arat", "las_awp": "las_at_awp", "las_trades": "las_at_trades"}  # files not named by the key
Span = tuple[float, ...]  # mean, and the ends of its interval


def results(reports: Path) -> list[str]:
    """Return the table of the main methods, in percent with 95 % intervals."""
    spans, images = measured(reports)
    columns = [*COLUMNS, f"nrr_{NRR}"]
    less = {column: f" ({images[column]})" for column in COLUMNS if images[column] != images["clean"]}
    heads = ["method", *(heading(column) + less.get(column, "") for column in COLUMNS), f"NRR ({heading(NRR)})"]
    lines = [line(heads), line(["---", *["---:"] * len(columns)])]
    for method in ROWS:
        if all((method, column) in spans for column in columns):
            found = [spans[method, column] for column in columns]
            lines.append(line([NAMES[method], *(f"{mean:.2f} ({low:.1f} to {high:.1f})" for mean, low, high in found)]))
    return lines


def once(reports: Path) -> list[str]:
    """Return the table of the methods that are not among the main ones, in percent, one network each."""
    columns = [*COLUMNS, f"nrr_{NRR}"]
    lines = [
        line(["method", *map(heading, COLUMNS), f"NRR ({heading(NRR)})"]),
        line(["---", *["---:"] * len(columns)]),
    ]
    for one in read(reports / "table.csv"):
        if one["method"] not in ROWS:
            lines.append(line([NAMES[one["method"]], *(f"{float(one[column]):.1f}" for column in columns)]))
    return lines


def measured(reports: Path) -> tuple[dict[tuple[str, str], Span], dict[str, int]]:
    """Return (method, column) -> mean and interval in percent, and column -> number of images.

    Both are in ranks.csv, whose intervals are over images and training runs.
    """
    found = read(reports / "ranks.csv")
    spans = {(one["method"], one["column"]): tuple(float(one[key]) for key in ("mean", "low", "high")) for one in found}
    return spans, {one["column"]: int(one["images"]) for one in found}


def read(path: Path) -> list[dict[str, str]]:
    """Return the lines of a CSV file of a report, or [] if the report lacks it."""
    return csv_lines(path, [], [], "cure report")


def methods() -> list[str]:
    """Return the table of all methods: key, paper, passes per image of a step, and golden vectors."""
    told = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    vectors = {OTHERWISE.get(p.stem, p.stem): p.stem for p in (ROOT / "tests" / "golden").glob("*.json")}
    names = catalogue.names("methods")
    lines = [
        line(["method", "key", "source", "passes per image", "golden vectors"]),
        line(["---"] * 3 + ["---:", "---"]),
    ]
    for name in sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        method: Method = catalogue.entry("methods", name).METHOD
        passes = re.search(rf"^`{name}`\. .*?passes per image: ([\d.]+)", told, re.MULTILINE)
        mine = [
            file for key, file in vectors.items() if key == name or (key.startswith(f"{name}_") and key not in names)
        ]
        cells = [
            NAMES.get(name, name),
            f"`{name}`",
            method.cite,
            passes[1] if passes else "fine-tunes another's network",
        ]
        lines.append(line([*cells, ", ".join(sorted(mine)) or "-"]))
    return lines


def line(cells: list[str]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def verdict(reports: Path) -> list[str]:
    """Return whether CURE's ratio is above that of every baseline of its paper, and the methods it differs from."""
    (found,) = (one for one in read(reports / "findings.csv") if one["figure"] == "ratio")
    (above, _), (_, under), (_, ratio) = (differing(reports, column) for column in ("clean", NRR, f"nrr_{NRR}"))
    return [
        f"**Is CURE above its baselines in NRR? {ANSWERS[found['agrees']]}** {found['ours']}. "
        f"In clean accuracy CURE beats {listed(above)}. Under {heading(NRR)} it is beaten by {listed(under)}, and in "
        f"NRR by {listed(ratio)}. From the other robust methods it is not told apart."
    ]


def differing(reports: Path, column: str) -> tuple[list[str], list[str]]:
    """Return the robust methods that CURE beats in a column, and those that beat it, by pairs.csv."""
    ours = NAMES["cure"]
    found = [one["verdict"].split(" beats ") for one in read(reports / "pairs.csv") if one["column"] == column]
    pairs = [pair for pair in found if len(pair) == 2 and NAMES["natural"] not in pair]
    return [worse for better, worse in pairs if better == ours], [better for better, worse in pairs if worse == ours]


def listed(names: list[str]) -> str:
    """Return names as a phrase."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else (names[0] if names else "no robust method")


def detected(reports: Path) -> list[str]:
    """Return the true difference in points that the tests between methods detect at 80 % power, by column."""
    found: dict[str, list[float]] = {column: [] for column in (*COLUMNS, f"nrr_{NRR}")}
    images = dict[str, str]()
    for one in read(reports / "pairs.csv"):
        if one["column"] in found:
            found[one["column"]].append(float(one["detectable"]))
            images[one["column"]] = one["images"]
    heads = [f"{heading(column)} ({images[column]} images)" for column in found]
    return [
        line(["column", *heads]),
        line(["---", *["---:"] * len(found)]),
        line(["points", *(f"{median(v):.1f}" for v in found.values())]),
    ]


def findings(reports: Path) -> list[str]:
    """Return the findings of the papers with our answers, a line each; a variant of the setting is told first."""
    lines = [line(["source", "the paper's conclusion", "here", "agrees"]), line(["---"] * 4)]
    for one in read(reports / "findings.csv"):
        _, _, variant = one["setting"].partition(", ")
        here = f"{variant}: {one['ours']}" if variant else one["ours"]
        lines.append(line([one["source"], one["said"], here, one["agrees"]]))
    return lines


def overfitting(reports: Path) -> list[str]:
    """Return each robust method's accuracy at the best and at the last epoch on test images, in percent."""
    ends = [f"test_pgd20_{end}" for end in ("best", "last", "difference")]
    heads = ["method", "best epoch", "of", f"{heading('pgd20')}, best", "last", "last - best"]
    lines = [line(heads), line(["---", *["---:"] * (len(heads) - 1)])]
    robust = [one for one in read(reports / "overfitting.csv") if one["method"] != "natural"]
    for one in robust:
        cells = [f"{float(one[end]):{sign}.2f}" for end, sign in zip(ends, ("", "", "+"), strict=True)]
        lines.append(line([NAMES[one["method"]], one["best_epoch"], one["last_epoch"], *cells]))
    return lines


def ablations(page: Path) -> list[str]:
    """Return what a page says below its heading."""
    return page.read_text(encoding="utf-8").splitlines()[2:]


def rewritten(text: str, parts: tuple[str, ...]) -> str:
    """Return a page with these parts made again."""
    for name in parts:
        before, start, rest = text.partition(f"<!-- front: {name} -->\n\n")
        _, end, after = rest.partition("<!-- end -->")
        assert end, f"no part {name}"
        text = before + start + "\n".join(PARTS[name]()) + "\n\n" + end + after
    return text


PARTS: dict[str, Callable[[], list[str]]] = {
    "results": lambda: results(TIER_1),
    "verdict": lambda: verdict(TIER_1),
    "findings": lambda: findings(TIER_1),
    "detected": lambda: detected(TIER_1),
    "once": lambda: once(TIER_2),
    "longer": lambda: findings(LONGER),
    "overfitting": lambda: overfitting(LONGER),
    "ablations": lambda: ablations(ABLATIONS),
    "methods": methods,
}
PAGES = {
    "README.md": ("results", "verdict", "methods"),
    "docs/evidence.md": ("verdict", "findings", "overfitting", "longer", "ablations", "once", "detected"),
}


def main() -> None:
    """Rewrite the parts of each page."""
    for name, parts in PAGES.items():
        page = ROOT / name
        page.write_text(rewritten(page.read_text(encoding="utf-8"), parts), encoding="utf-8")


if __name__ == "__main__":
    main()
