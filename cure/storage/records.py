"""JSON files as typed records."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from cure.storage.files import write_text

R = TypeVar("R", bound="Record")


class Record(BaseModel):
    """A JSON file or a part of one. Keys that a record does not name are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)

    def document(self) -> dict[str, Any]:
        """Return the JSON object: the fields that were given, in the order of the class."""
        return self.model_dump(exclude_unset=True)


def write(path: Path, record: Record) -> None:
    """Write the file of a record, whole or not at all."""
    write_text(path, json.dumps(record.document(), indent=1) + "\n")


def parse(kind: type[R], text: bytes | str) -> R:
    """Read a record from the text of its file. Raises ValueError if the text is not such a record."""
    return kind.model_validate(json.loads(text))
