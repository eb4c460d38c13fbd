"""Show the progress of `evaluate`: a bar on a terminal and in a notebook, nothing elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cure.evaluation.attack_columns import AttackProgress, OnProgress, work_items
from cure.evaluation.standalone.plan import Plan


def batches(plan: Plan, images: int) -> int:
    """Return how many events an evaluation of these images reports if every corruption is available."""
    probes = -(-plan.probed(images) // plan.suite.batch) * sum(len(one.attacks) for one in plan.probes.values())
    return work_items(images, plan.attack_sequences, plan.suite) + probes + plan.corrupted_sets


@contextmanager
def progress_bar(title: str, total: int, *, shown: bool) -> Iterator[OnProgress]:
    """Yield what takes the events; the bar counts batches and names the attack of the last one."""
    console = Console(stderr=True)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    columns += [TimeRemainingColumn(), TextColumn("{task.fields[note]}")]
    hidden = not shown or not (console.is_terminal or console.is_jupyter)
    with Progress(*columns, console=console, disable=hidden) as bar:
        task = bar.add_task(title, total=total, note="")

        def on_progress(event: AttackProgress) -> None:
            bar.update(task, advance=1, note=str(event))

        yield on_progress
