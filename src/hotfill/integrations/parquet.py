"""Items from Parquet files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotfill.errors import InputError
from hotfill.extras import need
from hotfill.integrations.items import ItemBatch, in_batches, item_of, keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hotfill.stores.base import Metadata


@dataclass(frozen=True, slots=True)
class ParquetReader:
    """Items of a Parquet file, or of all *.parquet files of a folder, by name.

    item_id: column of the id. content: column of the content (texts, or bytes of pictures), or
    several whose texts are joined. metadata: columns kept with the vectors.
    Only these columns are read, and of them only as much as a batch needs.
    """

    path: Path
    item_id: str = "id"
    content: str | Sequence[str] = "text"
    metadata: Sequence[str] = ()

    def batches(self, size: int = 256, /) -> Iterator[ItemBatch]:
        """Yield all items. Raises InputError naming file and row, MissingExtraError."""
        yield from in_batches(self._items(size), size)

    def _items(self, size: int) -> Iterator[tuple[str, Any, Metadata]]:
        arrow: Any = need("pyarrow", "parquet")
        parquet: Any = need("pyarrow.parquet", "parquet")
        content_keys = keys_of(self.content)
        columns = [self.item_id, *content_keys, *self.metadata]
        for path in self._files():
            row = 0
            try:
                with parquet.ParquetFile(path) as file:
                    there = file.schema_arrow.names
                    missing = [name for name in columns if name not in there]
                    if missing:
                        raise InputError(
                            f"{path}: expected columns {', '.join(missing)}; there are "
                            f"{', '.join(there)}"
                        )
                    for table in file.iter_batches(batch_size=max(1, size), columns=columns):
                        for record in table.to_pylist():
                            yield item_of(
                                record,
                                f"{path}, row {row}",
                                id_key=self.item_id,
                                content_keys=content_keys,
                                metadata_keys=self.metadata,
                            )
                            row += 1
            except (OSError, arrow.ArrowException) as error:
                raise InputError(f"{path} cannot be read as Parquet: {error}") from error

    def _files(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        found = sorted(self.path.glob("*.parquet"))
        if not found:
            raise InputError(f"{self.path}: expected *.parquet files, found none")
        return found
