"""Parquet files: items to read, and vectors that were made where the items are.

A file of vectors has a row for each item: its id, the hash of its content (`content_hash`) and the
vector. Which model made them stands in the file's own metadata. A vector belongs to a content, not
to an id: an item that was written since then has another content, and its old vector is not taken.
"""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.checks import check_ids
from hotfill.embedders.content_hash import content_hash
from hotfill.errors import InputError, ModelMismatchError
from hotfill.extras import need
from hotfill.files import writing_whole
from hotfill.integrations.items import ItemBatch, in_batches, item_of, keys_of
from hotfill.types import ModelId
from hotfill.upgrade.caller import PatientCaller, embed_what_can_be
from hotfill.vectors import check_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from hotfill.embedders.cache import CachedEmbedder
    from hotfill.stores.base import Metadata
    from hotfill.types import Embedder

_MODEL, _OF = b"hotfill.model", b"hotfill.made_of"
_HASH_BYTES = 32
_ROWS = 1000  # read at once


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
        content_keys = keys_of(self.content)
        columns = [self.item_id, *content_keys, *self.metadata]
        for path in parquet_files(self.path):
            row = 0
            for table in _tables(path, columns, size):
                for record in table.to_pylist():
                    yield item_of(
                        record,
                        f"{path}, row {row}",
                        id_key=self.item_id,
                        content_keys=content_keys,
                        metadata_keys=self.metadata,
                    )
                    row += 1


def parquet_files(path: Path) -> list[Path]:
    """List the *.parquet files of a folder, by name, or a file alone. Raises InputError."""
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"{path} cannot be read: there is no such file or folder")
        return [path]
    found = sorted(path.glob("*.parquet"))
    if not found:
        raise InputError(f"{path}: expected *.parquet files, found none")
    return found


# Vectors ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Embedded:
    """What `embed_files` did. skipped: files whose vectors were there. failed: items left out."""

    files: int = 0
    skipped: int = 0
    items: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by item id."""


def embed_files(
    data: Path,
    out: Path,
    embedder: Embedder,
    *,
    item_id: str = "id",
    content: str | Sequence[str] = "text",
    batch_size: int = 256,
    on_batch: Callable[[int], None] = lambda items: None,
) -> Embedded:
    """Embed the items of Parquet files into files of vectors of the same names.

    data: a file, or a folder with *.parquet. out: a folder, made when missing; each file in it is
    whole or not there, and one that was made of the same file by the same model is left alone, so
    that the same call goes on where a kill ended the last one. item_id, content: columns, as for
    `ParquetReader`. on_batch: told the number of items so far.
    Items that cannot be embedded are left out and named; an outage ends the call.
    Memory is bounded by a batch. Raises InputError, DuplicateItemError (twice in a batch), and what
    the embedder raises; ModelMismatchError where another model's vectors are in `out`.
    """
    files, done = parquet_files(data), Embedded()
    out.mkdir(parents=True, exist_ok=True)
    with closing(PatientCaller()) as call:
        for path in files:
            target, made_of = out / path.name, f"{path.stat().st_size} bytes"
            if target.exists():
                model, of = _stamp_of(target)
                if model != embedder.model_id:
                    raise ModelMismatchError(f"{target} is there", embedder.model_id, model)
                if of == made_of:
                    done.skipped += 1
                    continue
            batches = ParquetReader(path, item_id, content).batches(batch_size)
            with _writing_vectors(target, embedder.model_id, made_of) as write:
                for batch in batches:
                    check_ids(batch.item_ids)
                    contents = dict(zip(batch.item_ids, batch.contents, strict=True))
                    failures: list[Exception] = []
                    made = embed_what_can_be(embedder, contents, call, failures)
                    lacking = [each for each in batch.item_ids if each not in made]
                    done.failed |= dict.fromkeys(lacking, str(failures[-1]) if failures else "")
                    if made:
                        hashes = [content_hash(contents[each]) for each in made]
                        write(list(made), hashes, np.stack(list(made.values())))
                    done.items += len(made)
                    on_batch(done.items)
            done.files += 1
    return done


def keep_vectors(
    path: Path, cache: CachedEmbedder, *, on_batch: Callable[[int], None] = lambda items: None
) -> int:
    """Bring the vectors of files into an embedding cache. Returns how many were new there.

    path: a file, or a folder with *.parquet. After that the cache's embedder is not asked for their
    contents. Any time again: what is there stays. Memory is bounded by some rows.
    Raises ModelMismatchError, before anything is kept, for files of another model; InputError,
    VectorError (NaN, infinite or only zero values).
    """
    model = cache.model_id
    files = parquet_files(path)
    for each in files:
        made_by, _ = _stamp_of(each)
        if made_by != model:
            raise ModelMismatchError(f"the vectors of {each}", model, made_by)
    before, read = cache.kept, 0
    for each in files:
        for ids, hashes, rows in _vectors_of(each, model.dimension):
            vectors = check_vectors(rows, model.dimension, item_ids=ids, what=f"vectors of {each}")
            cache.keep(dict(zip(hashes, vectors, strict=True)))
            read += len(ids)
            on_batch(read)
    return cache.kept - before


@contextmanager
def _writing_vectors(
    path: Path, model: ModelId, made_of: str
) -> Iterator[Callable[[list[str], list[bytes], Any], None]]:
    """Give what writes rows to a file of vectors, which appears when the block ends."""
    arrow: Any = need("pyarrow", "parquet")
    parquet: Any = need("pyarrow.parquet", "parquet")
    kind = arrow.list_(arrow.float32(), model.dimension)
    schema = arrow.schema(
        [("id", arrow.string()), ("content", arrow.binary(_HASH_BYTES)), ("vector", kind)],
        metadata={_MODEL: json.dumps(model.to_dict()), _OF: made_of},
    )
    with writing_whole(path) as file, parquet.ParquetWriter(file, schema) as writer:

        def write(ids: list[str], hashes: list[bytes], rows: Any) -> None:
            vectors = arrow.FixedSizeListArray.from_arrays(arrow.array(rows.ravel()), type=kind)
            columns = [arrow.array(ids), arrow.array(hashes, arrow.binary(_HASH_BYTES)), vectors]
            writer.write_batch(arrow.RecordBatch.from_arrays(columns, schema=schema))

        yield write


def _stamp_of(path: Path) -> tuple[ModelId, str]:
    """Tell which model made a file of vectors, and of what. Raises InputError."""
    with _reading(path) as file:
        metadata = file.schema_arrow.metadata or {}
    try:
        return ModelId.from_dict(json.loads(metadata[_MODEL])), metadata.get(_OF, b"").decode()
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path} does not say which model made its vectors: expected a file that "
            "`hotfill embed` wrote, or one with the metadata hotfill.model"
        ) from error


def _vectors_of(path: Path, dimension: int) -> Iterator[tuple[list[str], list[bytes], Any]]:
    """Yield ids, content hashes and vectors, float32 (n, dimension), of some rows at a time."""
    compute: Any = need("pyarrow.compute", "parquet")
    names = ["id", "content", "vector"]
    for table in _tables(path, names, _ROWS):
        ids, hashes, vectors = (table.column(name) for name in names)
        if any(column.null_count for column in (ids, hashes, vectors)):
            raise InputError(f"{path}: expected an id, a hash and a vector in each row")
        if (np.asarray(compute.list_value_length(vectors)) != dimension).any():
            raise InputError(f"{path}: expected vectors of {dimension} numbers")
        rows = np.asarray(vectors.flatten(), np.float32).reshape(-1, dimension)
        yield ids.to_pylist(), hashes.to_pylist(), rows


def _tables(path: Path, columns: Sequence[str], size: int) -> Iterator[Any]:
    """Yield these columns of a file, at most `size` rows at once. Raises InputError."""
    with _reading(path) as file:
        there = file.schema_arrow.names
        if missing := [name for name in columns if name not in there]:
            raise InputError(
                f"{path}: expected columns {', '.join(missing)}; there are {', '.join(there)}"
            )
        yield from file.iter_batches(batch_size=max(1, size), columns=columns)


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """Open a Parquet file. Raises InputError where that or reading it fails."""
    arrow: Any = need("pyarrow", "parquet")
    parquet: Any = need("pyarrow.parquet", "parquet")
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (OSError, arrow.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error
