"""claims.yaml: the numbers that papers print, as one claim per row of their tables."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from cure.errors import UserError, did_you_mean
from cure.settings import params
from cure.settings.base import Settings
from cure.settings.problems import Problems, fill

MEASURES = r"^(clean|aa)(_best|_last|_delta)?$|^(clean|ood|pgd10)(_gain)?$|^(pgd20|pgd100|cw|nrr|nrr_aa|sum|mrc|drop)$"
Measure = Annotated[str, Field(pattern=MEASURES)]


def cell(value: Any) -> Any:
    """A printed cell as (number, deviation): 86.76, `87.82±0.19`, or nothing."""
    found = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)(?:±(\d+(?:\.\d+)?))?", str(value))
    if value is not None and not found:
        raise ValueError("not a number, mean±deviation, or ~")
    return found and (float(found[1]), float(found[2]) if found[2] else None)


class Place(Settings):
    """What a group of rows and each claim in it share; `mean` is the mean over a table's networks."""

    paper: str
    table: str
    dataset: Literal["cifar10", "cifar100", "svhn", "tiny_imagenet"]
    model: Literal["resnet18", "preact_resnet18", "wrn_34_10", "resnet34", "resnet50", "resnet101", "mean"]
    source: str = ""
    setting: str


class Group(Place):
    """The rows of a table for one data set and one network; the head of claims.yaml says what each key means."""

    caveat: str = ""
    own: list[str] = Field(default_factory=list)
    others: str = ""
    variants: dict[str, str] = Field(default_factory=dict)
    columns: list[Measure]
    rows: dict[str, list[Annotated[tuple[float, float | None] | None, BeforeValidator(cell)]]]
    caveats: dict[str, str] = Field(default_factory=dict)
    misprinted: dict[str, dict[Measure, float]] = Field(default_factory=dict)


class Table(Settings):
    """One table: groups of rows, and what is laid under each of them."""

    model_config = ConfigDict(extra="allow")
    groups: list[dict[str, Any]]


class Book(Settings):
    """The whole file."""

    papers: dict[str, str]  # key -> where to find it
    tables: list[Table]


class Claim(Place):
    """What one row of a published table says of one method; empty cells are left out."""

    method: str
    values: dict[str, float]
    deviations: dict[str, float]  # over seeds, where printed
    misprinted: dict[str, float]  # measure -> what the rest of the row gives instead
    caveat: str  # sentences, or nothing


def load(path: Path) -> list[Claim]:
    """Every claim, in the order of the file; refuses with all mistakes at once."""
    if not path.exists():
        raise UserError(f"{path}: not found; it lies at the top of the repository")
    problems, claims = Problems(), dict[tuple[str, str], Claim]()
    book = fill(Book, params.read(path), "", problems) or Book(papers={}, tables=[])
    for raw in [{**(table.model_extra or {}), **part} for table in book.tables for part in table.groups]:
        where = " ".join(str(raw.get(key, f"{key}?")) for key in ("paper", "table", "dataset", "model"))
        if group := fill(Group, raw, where, problems):
            problems += [f"{where}.{wrong}" for wrong in _wrong(group, book)]
            problems += [f"{where}.{method}: stands there twice" for method in group.rows if (where, method) in claims]
            claims |= {(where, method): _claim(group, book, method) for method in group.rows}
    problems.refuse(path)
    return list(claims.values())


def _wrong(group: Group, book: Book) -> Iterator[str]:
    if group.paper not in book.papers:
        yield f"paper: no {group.paper!r} under papers{did_you_mean(group.paper, [*book.papers])}"
    for method, row in group.rows.items():
        if len(row) != len(group.columns):
            yield f"rows.{method}: {len(row)} values for {len(group.columns)} columns"
    for method in {*group.own, *group.variants, *group.caveats, *group.misprinted} - set(group.rows):
        yield f"rows: no {method!r}, but it is named beside them{did_you_mean(method, [*group.rows])}"


def _claim(group: Group, book: Book, method: str) -> Claim:
    printed = {column: cell for column, cell in zip(group.columns, group.rows[method], strict=False) if cell}
    slips = group.misprinted.get(method, {})
    notes = [group.caveat, group.others if group.own and method not in group.own else "", group.caveats.get(method, "")]
    notes += [f"{measure} is misprinted, the rest of its row gives {value:.2f}." for measure, value in slips.items()]
    return Claim(
        **group.model_dump(include={"paper", "table", "dataset", "model"}),
        method=method,
        source=", ".join(filter(None, (book.papers.get(group.paper), group.source))),
        setting=" ".join(filter(None, (group.setting, group.variants.get(method)))),
        values={column: number for column, (number, _) in printed.items()},
        deviations={column: deviation for column, (_, deviation) in printed.items() if deviation is not None},
        misprinted=slips,
        caveat=" ".join(filter(None, notes)),
    )
