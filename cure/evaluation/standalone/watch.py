"""Show the progress of an evaluation: a live table on a terminal, a line after each attack elsewhere."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.text import Text

from cure.evaluation.attack_columns import AttackProgress
from cure.evaluation.speed import AttackSpeed
from cure.evaluation.standalone.measure import CORRUPTED
from cure.evaluation.standalone.plan import Plan
from cure.evaluation.statistics.intervals import wilson
from cure.runtime.console import WholeTable
from cure.runtime.progress import clock, shown


class Watch:
    """Counts the images that every attack has broken, and estimates the time to go from the speed so far."""

    def __init__(self, title: str, plan: Plan, images: int, speed: AttackSpeed) -> None:
        self.title, self.plan, self.images, self.clean = title, plan, images, 0
        self.attack_sequences = plan.attack_sequences | plan.probes
        self.counts = {name: plan.sees(name, images) for name in plan.attack_sequences} | dict.fromkeys(
            plan.probes, plan.probed(images)
        )
        self.begun, self.spent, self.done = time.monotonic(), 0.0, dict[tuple[str, str], list[int]]()
        self.batches: Counter[tuple[str, str]] = Counter()
        self.attack_ended = False  # with the last event
        self.each = {
            (column, attack): speed.seconds(attack, work, plan.suite.batch) / plan.suite.batch
            for column, sequence in self.attack_sequences.items()
            for attack, work in plan.works(sequence).items()
        }
        if plan.corrupt:  # a corruption at a severity is evaluated on every image once
            self.counts[CORRUPTED] = images * len(plan.corrupt.severities)
            each = speed.check(plan.suite.batch) / plan.suite.batch
            self.each |= {(CORRUPTED, name): each for name in plan.corrupt.corruptions}

    def take(self, event: AttackProgress) -> None:
        """Record one batch; the clean predictions come first."""
        if event.column == "clean":
            self.clean, self.attack_ended = event.images - event.broken, True
            return
        key = event.column, event.attack
        seen = self.done.setdefault(key, [0, 0])
        seen[0] += event.images
        seen[1] += event.broken
        self.spent += event.images * self.each[key]
        self.batches[key] += 1
        self.attack_ended = self._ended(key)

    def _ended(self, key: tuple[str, str]) -> bool:
        if key[0] == CORRUPTED:
            return self.done[key][0] == self.counts[CORRUPTED]
        return self.batches[key] == -(-self.counts[key[0]] // self.plan.suite.batch)

    def meets(self, column: str, attack: str) -> int:
        """Return how many images an attack runs on: those correct clean that no earlier attack of its sequence broke.

        For a column on fewer images, the number of correct ones is assumed to be in proportion until it is known.
        """
        key = column, attack
        if column == CORRUPTED:
            return self.counts[column]
        if self._ended(key):
            return self.done[key][0]
        sequence = self.attack_sequences[column]
        left = round(self.clean * self.counts[column] / self.images)
        for name in sequence.attacks:
            if name == attack:
                break
            if sequence.norm is None and (column, name) in self.done:
                left = self.done[column, name][0] - self.done[column, name][1]
        return max(left, self.done.get(key, [0])[0])

    def left(self) -> float | None:
        """Return the seconds to go: the remaining work if nothing more is broken, at the speed of the finished work."""
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
        """Return attack, images done/total, survivors, and the accuracy (with interval) if the rest survive."""
        lines = [["clean", str(self.images), str(self.clean), _share(self.clean, self.images)]]
        for (column, attack), (seen, broken) in self.done.items():
            met = self.meets(column, attack)
            if column == CORRUPTED:
                lines.append(
                    [f"corrupted {attack}", f"{seen}/{met}", str(seen - broken), _percent(seen - broken, seen)]
                )
                continue
            sequence = self.attack_sequences[column]
            name = column if len(sequence.attacks) == 1 else f"{column} {attack}"
            name = f"probe {name}" if column in self.plan.probes else name
            share = "" if sequence.norm else _share(met - broken, self.counts[column])
            lines.append([name, f"{seen}/{met}", str(met - broken), share])
        return lines

    def new_lines(self) -> Iterator[str]:
        """Yield the last row in words and the time to go, once for each attack that has ended."""
        if not self.attack_ended:
            return
        self.attack_ended = False
        name, seen, survive, share = self.rows()[-1]
        left = self.left()
        end = f"; about {clock(left)} to go" if left else ""
        what = "are right" if name.startswith("corrupted ") else "survive"
        said = f"{name}: {survive} of {seen.partition('/')[0]} {what}" + (f", {share} %" if share else "")
        yield f"{self.title}: {said}{end}"

    def __rich__(self) -> Group:
        table = WholeTable("attack", "images", "survive", "at most (95 %)", title=self.title)
        for row in self.rows() if self.clean else ():
            table.add_row(*row)
        left = self.left()
        return Group(table, Text("" if left is None else f"about {clock(left)} to go", style="dim"))


def _percent(right: int, images: int) -> str:
    return f"{100 * right / images:.1f}"


def _share(right: int, images: int) -> str:
    low, high = wilson(right, images)
    return f"{_percent(right, images)} ({100 * low:.1f} to {100 * high:.1f})"


@contextmanager
def watching(watch: Watch, console: Console) -> Iterator[Callable[[AttackProgress], object]]:
    """Show `watch` while the block runs; yield its `on_progress`."""
    with shown(watch, watch.new_lines, console) as report:

        def on_progress(event: AttackProgress) -> None:
            watch.take(event)
            report()

        yield on_progress
