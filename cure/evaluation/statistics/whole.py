"""Check that a result is whole: outcomes for all images, row numbers in range, and counts in range.

Each function raises ValueError with the mistake, so that a file which was cut or edited cannot enter a table.
"""

from collections.abc import Iterable, Mapping, Sequence

from cure.settings.base import name

SEVERITIES = {"1", "2", "3", "4", "5"}


def refuse_odd_outcomes(outcomes: Mapping[str, str], images: int) -> None:
    """Raise ValueError for columns without 1, 0 or - for each image, or with - alone; `clean` must cover all images."""
    if images < 1:
        raise ValueError(f"it is about {images} images")
    if "clean" not in outcomes:
        raise ValueError("it has no column clean")
    for column, text in outcomes.items():
        try:
            name(column)
        except ValueError as problem:
            raise ValueError(f"the column {column[:70]!r} is {problem}") from None
        if len(text) != images:
            raise ValueError(f"{column} has {len(text)} outcomes of {images} images")
        if strange := set(text) - set("01-"):
            raise ValueError(
                f"{column} has {min(strange)!r} where only 1 (correct), 0 and - (not evaluated) are allowed"
            )
        if set(text) <= {"-"} or (column == "clean" and "-" in text):
            raise ValueError(f"{column} {'does not cover all images' if column == 'clean' else 'covers no image'}")


def refuse_odd_rows(rows: Sequence[int], images: int, where: str) -> None:
    """Raise ValueError for row numbers outside the images, or given twice."""
    if odd := next((row for row in rows if not 0 <= row < images), None):
        raise ValueError(f"{where} names image {odd} of {images}")
    if len(set(rows)) != len(rows):
        raise ValueError(f"{where} names an image twice")


def refuse_odd_counts(correct: Mapping[str, Mapping[str, int]], clean: int, images: int) -> None:
    """Raise ValueError for counts of correct images, clean and by corruption and severity, outside 0 to `images`."""
    if images < 1 or not 0 <= clean <= images:
        raise ValueError(f"{clean} of {images} images are correct")
    for corruption, by in correct.items():
        if not by or set(by) - SEVERITIES:
            raise ValueError(f"{corruption} has the severities {', '.join(by) or 'none'}; known: 1 to 5")
        if odd := next((count for count in by.values() if not 0 <= count <= images), None):
            raise ValueError(f"{odd} of {images} images are correct under {corruption}")
    if len({frozenset(by) for by in correct.values()}) > 1:
        raise ValueError("its corruptions have different severities")


def refuse_missing(wanted: Iterable[str], there: Iterable[str], what: str) -> None:
    """Raise ValueError for a result without a part that its other parts name."""
    held = set(there)
    if missing := [name for name in wanted if name not in held]:
        raise ValueError(f"it has no {what} {', '.join(missing)}")
