"""Read claims.yaml: numbers that papers print and that others reproduced, as one claim per row of their tables."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from cure import catalogue
from cure.errors import UserError, did_you_mean
from cure.published.attacks import PublishedAttack, attacked
from cure.published.windows import Window
from cure.settings import params
from cure.settings.base import Count, Settings
from cure.settings.problems import Problems, fill

MEASURES = (
    r"^(clean|aa|pgd10|pgd20)(_best|_last|_delta)?$|^(clean|ood|pgd10)(_gain)?$|^(pgd100|cw|nrr|nrr_aa|sum|mrc|drop)$"
)
Measure = Annotated[str, Field(pattern=MEASURES)]
Kind = Literal["claim", "reproduction"]


def cell(value: Any) -> Any:
    """Parse a printed cell as (number, deviation): 86.76, `87.82±0.19`, or nothing."""
    found = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)(?:±(\d+(?:\.\d+)?))?", str(value))
    if value is not None and not found:
        raise ValueError("not a number, mean±deviation, or ~")
    return found and (float(found[1]), float(found[2]) if found[2] else None)


class Place(Settings):
    """The fields that a group of rows and its claims share. The model `mean` is the mean over a table's networks."""

    paper: str  # of a reproduction: the people who reproduced
    table: str
    dataset: Literal["cifar10", "cifar100", "svhn", "tiny_imagenet"]
    model: Literal["resnet18", "preact_resnet18", "wrn_34_10", "resnet34", "resnet50", "resnet101", "mean"]
    source: str = ""
    setting: str


class Group(Place):
    """The rows of a table for one data set and one network. The head of claims.yaml explains each key."""

    caveat: str = ""
    own: list[str] = Field(default_factory=list)
    others: str = ""
    variants: dict[str, str] = Field(default_factory=dict)
    columns: list[Measure]
    under: dict[Measure, str] = Field(default_factory=dict)
    rows: dict[str, list[Annotated[tuple[float, float | None] | None, BeforeValidator(cell)]]]
    caveats: dict[str, str] = Field(default_factory=dict)
    misprinted: dict[str, dict[Measure, float]] = Field(default_factory=dict)


class Table(Settings):
    """One table: groups of rows, and defaults for each of them."""

    model_config = ConfigDict(extra="allow")
    groups: list[dict[str, Any]]


class Book(Settings):
    """The whole claims.yaml."""

    papers: dict[str, str]  # key -> where to find it
    reproducers: dict[str, str]
    images: dict[str, Count]  # in each data set's test split
    attacks: dict[str, PublishedAttack]
    tables: list[Table]
    unverified: dict[str, str]  # method -> why claims.yaml has no table of its own paper
    reproductions: list[Table]
    windows: list[Window]


class Claim(Place):
    """The numbers of one row of a published table about one method, in percent, without empty cells."""

    kind: Kind
    method: str
    values: dict[str, float]
    deviations: dict[str, float]  # over seeds, where printed
    misprinted: dict[str, float]  # measure -> the value that the rest of the row implies
    under: dict[str, PublishedAttack]  # measure -> its attack, where known
    caveat: str  # sentences, or ''

    def attack(self, measure: str) -> PublishedAttack | None:
        """Return the attack behind a measure, including nrr, sum and *_best; None if it is not known."""
        return self.under.get(measure) or self.under.get(attacked(measure) or "")


@dataclass(frozen=True)
class Published:
    """Everything that others published and that our results are compared with, in the order of the file."""

    claims: list[Claim]  # numbers that papers print
    reproductions: list[Claim]  # numbers that others than a method's authors measured
    windows: list[Window]
    attacks: dict[str, PublishedAttack]
    unverified: dict[str, str]  # method -> why claims.yaml has no table of its own paper
    images: dict[str, int]  # in each data set's test split


def path() -> Path:
    """Return claims.yaml at the top of a checkout, or inside the package when installed from a wheel."""
    inside = catalogue.ROOT / "claims.yaml"
    return inside if inside.exists() else catalogue.ROOT.parent / "claims.yaml"


def load(path: Path) -> Published:
    """Read every claim, in the order of the file; raise one UserError with all mistakes."""
    if not path.exists():
        raise UserError(f"{path}: not found; it belongs at the top of the repository")
    problems = Problems()
    if (book := fill(Book, params.read(path), "", problems)) is None:
        problems.refuse(path)
        raise AssertionError("a file without problems has a book")
    tables = [{**(table.model_extra or {}), **part} for table in book.tables for part in table.groups]
    claims = _claims(book, tables, "claim", problems)
    again = [{**(table.model_extra or {}), **part} for table in book.reproductions for part in table.groups]
    reproductions = _claims(book, again, "reproduction", problems)
    used = {name for window in book.windows for name in window.under.values()}
    problems += [f"windows.under: {_unknown_attack(name, book)}" for name in sorted(used - set(book.attacks))]
    problems.refuse(path)
    return Published(claims, reproductions, book.windows, book.attacks, book.unverified, book.images)


def _unknown_attack(name: str, book: Book) -> str:
    return f"no {name!r} under attacks{did_you_mean(name, [*book.attacks])}"


def _claims(book: Book, tables: list[dict[str, Any]], kind: Kind, problems: Problems) -> list[Claim]:
    claims = dict[tuple[str, str], Claim]()
    for raw in tables:
        if kind == "reproduction":
            raw = {**raw, "paper": raw.get("by")}
            raw.pop("by", None)
        where = " ".join(str(raw.get(key, f"{key}?")) for key in ("paper", "table", "dataset", "model"))
        if group := fill(Group, raw, where, problems):
            problems += [f"{where}.{wrong}" for wrong in _wrong(group, book, kind)]
            problems += [f"{where}.{method}: is there twice" for method in group.rows if (where, method) in claims]
            claims |= {(where, method): _claim(group, book, kind, method) for method in group.rows}
    return list(claims.values())


def _wrong(group: Group, book: Book, kind: Kind) -> Iterator[str]:
    key, section, known = ("paper", "papers", book.papers)
    if kind == "reproduction":
        key, section, known = ("by", "reproducers", book.reproducers)
    if group.paper not in known:
        yield f"{key}: no {group.paper!r} under {section}{did_you_mean(group.paper, [*known])}"
    for name in group.under.values():
        if name not in book.attacks:
            yield f"under: {_unknown_attack(name, book)}"
    if group.dataset not in book.images:
        yield f"dataset: no {group.dataset} under images"
    for method, row in group.rows.items():
        if len(row) != len(group.columns):
            yield f"rows.{method}: {len(row)} values for {len(group.columns)} columns"
    for method in {*group.own, *group.variants, *group.caveats, *group.misprinted} - set(group.rows):
        yield f"rows: no {method!r}, but it is named beside them{did_you_mean(method, [*group.rows])}"


def _claim(group: Group, book: Book, kind: Kind, method: str) -> Claim:
    printed = {column: cell for column, cell in zip(group.columns, group.rows[method], strict=False) if cell}
    slips = group.misprinted.get(method, {})
    copied = bool(group.own) and method not in group.own
    notes = [group.caveat, group.others if copied else "", group.caveats.get(method, "")]
    notes += [f"{measure} is misprinted, the rest of its row gives {value:.2f}." for measure, value in slips.items()]
    sources = book.papers if kind == "claim" else book.reproducers
    return Claim(
        **group.model_dump(include={"paper", "table", "dataset", "model"}),
        kind=kind,
        method=method,
        source=", ".join(filter(None, (sources.get(group.paper), group.source))),
        setting=" ".join(filter(None, (group.setting, group.variants.get(method)))),
        values={column: number for column, (number, _) in printed.items()},
        deviations={column: deviation for column, (_, deviation) in printed.items() if deviation is not None},
        misprinted=slips,
        under={} if copied else {key: book.attacks[name] for key, name in group.under.items() if name in book.attacks},
        caveat=" ".join(filter(None, notes)),
    )
