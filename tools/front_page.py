"""Write the two tables of README.md: `python -m tools.front_page`.

The results come from the reports that `REPORTS` names, the methods from the catalogue and docs/methods.md. A test
compares README with both.
"""

import csv
import re
from pathlib import Path
from statistics import mean, stdev

from cure import catalogue
from cure.core.method import Method
from cure.core.names import NAMES, ORDER, heading

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
REPORTS = ROOT / "quickstart" / "reports"
ROWS = ("natural", "at", "trades", "mart", "awp", "rift", "arat", "cure")
COLUMNS = ("clean", "pgd20", "cw20", "aa")
NRR = "cw20"
OTHERWISE = {"ar_at": "arat", "las_awp": "las_at_awp", "las_trades": "las_at_trades"}  # files not named by the key
Line = dict[str, str]


def results(reports: Path) -> list[str]:
    """Return the table of the main methods in percent: with 95 % intervals, or mean and deviation of several seeds."""
    with (reports / "attacks.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    heads = ["method", *(images(found, column) for column in COLUMNS), f"NRR ({heading(NRR)})"]
    lines = [line(heads), line(["---", *["---:"] * (len(heads) - 1)])]
    for method in ROWS:
        own = {
            column: [one for one in found if (one["method"], one["column"]) == (method, column)] for column in COLUMNS
        }
        if all(own.values()):
            cells = [cell(own[column], "accuracy", "low", "high") for column in COLUMNS]
            lines.append(line([NAMES[method], *cells, cell(own[NRR], "nrr", "nrr_low", "nrr_high")]))
    return lines


def images(found: list[Line], column: str) -> str:
    """Return the heading of a column, with its number of images if that is smaller than for clean accuracy."""
    seen = {name: max(int(one["images"]) for one in found if one["column"] == name) for name in ("clean", column)}
    return heading(column) if seen[column] == seen["clean"] else f"{heading(column)} ({seen[column]})"


def cell(seeds: list[Line], value: str, low: str, high: str) -> str:
    """Format one seed's number with its interval over images, or the mean and standard deviation of several seeds."""
    numbers = [float(one[value]) for one in seeds]
    if len(numbers) > 1:
        return f"{mean(numbers):.2f} ± {stdev(numbers):.2f}"
    return f"{numbers[0]:.2f} ({float(seeds[0][low]):.1f} to {float(seeds[0][high]):.1f})"


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


def rewritten(text: str) -> str:
    """Replace both tables of the page; return the new text."""
    for name, made in (("results", results(REPORTS)), ("methods", methods())):
        before, start, rest = text.partition(f"<!-- front: {name} -->\n\n")
        _, end, after = rest.partition("<!-- end -->")
        assert end, f"{PAGE}: no part {name}"
        text = before + start + "\n".join(made) + "\n\n" + end + after
    return text


def main() -> None:
    """Rewrite the tables of README.md."""
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
