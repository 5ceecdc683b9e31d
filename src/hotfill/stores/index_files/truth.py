"""The truth of a gallery: one SQLite file with all that was ever acknowledged.

Each space has a table of vectors, searched and kept alike, so a move writes one vector and one
number. `changed` counts transactions: an index built at some count knows by it what came later.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import StoreError
from hotfill.stores.filters import Range, alternatives, kind_of
from hotfill.stores.sqlite_file import connect, transaction, translated
from hotfill.types import ModelId

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hotfill.stores.filters import Metadata, Scalar, Where
    from hotfill.types import Vectors


_FORMAT = 1  # kept in SQLite's user_version
_APPLICATION = 0x686F7478  # marks the file as ours in SQLite's application_id
_AT_ONCE = 500  # ids in one statement; SQLite allowed 999 parameters for most of its life
_PAGE = 10_000  # vectors read at once

_TABLES = f"""
PRAGMA auto_vacuum = INCREMENTAL;
BEGIN IMMEDIATE;
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO facts VALUES ('version', 0), ('changes', 0);
CREATE TABLE spaces (number INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL,
                     built TEXT, built_at INTEGER);
CREATE TABLE items (number INTEGER PRIMARY KEY AUTOINCREMENT, item_id TEXT NOT NULL UNIQUE,
                    version INTEGER NOT NULL, space INTEGER NOT NULL, origin TEXT NOT NULL,
                    metadata TEXT NOT NULL, changed INTEGER NOT NULL);
CREATE INDEX items_by_side ON items (space, number);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_FORMAT};
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class TruthRow:
    """An item as the truth has it. number: never used twice."""

    number: int
    version: int
    space: ModelId
    origin: str
    metadata: dict[str, Any]


class Truth:
    """The file. Not safe for use by several threads at once; stores hold their lock."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises StoreError when it is none of ours."""
        self._path = path
        with translated(path):
            self._db = connect(path)
        try:
            with translated(path):
                self._check()
                self._spaces = self._read_spaces()
                (self.last_version,) = self._fact("version")
        except BaseException:
            self._db.close()
            raise

    @property
    def spaces(self) -> Mapping[ModelId, int]:
        """The spaces and their numbers, oldest first."""
        return self._spaces

    # Spaces

    def add_space(self, model: ModelId) -> None:
        """Make a table for vectors of a model."""
        with transaction(self._db, self._path) as db:
            number = db.execute(
                "INSERT INTO spaces (model) VALUES (?)", (json.dumps(model.to_dict()),)
            ).lastrowid
            db.execute(
                f"CREATE TABLE vectors_{number} (item INTEGER PRIMARY KEY, vector BLOB NOT NULL)"
            )
        self._spaces = self._read_spaces()

    def drop_space(self, model: ModelId) -> None:
        """Remove the table of a space where no item is searched."""
        number = self._spaces[model]
        with transaction(self._db, self._path) as db:
            db.execute("DELETE FROM spaces WHERE number = ?", (number,))
            db.execute(f"DROP TABLE vectors_{number}")
        self._spaces = self._read_spaces()

    def built(self, model: ModelId) -> tuple[str, int] | None:
        """Return the name of the index built for a space, and at which count of changes."""
        with translated(self._path):
            row = self._db.execute(
                "SELECT built, built_at FROM spaces WHERE number = ?", (self._spaces[model],)
            ).fetchone()
        return None if row is None or row[0] is None else (row[0], row[1])

    def note_built(self, model: ModelId, name: str, at: int) -> None:
        """Note an index that was built."""
        with transaction(self._db, self._path) as db:
            db.execute(
                "UPDATE spaces SET built = ?, built_at = ? WHERE number = ?",
                (name, at, self._spaces[model]),
            )

    # Writing

    def write(
        self,
        item_ids: Sequence[str],
        versions: NDArray[np.int64],
        space: ModelId,
        vectors: Mapping[ModelId, Vectors],
        metadata: Sequence[Metadata] | None,
    ) -> None:
        """Write items with new content; they have only these vectors afterwards."""
        if not item_ids:
            return
        with transaction(self._db, self._path) as db:
            changed = self._count_change(db)
            kept = "" if metadata is None else "metadata = excluded.metadata, "
            contents = ["{}"] * len(item_ids) if metadata is None else map(document, metadata)
            db.executemany(
                "INSERT INTO items (item_id, version, space, origin, metadata, changed) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (item_id) DO UPDATE SET "
                f"{kept}version = excluded.version, space = excluded.space, "
                "origin = excluded.origin, changed = excluded.changed",
                (
                    (item_id, version, self._spaces[space], space.fingerprint, content, changed)
                    for item_id, version, content in zip(
                        item_ids, versions.tolist(), contents, strict=True
                    )
                ),
            )
            places = {
                item_id: number for number, item_id in self._each("number, item_id", item_ids)
            }
            numbers = [places[item_id] for item_id in item_ids]
            for model in self._spaces:
                if model in vectors:
                    self._put(db, model, numbers, vectors[model])
                else:
                    self._remove(db, model, numbers)
            self.last_version = max(self.last_version, int(versions.max()))
            db.execute("UPDATE facts SET value = ? WHERE name = 'version'", (self.last_version,))

    def move(self, numbers: Sequence[int], space: ModelId, origin: str, vectors: Vectors) -> None:
        """Let items be searched in `space` by these vectors; earlier ones stay where they are."""
        with transaction(self._db, self._path) as db:
            changed = self._count_change(db)
            self._put(db, space, numbers, vectors)
            db.executemany(
                "UPDATE items SET space = ?, origin = ?, changed = ? WHERE number = ?",
                ((self._spaces[space], origin, changed, number) for number in numbers),
            )

    def set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist."""
        with transaction(self._db, self._path) as db:
            db.executemany(
                "UPDATE items SET metadata = ? WHERE item_id = ?",
                ((document(row), item_id) for item_id, row in zip(item_ids, metadata, strict=True)),
            )

    def delete(self, numbers: Sequence[int]) -> None:
        """Remove items and all their vectors."""
        with transaction(self._db, self._path) as db:
            for model in self._spaces:
                self._remove(db, model, numbers)
            db.executemany("DELETE FROM items WHERE number = ?", ((n,) for n in numbers))

    # Reading

    def rows(self, item_ids: Sequence[str]) -> dict[str, TruthRow]:
        """Read items; those that are not there are absent."""
        columns = "item_id, number, version, space, origin, metadata"
        models = {number: model for model, number in self._spaces.items()}
        return {
            item_id: TruthRow(number, version, models[space], origin, json.loads(metadata))
            for item_id, number, version, space, origin, metadata in self._each(columns, item_ids)
        }

    def vectors(self, numbers: Sequence[int], space: ModelId) -> dict[int, NDArray[np.float32]]:
        """Read vectors of items in a space by the items' numbers, searched or kept."""
        found: dict[int, bytes] = {}
        table = f"vectors_{self._spaces[space]}"
        for start in range(0, len(numbers), _AT_ONCE):
            part = numbers[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            with translated(self._path):
                found.update(
                    self._db.execute(
                        f"SELECT item, vector FROM {table} WHERE item IN ({marks})", part
                    ).fetchall()
                )
        return {number: np.frombuffer(blob, dtype=np.float32) for number, blob in found.items()}

    def page(self, space: ModelId, after: int, limit: int) -> list[tuple[int, str, int, str]]:
        """List number, id, version and origin of the next items of a side."""
        with translated(self._path):
            return self._db.execute(
                "SELECT number, item_id, version, origin FROM items WHERE space = ? AND number > ? "
                "ORDER BY number LIMIT ?",
                (self._spaces[space], after, limit),
            ).fetchall()

    def count(self, space: ModelId, origin: str | None) -> int:
        """Count the items of a side, or those whose vector a certain origin made."""
        values: list[Any] = [self._spaces[space]]
        condition = "space = ?"
        if origin is not None:
            condition += " AND origin = ?"
            values.append(origin)
        with translated(self._path):
            row = self._db.execute(
                f"SELECT count(*) FROM items WHERE {condition}", values
            ).fetchone()
        return int(row[0])

    def passing(self, where: Where) -> set[str]:
        """List the items whose metadata passes a filter."""
        condition, values = where_sql(where)
        with translated(self._path):
            rows = self._db.execute(f"SELECT item_id FROM items WHERE {condition}", values)
            return {item_id for (item_id,) in rows}

    def side(
        self, space: ModelId
    ) -> tuple[NDArray[np.int64], list[str], list[str], NDArray[np.int64]]:
        """List a whole side: numbers, ids, origins, and at which count of changes each came."""
        with translated(self._path):
            rows = self._db.execute(
                "SELECT number, item_id, origin, changed FROM items WHERE space = ? "
                "ORDER BY number",
                (self._spaces[space],),
            ).fetchall()
        numbers = np.array([row[0] for row in rows], dtype=np.int64)
        changed = np.array([row[3] for row in rows], dtype=np.int64)
        return numbers, [row[1] for row in rows], [sys.intern(row[2]) for row in rows], changed

    def searched_vectors(
        self, space: ModelId
    ) -> Iterator[tuple[list[str], list[int], list[str], Vectors]]:
        """Read a side in parts: ids, numbers, origins, vectors as float32 (n, dimension)."""
        table = f"vectors_{self._spaces[space]}"
        with translated(self._path):
            cursor = self._db.execute(
                f"SELECT item_id, number, origin, vector FROM items JOIN {table} ON item = number "
                "WHERE space = ? ORDER BY number",
                (self._spaces[space],),
            )
            while rows := cursor.fetchmany(_PAGE):
                flat = np.frombuffer(b"".join(row[3] for row in rows), dtype=np.float32)
                yield (
                    [row[0] for row in rows],
                    [row[1] for row in rows],
                    [sys.intern(row[2]) for row in rows],
                    flat.reshape(-1, space.dimension),
                )

    @property
    def changes(self) -> int:
        """How many transactions have changed what is searched."""
        with translated(self._path):
            (count,) = self._fact("changes")
        return count

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See one moment, whatever others write."""
        with translated(self._path):
            self._db.execute("BEGIN")
            try:
                numbers = self._db.execute("SELECT number FROM spaces").fetchall()
                if {number for (number,) in numbers} != set(self._spaces.values()):
                    self._spaces = self._read_spaces()  # another connection has changed them
                yield
            finally:
                self._db.execute("COMMIT")

    # Upkeep

    def tidy(self) -> None:
        """Give unused pages back to the disk, and empty the log."""
        with translated(self._path):
            self._db.execute("PRAGMA incremental_vacuum").fetchall()
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # Inside

    def _check(self) -> None:
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (form,) = self._db.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            raise StoreError(f"{self._path} is not a hotfill gallery")
        if form != _FORMAT:
            raise StoreError(
                f"{self._path} has format {form}, this version of hotfill reads {_FORMAT}: use the "
                "version that wrote it"
            )

    def _read_spaces(self) -> dict[ModelId, int]:
        rows = self._db.execute("SELECT model, number FROM spaces ORDER BY number").fetchall()
        return {ModelId.from_dict(json.loads(model)): number for model, number in rows}

    def _fact(self, name: str) -> tuple[int]:
        row: tuple[int] = self._db.execute(
            "SELECT value FROM facts WHERE name = ?", (name,)
        ).fetchone()
        return row

    def _count_change(self, db: sqlite3.Connection) -> int:
        db.execute("UPDATE facts SET value = value + 1 WHERE name = 'changes'")
        (count,) = self._fact("changes")
        return count

    def _each(self, columns: str, item_ids: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(item_ids), _AT_ONCE):
            part = item_ids[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            with translated(self._path):
                yield from self._db.execute(
                    f"SELECT {columns} FROM items WHERE item_id IN ({marks})", part
                ).fetchall()

    def _put(
        self, db: sqlite3.Connection, model: ModelId, numbers: Sequence[int], rows: Vectors
    ) -> None:
        db.executemany(
            f"INSERT OR REPLACE INTO vectors_{self._spaces[model]} VALUES (?, ?)",
            ((number, row.tobytes()) for number, row in zip(numbers, rows, strict=True)),
        )

    def _remove(self, db: sqlite3.Connection, model: ModelId, numbers: Sequence[int]) -> None:
        db.executemany(
            f"DELETE FROM vectors_{self._spaces[model]} WHERE item = ?", ((n,) for n in numbers)
        )


def make(path: Path) -> None:
    """Make the file with its tables."""
    with translated(path):
        db = sqlite3.connect(path, isolation_level=None)
        try:
            db.executescript(_TABLES)
        finally:
            db.close()


# Filters over metadata kept as JSON; `hotfill.stores.filters` says what they mean ---------------

_NUMBERS = "json_type(metadata, ?) IN ('integer', 'real')"
_VALUE = "json_extract(metadata, ?)"
_CONDITIONS = {
    bool: "json_type(metadata, ?) IN ({marks})",
    str: f"json_type(metadata, ?) IS 'text' AND {_VALUE} IN ({{marks}})",
    float: f"{_NUMBERS} AND {_VALUE} IN ({{marks}})",
}


def where_sql(where: Where) -> tuple[str, list[Any]]:
    """Translate a checked filter: a condition and its parameters."""
    conditions, values = ["1"], []
    for key, wanted in where.items():
        condition, more = _condition(_path(key), wanted)
        conditions.append(condition)
        values += more
    return " AND ".join(f"({condition})" for condition in conditions), values


def document(metadata: Metadata) -> str:
    """Return metadata as it is kept."""
    return json.dumps(dict(metadata), ensure_ascii=False)


def _condition(path: str, wanted: Scalar | Sequence[Scalar] | Range) -> tuple[str, list[Any]]:
    values: list[Any]
    if isinstance(wanted, Range):
        conditions = [_NUMBERS]
        values = [path]
        for sign, bound in ((">=", wanted.at_least), ("<=", wanted.at_most)):
            if bound is not None:
                conditions.append(f"{_VALUE} {sign} ?")
                values += [path, _number(bound)]
        return " AND ".join(conditions), values
    either: list[str] = []
    values = []
    for kind, condition in _CONDITIONS.items():
        alike = [value for value in alternatives(wanted) if kind_of(value) is kind]
        if alike:
            marks = ",".join("?" * len(alike))
            either.append(condition.format(marks=marks))
            values += [path] * condition.count("metadata, ?") + [
                str(value).lower() if kind is bool else value for value in alike
            ]
    return " OR ".join(f"({condition})" for condition in either) or "0", values


def _number(bound: float) -> float:
    """Return what SQLite can be given: it has no whole numbers of more than 64 bits."""
    if abs(bound) < 2**63:
        return bound
    try:
        return float(bound)
    except OverflowError:
        return float("inf") if bound > 0 else float("-inf")


def _path(key: str) -> str:
    # In quotes a dot or bracket is part of the name; the name is compared as it is written there.
    return f"$.{json.dumps(key, ensure_ascii=False)}"
