"""Read and write JSON files as typed records."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from cure.storage.files import write_text

R = TypeVar("R", bound="Record")


class Record(BaseModel):
    """A JSON file or a part of one. Keys that a record does not define are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    def document(self) -> dict[str, Any]:
        """Return the JSON object: the fields that were given, in the order of the class."""
        return self.model_dump(exclude_unset=True)


def write(path: Path, record: Record) -> None:
    """Write the file of a record, whole or not at all."""
    write_text(path, json.dumps(record.document(), indent=1) + "\n")


def parse(kind: type[R], text: bytes | str) -> R:
    """Read a record from the text of its file; raise ValueError with the first mistake, in one line."""
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    return validated(kind, held)


def validated(kind: type[R], held: Any) -> R:
    """Read a record from JSON values; raise ValueError with the first mistake, in one line."""
    if not isinstance(held, dict):
        raise ValueError("it is not a JSON object")
    try:
        return kind.model_validate(held)
    except ValidationError as failed:
        first = failed.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {said}" if where else said) from None
