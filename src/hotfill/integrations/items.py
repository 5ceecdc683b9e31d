"""What a reader gives: items with their contents, a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from hotfill.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hotfill.stores.base import Metadata, Scalar


@dataclass(frozen=True, slots=True)
class ItemBatch:
    """Some items; position i of every field is the same item.

    contents: what an embedder reads: texts, bytes of pictures. metadata: what is filtered by.
    """

    item_ids: tuple[str, ...]
    contents: tuple[Any, ...]
    metadata: tuple[Metadata, ...]

    def __len__(self) -> int:
        return len(self.item_ids)


class Reader(Protocol):
    """Items of a file or folder. Reading again gives the same items in the same order."""

    def batches(self, size: int = 256, /) -> Iterator[ItemBatch]:
        """Yield all items, at most `size` at once. Raises InputError naming what does not fit."""
        ...


def in_batches(items: Iterable[tuple[str, Any, Metadata]], size: int) -> Iterator[ItemBatch]:
    """Put single items (id, content, metadata) together. Raises InputError when size < 1."""
    if size < 1:
        raise InputError(f"a batch holds at least one item, got size {size}")
    remaining = iter(items)
    while rows := list(islice(remaining, size)):
        item_ids, contents, metadata = zip(*rows, strict=True)
        yield ItemBatch(item_ids, contents, metadata)


def item_of(
    record: Mapping[str, Any],
    where: str,
    *,
    id_key: str,
    content_keys: Sequence[str],
    metadata_keys: Sequence[str],
) -> tuple[str, Any, dict[str, Scalar]]:
    """Take id, content and metadata out of a record. where: the record's place, for messages.

    A whole number becomes an id as text. Several content keys are texts that are joined by a
    blank, empty ones left out. Metadata that is null is left out.
    Raises InputError.
    """
    missing = [key for key in (id_key, *content_keys) if key not in record]
    if missing:
        raise InputError(
            f"{where}: expected {', '.join(missing)}; there are {', '.join(record) or 'no fields'}"
        )
    item_id = record[id_key]
    if isinstance(item_id, int) and not isinstance(item_id, bool):
        item_id = str(item_id)
    if not isinstance(item_id, str) or not item_id:
        raise InputError(
            f"{where}: an item id is a non-empty text or a whole number, got {item_id!r}"
        )
    parts = [record[key] for key in content_keys]
    if len(parts) == 1:
        content = parts[0]
        if content is None:
            raise InputError(f"{where}: item {item_id!r} has no {content_keys[0]}")
    else:
        if not all(part is None or isinstance(part, str) for part in parts):
            raise InputError(f"{where}: several contents can be joined only if they are texts")
        content = " ".join(part for part in parts if part)
    metadata = {key: record[key] for key in metadata_keys if record.get(key) is not None}
    for key, value in metadata.items():
        if not isinstance(value, str | int | float | bool):
            raise InputError(
                f"{where}: metadata {key!r} must be text, number or boolean, got "
                f"{type(value).__name__}"
            )
    return item_id, content, metadata


def keys_of(content: str | Sequence[str]) -> tuple[str, ...]:
    """Return the keys of a content, given as one or several."""
    keys = (content,) if isinstance(content, str) else tuple(content)
    if not keys:
        raise InputError("a reader needs at least one key of the content")
    return keys
