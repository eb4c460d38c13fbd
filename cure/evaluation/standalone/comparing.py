"""Compare two evaluations: the command `cure compare`."""

import json
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open

from cure.errors import UserError
from cure.evaluation.standalone import show
from cure.evaluation.statistics.comparison import Table as Outcomes
from cure.evaluation.statistics.comparison import compare
from cure.evaluation.statistics.contradictions import refuse_contradictions
from cure.evaluation.statistics.headings import headings
from cure.evaluation.statistics.results import AttackResult
from cure.storage import paths
from cure.storage.files import read_bytes

LONGEST_NAME = 80  # characters of a network's name in headings and sentences


def _plain(name: str) -> str:
    """Return a network's name on one line, without characters that a terminal would treat as a command."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in name[:LONGEST_NAME])
    return shown + ("..." if len(name) > LONGEST_NAME else "")


@dataclass(frozen=True)
class Evaluated:
    """Per-image outcomes, and whether it is known to which test images they belong."""

    path: Path
    table: Outcomes
    known: bool


def evaluated(path: Path) -> Evaluated:
    """Read a folder of `cure eval`, its results.json, or a result of the stage attack."""
    path = _only_result(path) if path.is_dir() else path
    try:
        held = json.loads(read_bytes(path))
        result = AttackResult.model_validate(held.get("result", held))
        refuse_contradictions(result)
        places = held["index"] if "index" in held else _places(path, result.images)
        images = list(range(result.images)) if places is None else places
        name = _plain(held.get("subject", path.stem))
        labels = {column: about.label for column, about in result.columns.items() if about.label}
        titled = headings([result])
        titles = {column: titled(column) for column in result.outcomes}
        if len(images) != result.images:
            raise ValueError("index")
        about = held.get("data_digest", ""), result.eps, result.norm
        found = Outcomes(name, images, result.outcomes, *about, labels, titles)
        return Evaluated(path, TypeAdapter(Outcomes).validate_python(vars(found)), places is not None)
    except FileNotFoundError:
        raise UserError(
            f"{path}: not found; name a folder that `cure eval --out` wrote, or results/...-attack.json"
        ) from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, MemoryError, RecursionError):
        raise UserError(f"{path}: not a result of `cure eval` or of the stage attack") from None


def _only_result(folder: Path) -> Path:
    """Return the results.json of a folder of one network, or of the folder of `--out` if it holds one network."""
    if (own := folder / "results.json").exists():
        return own
    found = sorted(folder.glob("*/results.json"))
    if len(found) > 1:
        raise UserError(f"{folder}: holds several networks, name one: {', '.join(str(path.parent) for path in found)}")
    return found[0] if found else own


def _places(path: Path, count: int) -> list[int] | None:
    """Return the places in the test split of a stage attack's images, of which the result records only the number.

    They are evenly spaced. The data file of the pipeline has the size of the split; without a valid one, return None.
    """
    parents = path.absolute().parents  # project/results/DATASET/MODEL
    data = parents[3] / paths.data(parents[1].name) if len(parents) > 3 else path
    if data == path or not data.is_file():
        return None
    with suppress(SafetensorError, ValueError), safe_open(data, framework="np") as file:
        (total,) = file.get_slice("test/labels").get_shape()
        return [place * total // count for place in range(count)] if count <= total else None
    return None


def on_shared_images(first: Evaluated, second: Evaluated) -> tuple[Outcomes, Outcomes]:
    """Return both tables on the test images that both evaluations cover, in the order of the first.

    Raises:
        UserError: there are none, or it is not known which images a file is about.
    """
    a, b = first.table, second.table
    if a.images == b.images:
        return a, b
    counts = f"{a.name} is of {len(a.images)} test images, {b.name} of {len(b.images)}"
    for one in (first, second):
        if not one.known:
            raise UserError(
                f"compare: {counts}, and {one.path} does not record which ones; `dvc pull` its pipeline's data, or "
                "evaluate both with the same --n"
            )
    there = set(b.images)
    places = [place for place in a.images if place in there]
    if not places:
        raise UserError(f"compare: {counts}, none of them the same; evaluate both on the same images")
    print(f"on the {len(places)} test images that both share: {counts}", file=sys.stderr)
    return _at(a, places), _at(b, places)


def _at(table: Outcomes, places: list[int]) -> Outcomes:
    rows = {place: row for row, place in enumerate(table.images)}
    kept = {column: "".join(outcome[rows[place]] for place in places) for column, outcome in table.outcomes.items()}
    return replace(table, images=places, outcomes=kept)


def compare_files(first: Path, second: Path, seed: int, as_json: bool) -> None:
    """Print, for every common column, which network is better and whether that can be claimed."""
    one, other = evaluated(first), evaluated(second)
    if one.table.name == other.table.name:
        one, other = (replace(of, table=replace(of.table, name=str(of.path))) for of in (one, other))
    a, b = on_shared_images(one, other)
    found = compare(a, b, seed)
    if as_json:
        print(json.dumps([{**vars(one), "counts": vars(one.counts)} for one in found], indent=1))
    else:
        show.comparison(a.name, b.name, found, a.titles)
