"""What is at a place: collections of vectors, and files of contents. Looking changes nothing.

A place is what people have at hand: the address of a PostgreSQL, of a Qdrant or Milvus server, a
folder or file of a store, an index of FAISS, a Parquet or JSON lines file, a folder of pictures.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotfill.errors import InputError, StoreError
from hotfill.extras import need
from hotfill.integrations.image_folder import ENDINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hotfill.stores.postgres.stamp import Rows
    from hotfill.types import ModelId

_LOOKED_AT = 50  # rows whose fields are looked at
_PROBE_SECONDS = 5.0
_EXACTLY_UP_TO = 1_000_000  # rows; of larger tables PostgreSQL's own estimate is shown

_TEXTS = (
    "document", "page_content", "text", "content", "contents", "chunk", "passage", "body",
    "title", "description", "caption", "question", "sentence",
)  # fmt: skip
"""Names under which frameworks and people keep texts, the likelier ones first."""
_IDS = ("id", "item_id", "uuid", "langchain_id", "doc_id", "sku", "key", "name", "path")
_METADATA = ("metadata", "cmetadata", "metadata_", "langchain_metadata", "facts")


@dataclass(frozen=True, slots=True)
class FoundCollection:
    """A collection, table or index with vectors.

    store: the keys of [store] that open it. items: None where that is not known.
    vectors: the numbers in a vector, by the name of the vector; None where that is not known.
    models: those that it is stamped with; empty for one that hotfill has not adopted.
    id_columns, metadata_columns: that can be; empty where the store has only one way.
    text_fields: that hold texts, the likeliest content first.
    index_file, ids_file: of an index that would be copied into a gallery.
    """

    store: Mapping[str, Any]
    name: str
    items: int | None
    vectors: Mapping[str, int | None]
    models: tuple[ModelId, ...] = ()
    id_columns: tuple[str, ...] = ()
    metadata_columns: tuple[str, ...] = ()
    text_fields: tuple[str, ...] = ()
    index_file: Path | None = None
    ids_file: Path | None = None


@dataclass(frozen=True, slots=True)
class FoundContents:
    """Contents by id: a file of rows, or a folder of pictures (`kind` is "pictures").

    items: None where counting would read everything. vectors: as in `FoundCollection`.
    """

    kind: str
    path: Path
    items: int | None = None
    id_columns: tuple[str, ...] = ()
    text_fields: tuple[str, ...] = ()
    vectors: Mapping[str, int | None] = field(default_factory=dict)


Found = list[FoundCollection] | FoundContents


def discover(place: str) -> Found:
    """Look at a place, an address or a path. Returns its collections, by name, or its contents.

    Raises InputError where nothing is known of it, StoreError, MissingExtraError.
    """
    if re.match(r"postgres(ql)?(\+\w+)?://", place) or "dbname=" in place:
        return list(_postgres(place))
    if place.startswith(("http://", "https://")):
        return list(_server(place))
    path = Path(place).expanduser()
    if path.is_file():
        return _in_file(path)
    if path.is_dir():
        return _in_folder(path)
    raise InputError(
        f"{place}: there is no such file or folder, and it is no address either; expected "
        "postgresql://..., http://..., or a path"
    )


def _in_file(path: Path) -> Found:
    if path.suffix in (".parquet", ".pq"):
        return _parquet(path)
    if path.suffix in (".jsonl", ".ndjson"):
        return _json_lines(path)
    if path.suffix in (".faiss", ".index"):
        return [_faiss(path)]
    if path.suffix == ".db":
        return list(_milvus(path))
    raise InputError(
        f"{path}: of files, .parquet, .jsonl, .faiss, .index and .db (Milvus Lite) are known"
    )


def _in_folder(path: Path) -> Found:
    if (path / "spaces.json").is_file():
        return [_qdrant_edge(path)]
    if (path / "truth.sqlite").is_file():
        return [_index_files(path)]
    if any(path.glob("*.lance")):
        return list(_lancedb(path))
    if (path / "meta.json").is_file():
        return list(_qdrant(str(path)))
    if path.suffix == ".db":
        return list(_milvus(path))
    if any(path.glob("*.parquet")):
        return _parquet(path)
    pictures = sum(each.suffix.lower() in ENDINGS for each in path.rglob("*"))
    if pictures:
        return FoundContents("pictures", path, pictures)
    raise InputError(
        f"{path}: expected a database of LanceDB, Qdrant's local engine, a gallery of hotfill, "
        "Parquet files or pictures; found none of these"
    )


# Stores ------------------------------------------------------------------------------------------

_TABLES = """
SELECT n.nspname::text, c.relname::text, c.reltuples::float8,
    jsonb_object_agg(a.attname, a.atttypmod ORDER BY a.attnum)
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.typname IN ('vector', 'halfvec') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
AND a.attnum > 0 AND NOT a.attisdropped AND a.attname NOT LIKE 'hotfill\\_%'
AND has_table_privilege(c.oid, 'SELECT')
GROUP BY 1, 2, 3 ORDER BY 1, 2
"""
_TEXT_TYPES = ("text", "character varying")


def _postgres(dsn: str) -> Iterator[FoundCollection]:
    psycopg: Any = need("psycopg", "postgres")
    from hotfill.stores.postgres.connections import for_libpq, translated

    with (
        translated("look at the database"),
        psycopg.connect(for_libpq(dsn), autocommit=True, connect_timeout=10) as connection,
    ):
        for schema, table, estimate, vectors in connection.execute(_TABLES).fetchall():
            yield from _table(connection, dsn, (schema, table), round(estimate), vectors)


def _table(
    connection: Any, dsn: str, place: tuple[str, str], items: int, vectors: Mapping[str, int]
) -> Iterator[FoundCollection]:
    """Tell what a table holds: one collection, or each of those that a framework keeps in it."""
    sql: Any = need("psycopg.sql", "postgres")
    from hotfill.stores.layouts import table_layout
    from hotfill.stores.postgres.inspector import collections, columns_of
    from hotfill.stores.postgres.schema import read_stamp
    from hotfill.stores.postgres.values import ID_TYPES

    quoted = sql.Identifier(*place)
    columns = columns_of(connection, quoted.as_string())
    if items <= _EXACTLY_UP_TO:
        (items,) = connection.execute(
            sql.SQL("SELECT count({}) FROM {}").format(sql.Identifier(next(iter(vectors))), quoted)
        ).fetchone()
    texts = [name for name, about in columns.items() if about[0] in _TEXT_TYPES]
    rows = []
    if texts:
        listed = sql.SQL(", ").join(map(sql.Identifier, texts))
        rows = connection.execute(
            sql.SQL("SELECT {} FROM {} LIMIT {}").format(listed, quoted, _LOOKED_AT)
        ).fetchall()
    ids = [
        name
        for name, (kind, _, not_null, unique) in columns.items()
        if kind in ID_TYPES and not_null and unique
    ]
    found = texts_first(dict(zip(texts, row, strict=True)) for row in rows)
    name = place[1] if place[0] == "public" else ".".join(place)
    one = FoundCollection(
        store={"kind": "postgres", "dsn": dsn, "table": name},
        name=name,
        items=items,
        vectors={
            column: length if length > 0 else _dimension(connection, quoted, column)
            for column, length in vectors.items()
        },
        id_columns=_known_first(ids, _IDS),
        metadata_columns=_known_first(
            [name for name, about in columns.items() if about[0] == "jsonb"], _METADATA
        ),
        text_fields=tuple(name for name in found if name not in ids),
    )
    several = collections(connection, *place, table_layout(columns))
    if len(several) <= 1:
        stamp = read_stamp(connection, *place)
        yield replace(one, models=() if stamp is None else stamp.models)
        return
    for each in several:
        stamp = read_stamp(connection, *place, each.rows)
        yield replace(
            one,
            store={**one.store, "rows": dict(each.rows)},
            name=each.name or each.rows[0][1],
            items=each.items,
            vectors={
                column: length if length > 0 else _dimension(connection, quoted, column, each.rows)
                for column, length in vectors.items()
            },
            models=() if stamp is None else stamp.models,
        )


def _dimension(connection: Any, table: Any, column: str, rows: Rows = ()) -> int | None:
    """Tell how long the vectors of a column are that has no length of its own. rows: which."""
    sql: Any = need("psycopg.sql", "postgres")
    wanted = [
        sql.SQL("{}::text = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in rows
    ]
    wanted.append(sql.SQL("{} IS NOT NULL").format(sql.Identifier(column)))
    row = connection.execute(
        sql.SQL("SELECT {c}::text FROM {t} WHERE {w} LIMIT 1").format(
            c=sql.Identifier(column), t=table, w=sql.SQL(" AND ").join(wanted)
        )
    ).fetchone()
    return None if row is None else str(row[0]).count(",") + 1


def _server(address: str) -> Iterator[FoundCollection]:
    """Ask a server what it is: Qdrant says so at its root, Milvus at its own port."""
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    try:
        with urlopen(address, timeout=_PROBE_SECONDS) as answer:
            said = answer.read(10_000).decode("utf-8", "replace").lower()
    except HTTPError as error:
        said = "qdrant" if error.code in (401, 403) and ":6333" in address else ""
    except (URLError, OSError, ValueError):
        said = ""
    return _qdrant(address) if "qdrant" in said else _milvus(address)


def _qdrant(location: str) -> Iterator[FoundCollection]:
    client: Any = need("qdrant_client", "qdrant")
    from hotfill.stores.qdrant import stamp as stamps
    from hotfill.stores.qdrant.collection import translated

    with translated(f"look at {location}"):
        place: dict[str, Any] = {"path": location}
        if "://" in location:
            key = os.environ.get("QDRANT_API_KEY")
            place = {"url": location, "api_key": key, "check_compatibility": False}
        with closing(client.QdrantClient(**place)) as connected:
            for name in sorted(each.name for each in connected.get_collections().collections):
                about = connected.get_collection(name)
                known = about.config.params.vectors or {}
                named = known if isinstance(known, dict) else {"": known}
                points, _ = connected.scroll(name, limit=_LOOKED_AT, with_payload=True)
                stamp = stamps.read(about.config.metadata, name)
                yield FoundCollection(
                    store={"kind": "qdrant", "location": location, "collection": name},
                    name=name,
                    items=about.points_count,
                    vectors={
                        vector: params.size
                        for vector, params in named.items()
                        if params.multivector_config is None
                    },
                    models=() if stamp is None else stamp.models,
                    text_fields=texts_first(each.payload or {} for each in points),
                )


def _milvus(location: str | Path) -> Iterator[FoundCollection]:
    need("pymilvus", "milvus")
    from hotfill.stores.milvus.claim import read_stamps
    from hotfill.stores.milvus.server import Server

    token = os.environ.get("MILVUS_TOKEN", "")
    with closing(
        Server(str(location), token=token, database="", timeout_seconds=_PROBE_SECONDS, ef=None)
    ) as server:
        notes, stamps = read_stamps(server)
        galleries = {
            name: {space.model.name: space.model.dimension for space in stamp.spaces}
            for name, stamp in stamps.items()
        }
        inside = {space.collection for stamp in stamps.values() for space in stamp.spaces}
        for name in sorted(set(server.names()) - inside - notes):
            fields = (server.describe(name) or {}).get("fields", ())
            vectors = {
                each["name"]: int(each["params"]["dim"])
                for each in fields
                if "dim" in each.get("params", {})
            }
            if vectors:
                galleries[name] = vectors
        for name, vectors in sorted(galleries.items()):
            yield FoundCollection(
                store={"kind": "milvus", "location": str(location), "collection": name},
                name=name,
                items=None,
                vectors=vectors,
                models=stamps[name].models if name in stamps else (),
            )


def _lancedb(path: Path) -> Iterator[FoundCollection]:
    pa: Any = need("pyarrow", "lancedb")
    from hotfill.stores.lancedb.client import connect, open_table, translated
    from hotfill.stores.lancedb.layout import is_stamped, layout_of

    database = connect(path)
    for name in sorted(each.stem for each in path.glob("*.lance")):
        table = open_table(database, path, name)
        with translated("look at the table"):
            rows = table.head(_LOOKED_AT).to_pylist()
            items = table.count_rows()
        schema = table.schema
        vectors = {
            column.name: column.type.list_size
            for column in schema
            if pa.types.is_fixed_size_list(column.type) and not column.name.startswith("hotfill_")
        }
        plain = [
            column.name
            for column in schema
            if pa.types.is_string(column.type) or pa.types.is_integer(column.type)
        ]
        ids = [name for name in plain if len({row[name] for row in rows}) == len(rows)]
        if not vectors:
            continue
        yield FoundCollection(
            store={"kind": "lancedb", "path": str(path), "table": name},
            name=name,
            items=items,
            vectors=vectors,
            models=layout_of(schema, name).spaces if is_stamped(schema) else (),
            id_columns=_known_first(
                [each for each in ids if not each.startswith("hotfill_")], _IDS
            ),
            text_fields=texts_first(rows),
        )


def _qdrant_edge(path: Path) -> FoundCollection:
    from hotfill.stores.folder import read_stamp

    models = read_stamp(path).spaces
    return FoundCollection(
        store={"kind": "qdrant-edge", "path": str(path)},
        name=path.name,
        items=None,
        vectors={model.name: model.dimension for model in models},
        models=models,
    )


def _index_files(path: Path) -> FoundCollection:
    from hotfill.stores.index_files.truth import Truth

    with closing(Truth(path / "truth.sqlite")) as truth:
        models = tuple(truth.spaces)
    return FoundCollection(
        store={"kind": "index-files", "path": str(path)},
        name=path.name,
        items=None,
        vectors={model.name: model.dimension for model in models},
        models=models,
    )


def _faiss(path: Path) -> FoundCollection:
    faiss: Any = need("faiss", "index-files")
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
    except RuntimeError as error:
        raise StoreError(f"{path} is not an index that FAISS can read: {error}") from error
    ids = [
        found
        for stem in ("ids", f"{path.stem}_ids", f"{path.stem}-ids", f"{path.stem}.ids", path.stem)
        for ending in (".txt", ".npy", ".jsonl")
        if (found := path.with_name(stem + ending)).is_file()
    ]
    return FoundCollection(
        store={"kind": "index-files", "path": "gallery", "index": "hnsw"},
        name=path.name,
        items=int(index.ntotal),
        vectors={path.stem: int(index.d)},
        index_file=path,
        ids_file=ids[0] if ids else None,
    )


# Contents ----------------------------------------------------------------------------------------


def _parquet(path: Path) -> FoundContents:
    arrow: Any = need("pyarrow", "parquet")
    parquet: Any = need("pyarrow.parquet", "parquet")
    items, rows, schema = 0, [], None
    try:
        for file in [path] if path.is_file() else sorted(path.glob("*.parquet")):
            with parquet.ParquetFile(file) as opened:
                items += opened.metadata.num_rows
                if schema is None:
                    schema = opened.schema_arrow
                    rows = next(opened.iter_batches(batch_size=_LOOKED_AT)).to_pylist()
    except StopIteration:
        raise InputError(f"{path} has no rows") from None
    except (OSError, arrow.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error
    return FoundContents("parquet", path, items, **_of_rows(rows))


def _json_lines(path: Path) -> FoundContents:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            rows = [json.loads(line) for line in islice(lines, _LOOKED_AT) if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON lines: {error}") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected an object in each line")
    return FoundContents("jsonl", path, None, **_of_rows(rows))


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Tell which fields may be ids, texts and vectors."""
    ids = [
        name
        for name, value in rows[0].items()
        if isinstance(value, str | int)
        and not isinstance(value, bool)
        and len({row.get(name) for row in rows}) == len(rows)
    ]
    vectors = {
        name: len(value)
        for name, value in rows[0].items()
        if isinstance(value, list) and len(value) > 1 and isinstance(value[0], float)
    }
    ids_first = _known_first(ids, _IDS)
    texts = tuple(name for name in texts_first(rows) if name != next(iter(ids_first), ""))
    return {"id_columns": ids_first, "text_fields": texts, "vectors": vectors}


def texts_first(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Name the fields that hold texts: those called so, then the longer ones first."""
    lengths: dict[str, list[int]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str) and not name.startswith(("_hotfill", "hotfill")):
                lengths.setdefault(name, []).append(len(value))
    longest = sorted(lengths, key=lambda name: -sum(lengths[name]) / len(lengths[name]))
    return _known_first(longest, _TEXTS)


def _known_first(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    return (*(name for name in known if name in names), *(n for n in names if n not in known))
