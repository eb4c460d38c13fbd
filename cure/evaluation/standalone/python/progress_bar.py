"""Show the progress of `evaluate`: a bar on a terminal and in a notebook, nothing elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import count

from rich.console import Console
from rich.live import Live

from cure.evaluation.attack_columns import AttackProgress, OnProgress, work_items
from cure.evaluation.standalone.plan import Plan
from cure.runtime.progress import Bar, drawing


def batches(plan: Plan, images: int) -> int:
    """Return how many events an evaluation of these images reports if every corruption is available."""
    probes = -(-plan.probed(images) // plan.suite.batch) * sum(len(one.attacks) for one in plan.probes.values())
    return work_items(images, plan.attack_sequences, plan.suite) + probes + plan.corrupted_sets


@contextmanager
def progress_bar(title: str, total: int, *, shown: bool) -> Iterator[OnProgress]:
    """Yield the function that receives the events; the bar counts batches and names the current attack."""
    console, bar, numbers = Console(stderr=True), Bar(title, total), count(1)
    with Live(bar, console=console) if shown and (drawing(console) or console.is_jupyter) else nullcontext():

        def on_progress(event: AttackProgress) -> None:
            bar.step(next(numbers), str(event))

        yield on_progress
