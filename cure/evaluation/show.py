"""What a person sees of an evaluation: a live table while it runs, the numbers and the doubts afterwards."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cure.engine import outcomes
from cure.engine.compare import Comparison
from cure.engine.cost import Pace
from cure.engine.lines import Line
from cure.engine.ratio import wilson
from cure.engine.robustness import Progress
from cure.evaluation.measure import Evaluation
from cure.evaluation.plan import Plan, works
from cure.reporting.table import heading


class Watch:
    """Counts what every attack has broken; shown as a table, with the time that is left at the pace so far."""

    def __init__(self, title: str, plan: Plan, images: int, pace: Pace) -> None:
        self.title, self.plan, self.images, self.clean = title, plan, images, 0
        self.begun, self.spent, self.done = time.monotonic(), 0.0, dict[tuple[str, str], list[int]]()
        self.each = {
            (column, attack): pace.seconds(work)
            for column, chain in plan.chains.items()
            for attack, work in works(chain).items()
        }

    def __call__(self, news: Progress) -> None:
        """Take in one batch; the clean predictions come first."""
        if news.column == "clean":
            self.clean = news.images - news.broken
            return
        seen = self.done.setdefault((news.column, news.attack), [0, 0])
        seen[0] += news.images
        seen[1] += news.broken
        self.spent += news.images * self.each[news.column, news.attack]

    def meets(self, column: str, attack: str) -> int:
        """How many images an attack meets: those that are right clean and that no earlier attack of its chain broke.

        Of a column on fewer images, the right ones among them are taken to be in proportion until they are known.
        """
        count = min(self.images, self.plan.suite.subset.get(column, self.images))
        left = round(self.clean * count / self.images)
        chain = self.plan.chains[column]
        for name in chain.attacks:
            if name == attack:
                break
            if chain.norm is None and (column, name) in self.done:
                left = self.done[column, name][0] - self.done[column, name][1]
        return max(left, self.done.get((column, attack), [0])[0])

    def left(self) -> float | None:
        """Seconds to go: the work that remains if nothing more is broken, at the speed of the work that is done."""
        if not self.spent:
            return None
        begun = max(list(self.each).index(key) for key in self.done)
        work = sum(
            each * (self.meets(*key) - self.done.get(key, [0])[0])
            for place, (key, each) in enumerate(self.each.items())
            if place >= begun
        )
        return work * (time.monotonic() - self.begun) / self.spent

    def rows(self) -> list[list[str]]:
        """Attack, images done and met, survivors, and the accuracy if all images to come survive, with its interval."""
        lines = [["clean", str(self.images), str(self.clean), _share(self.clean, self.images)]]
        for (column, attack), (seen, broken) in self.done.items():
            chain, met = self.plan.chains[column], self.meets(column, attack)
            name = column if len(chain.attacks) == 1 else f"{column} {attack}"
            count = min(self.images, self.plan.suite.subset.get(column, self.images))
            share = "" if chain.norm else _share(met - broken, count)
            lines.append([name, f"{seen}/{met}", str(met - broken), share])
        return lines

    def __rich__(self) -> Group:
        table = Table(title=self.title, box=None, pad_edge=False, title_justify="left")
        for name in ("attack", "images", "survive", "at most (95 %)"):
            table.add_column(name, justify="left" if name == "attack" else "right")
        for row in self.rows() if self.clean else ():
            table.add_row(*row)
        left = self.left()
        return Group(table, Text("" if left is None else f"about {clock(left)} to go", style="dim"))


def _share(right: int, images: int) -> str:
    low, high = wilson(right, images)
    return f"{100 * right / images:.1f} ({100 * low:.1f} to {100 * high:.1f})"


@contextmanager
def watching(watch: Watch) -> Iterator[Watch]:
    """Show `watch` while the block runs, on a terminal only."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield watch
        return
    with Live(watch, console=console, refresh_per_second=4, transient=True):
        yield watch


def clock(seconds: float) -> str:
    """90 -> 1:30."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


NOTE = (
    "percent; below each its 95 % interval: Wilson's, and for NRR the intervals of clean accuracy and of the share of\n"
    "clean-correct images that survive, combined (MOVER)"
)


def table(found: list[Evaluation]) -> Group:
    """One line per network, most robust first: accuracies and NRR in percent over their intervals."""
    wanted = dict.fromkeys(name for one in found for name in ("clean", *one.plan.suite.table))
    columns = [name for name in (*wanted, "worst") if all(name in one.result["outcomes"] for one in found)]
    shown = _plain("Network")
    for name in columns:
        shown.add_column(heading(name) + _mark(found[0], name), justify="right", no_wrap=True)
    attacked, usual = columns[1:-1], found[0].plan.suite.nrr
    ratio = [usual] if usual in attacked else attacked[-1:]
    for name in ratio:
        shown.add_column(f"NRR ({heading(name)})", justify="right", no_wrap=True)
    for one in sorted(found, key=lambda one: -one.accuracy("worst")):
        shares = [_over(one.accuracy(name), one.interval(name)) for name in columns]
        shown.add_row(one.subject.name, *shares, *(_over(one.nrr(name), one.nrr_interval(name)) for name in ratio))
    return Group(shown, Text(NOTE, style="dim"))


def _over(share: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * share:.2f}\n{100 * low:.1f} to {100 * high:.1f}"


def _mark(found: Evaluation, column: str) -> str:
    label = found.result["columns"].get(column, {}).get("label", "")
    images = outcomes.counts(found.result, column)[1]
    said = [label] if label not in ("", "standard") else []
    said += [str(images)] if images < len(found.images.examples) else []
    return f" ({', '.join(said)})" if said else ""


def lines(title: str, found: list[Line], *, every: bool) -> Group:
    """How many checks are green, and a line for each red one, or for `every` one; a red one says what it asks for."""
    texts = [Text(f"{title}: {sum(line.passed for line in found)} of {len(found)} checks are green", style="bold")]
    for line in found:
        if line.passed and not every:
            continue
        mark, style = ("ok ", "green") if line.passed else ("NO ", "red")
        advice = "" if line.passed else f": {line.advice}"
        texts.append(Text.assemble((mark, style), f"{line.name}: {line.found}{advice}"))
    return Group(*texts)


def comparison(a: str, b: str, found: list[Comparison]) -> None:
    """Agreement, differences in points with 95 % intervals, and what can be claimed."""
    counts = _plain("Column", "both", f"only {a}", f"only {b}", "neither")
    spans = _plain("Column", "difference", "of NRR", "p")
    for one in found:
        seen = one.counts
        counts.add_row(heading(one.column), *(str(n) for n in (seen.both, seen.first, seen.second, seen.neither)))
        spans.add_row(heading(one.column), _span(one.accuracy), _span(one.ratio) if one.ratio else "", f"{one.p:.2g}")
    console = page()
    console.print(f"images classified correctly by {a} and by {b}", counts, f"points by which {a} leads, 95 %", spans)
    for one in found:
        console.print(one.sentence, highlight=False, soft_wrap=True)


def _plain(*names: str) -> Table:
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in names:
        shown.add_column(name, justify="left" if name == names[0] else "right", overflow="fold")
    return shown


def page() -> Console:
    """Standard output: as wide as the terminal, or wide enough for any table where there is none."""
    console = Console(emoji=False, markup=False)
    return console if console.is_terminal else Console(width=160, emoji=False, markup=False)


def _span(values: tuple[float, float, float]) -> str:
    middle, low, high = (100 * value for value in values)
    return f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"
