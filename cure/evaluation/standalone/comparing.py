"""What `cure compare` does with two evaluations."""

import json
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from cure.errors import UserError
from cure.evaluation.standalone import show
from cure.evaluation.statistics.comparison import Table as Outcomes
from cure.evaluation.statistics.comparison import compare
from cure.evaluation.statistics.contradictions import refuse_contradictions
from cure.evaluation.statistics.headings import headings
from cure.evaluation.statistics.results import AttackResult
from cure.storage.files import read_bytes

LONGEST_NAME = 80  # characters of a network's name in headings and sentences


def _plain(name: str) -> str:
    """A network's name on one line of a table, without what a terminal would take for a command."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in name[:LONGEST_NAME])
    return shown + ("..." if len(name) > LONGEST_NAME else "")


def outcomes_of(path: Path) -> Outcomes:
    """Per-image outcomes from a folder of `cure eval`, its results.json, or a result of the stage attack."""
    path = path / "results.json" if path.is_dir() else path
    try:
        held = json.loads(read_bytes(path))
        result = AttackResult.model_validate(held.get("result", held))
        refuse_contradictions(result)
        images = held.get("index", list(range(result.images)))
        name = _plain(held.get("subject", path.stem))
        labels = {column: about.label for column, about in result.columns.items() if about.label}
        titled = headings([result])
        titles = {column: titled(column) for column in result.outcomes}
        about = held.get("data_digest", ""), result.eps, result.norm
        found = Outcomes(name, images, result.outcomes, *about, labels, titles)
        return TypeAdapter(Outcomes).validate_python(vars(found))
    except FileNotFoundError:
        raise UserError(
            f"{path}: not found; name a folder that `cure eval --out` wrote, or results/...-attack.json"
        ) from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, MemoryError, RecursionError):
        raise UserError(f"{path}: not a result of `cure eval` or of the stage attack") from None


def compare_files(first: Path, second: Path, seed: int, as_json: bool) -> None:
    """Print, for every column of both, who is better and whether that can be claimed."""
    a, b = outcomes_of(first), outcomes_of(second)
    if a.name == b.name:
        a, b = (replace(table, name=str(path)) for path, table in ((first, a), (second, b)))
    found = compare(a, b, seed)
    if as_json:
        print(json.dumps([{**vars(one), "counts": vars(one.counts)} for one in found], indent=1))
    else:
        show.comparison(a.name, b.name, found, a.titles)
