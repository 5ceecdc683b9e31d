"""Items from a file with one JSON object a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotfill.errors import InputError
from hotfill.integrations.items import ItemBatch, in_batches, item_of, keys_of
from hotfill.text_files import text_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class JsonlReader:
    """Items of a .jsonl or .jsonl.gz file.

    item_id: key of the id. content: key of the content, or several whose texts are joined.
    metadata: keys kept with the vectors.
    """

    path: Path
    item_id: str = "id"
    content: str | Sequence[str] = "text"
    metadata: Sequence[str] = ()

    def batches(self, size: int = 256, /) -> Iterator[ItemBatch]:
        """Yield all items. Raises InputError naming the line that does not fit."""
        content_keys = keys_of(self.content)
        items = (
            item_of(
                record,
                f"{self.path}, line {number}",
                id_key=self.item_id,
                content_keys=content_keys,
                metadata_keys=self.metadata,
            )
            for number, record in read_lines(self.path)
        )
        yield from in_batches(items, size)


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file with their line numbers, from 1; blank lines are left out.

    Raises InputError.
    """
    for number, line in text_lines(path):
        yield number, _object(line, f"{path}, line {number}")


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: expected JSON: {error}") from error
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected an object, got {line[:60]!r}")
    return record
