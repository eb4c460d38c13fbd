"""Print the results of an evaluation: numbers, checks and a comparison."""

from rich.console import Console

from cure.core.corruption import BENCHMARK
from cure.evaluation.diagnostics.check import Check
from cure.evaluation.standalone import outputs
from cure.evaluation.standalone.measure import Evaluation
from cure.evaluation.statistics.comparison import Comparison
from cure.evaluation.statistics.headings import headings
from cure.runtime.console import WholeTable, page, say

NOTE = (
    "percent; below each its 95 % interval: Wilson's, and for NRR the intervals of clean accuracy and of the share of "
    "clean-correct images that survive, combined (MOVER)"
)


CORRUPTED = (
    "corrupted: mean over the 15 corruptions of CIFAR-10-C at 5 severities, or over those that are named; the interval "
    "is that of one share of as many images"
)


def table(found: list[Evaluation]) -> WholeTable:
    """Return a table with a line per network, most robust first: accuracies and NRR in percent, intervals below."""
    wanted = dict.fromkeys(name for one in found for name in ("clean", *one.plan.suite.table))
    columns = [name for name in (*wanted, "worst") if all(name in one.result.outcomes for one in found)]
    titled = headings(one.result for one in found)
    attacked, usual = columns[1:-1], found[0].plan.suite.nrr
    ratio = [usual] if usual in attacked else attacked[-1:]
    corrupted = all(one.corrupted for one in found)
    heads = [titled(name) + _mark(found[0], name) for name in columns] + [f"NRR ({titled(name)})" for name in ratio]
    shown = WholeTable("Network", *heads, *([_corrupted_heading(found[0])] if corrupted else []))
    for one in sorted(found, key=lambda one: -one.accuracy("worst")):
        shares = [_over(one.accuracy(name), one.interval(name)) for name in columns]
        shares += [_over(one.nrr(name), one.nrr_interval(name)) for name in ratio]
        if corrupted:
            shares.append(_over(one.corrupted_accuracy or 0.0, one.corrupted_interval or (0.0, 1.0)))
        shown.add_row(one.subject.name, *shares)
    return shown


def results(found: list[Evaluation]) -> None:
    """Print the table, and below it the threat model, the unit and what the intervals are."""
    threats = " and ".join(dict.fromkeys(outputs.threat(one.plan.threat) for one in found))
    console = page()
    console.print(table(found), "")
    say(console, f"{threats}; {NOTE}" + (f"; {CORRUPTED}" if all(one.corrupted for one in found) else ""), "dim")


def _corrupted_heading(found: Evaluation) -> str:
    """Return the heading of the mean, with the corruptions and severities it is over if these are not all."""
    correct = found.corrupted.correct if found.corrupted else {}
    levels = ",".join(next(iter(correct.values()), {}))
    all_of_them = len(correct) == len(BENCHMARK) and levels == "1,2,3,4,5"
    return "Corrupted" if all_of_them else f"Corrupted ({len(correct)} of {len(BENCHMARK)}, severity {levels})"


def _over(share: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * share:.2f}\n{100 * low:.1f} to {100 * high:.1f}"


def _mark(found: Evaluation, column: str) -> str:
    about = found.result.columns.get(column)  # `clean` and `worst` have none
    label, images = about.label if about else "", found.result.counts(column).images
    said = [label] if label not in ("", "standard") else []
    said += [str(images)] if images < len(found.images.examples) else []
    return f" ({', '.join(said)})" if said else ""


MARKS = {True: ("ok ", ""), False: ("NO ", "red"), None: ("?  ", "dim")}


def checks(console: Console, title: str, found: list[Check]) -> None:
    """Print how many checks are green, and a line for each one; without a terminal, for each one that is not green."""
    green = sum(line.passed is True for line in found)
    say(console, f"{title}: {green} of {len(found)} checks are green", "bold")
    for line in found:
        if console.is_terminal or not line.passed:
            mark, style = MARKS[line.passed]
            say(console, f"{mark}{line}", style)


def comparison(a: str, b: str, found: list[Comparison], titles: dict[str, str]) -> None:
    """Print agreement, differences in points with 95 % intervals, and conclusions; `titles` are by column."""
    counts_title, spans_title = f"Images classified correctly by {a} and by {b}", f"Points by which {a} leads, 95 %"
    counts = WholeTable("Column", "both", f"only {a}", f"only {b}", "neither", title=counts_title)
    spans = WholeTable("Column", "difference", "of NRR", "p", title=spans_title)
    for one in found:
        seen = one.counts
        counts.add_row(titles[one.column], *(str(n) for n in (seen.both, seen.first, seen.second, seen.neither)))
        spans.add_row(titles[one.column], _span(one.accuracy), _span(one.ratio) if one.ratio else "", f"{one.p:.2g}")
    console = page()
    console.print(counts, "", spans, "")
    for one in found:
        say(console, one.sentence)


def _span(values: tuple[float, float, float]) -> str:
    middle, low, high = (100 * value for value in values)
    return f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"
