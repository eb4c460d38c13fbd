"""Write the rank of every method in every column, with its interval (ranks.md, ranks.csv); needs several seeds."""

from typing import Any

import pandas as pd

from cure.core.names import NAMES
from cure.evaluation.statistics.ranks import RESAMPLES, ranks
from cure.reporting import markdown
from cure.reporting.comparison import pairs
from cure.reporting.comparison.samples import Sampled, sampled
from cure.reporting.results import Results
from cure.settings.sections import AttackSuite

COLUMNS = ["setting", "column", "images", "seeds", "method", "mean", "low", "high", "rank", "rank_low", "rank_high"]
COLUMNS += ["first"]
ABOUT = f"""# Ranks

Methods by their mean over seeds, with its 95 % interval over other images and other training runs (two-level model, see
pairs.md; of NRR by the delta method). Rank: of the measured mean, with its 95 % interval; first: in how many of
{RESAMPLES} resamples of images and training runs the method has the highest mean (parametric bootstrap,
cure/evaluation/statistics/ranks.py). Natural training is ranked under attack as well, but is not a competitor there.
"""
ONE_SEED = """# Ranks

Left out: with one seed there is one network of each method, so methods cannot be ranked. List three seeds or more under
`grid.seeds`, such as [0, 1, 2], and run `dvc repro`.
"""


def table(sampled: Sampled) -> pd.DataFrame:
    """Return a line per setting, column and method, in the order of the table: means in percent, and ranks from 1."""
    lines: list[dict[str, Any]] = []
    for (where, column), methods in sampled.items():
        about = {"setting": where, "column": column, "images": methods.images, "seeds": methods.seeds}
        for name, rank in ranks(methods).items():
            mean = methods.mean(name)
            low, high = (round(100 * end, 4) for end in mean.interval())
            numbers = {"mean": round(100 * mean.value, 2), "low": low, "high": high}
            placed = {"rank": rank.rank, "rank_low": rank.low, "rank_high": rank.high}
            lines.append(about | {"method": name} | numbers | placed | {"first": round(100 * rank.first)})
    return pd.DataFrame(lines, columns=COLUMNS)


def drawn(results: Results, suite: AttackSuite) -> pd.DataFrame:
    """Return `table` for the figure `ranks`, with a line per seed; empty if there is only one seed.

    `own` is the seed's value in percent. `alike` lists the methods without a significant difference.
    """
    columns = ["clean", *suite.table]
    tested = {run: result.outcomes for run, result in results.attacks.items()}
    methods = sampled(tested, columns, suite.nrr, results.starts)
    found = pairs.compared(tested, columns, methods)
    lines: list[dict[Any, Any]] = []
    for one in table(methods).drop(columns="seeds").to_dict("records"):
        here = found[(found["setting"] == one["setting"]) & (found["column"] == one["column"])]
        told = {"alike": " ".join(pairs.alike(here, one["method"]))}
        own = methods[one["setting"], one["column"]].scores[one["method"]].per_seed
        seeds = zip(sorted(results.grid.seeds), own, strict=True)
        lines += [one | told | {"seed": seed, "own": 100 * float(mean)} for seed, mean in seeds]
    return pd.DataFrame(lines)


def page(found: pd.DataFrame, titles: dict[str, str]) -> str:
    """Return ranks.md, or the reason why there are no ranks; `titles` are the headings of the columns."""
    if found.empty:
        return ONE_SEED
    lines = [ABOUT.rstrip()]
    for where, part in found.groupby("setting", sort=False):
        lines += ["", f"## {where}"]
        for column, here in part.groupby("column", sort=False):
            images, seeds = here[["images", "seeds"]].iloc[0]
            lines += ["", f"### {titles[str(column)]}: {images} images, {seeds} seeds", "", *_ranked(here)]
    return "\n".join(lines) + "\n"


def _ranked(here: pd.DataFrame) -> list[str]:
    body = [
        [
            NAMES.get(line["method"], line["method"]),
            f"{line['mean']:.2f}",
            f"{line['low']:.2f} to {line['high']:.2f}",
            line["rank"],
            f"{line['rank_low']} to {line['rank_high']}",
            f"{line['first']} %",
        ]
        for line in here.sort_values("rank", kind="stable").to_dict("records")
    ]
    return markdown.table(["Method", "Mean", "95 %", "Rank", "95 %", "First"], body, left=(0,))
