"""Vectors by content, in one file; and who is making which right now."""

from __future__ import annotations

import json
import os
import platform
import time
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from hotfill.embedders.shared_file import shared_file
from hotfill.errors import ConfigError
from hotfill.locks import process_exists
from hotfill.sqlite import TableLayout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from sqlite3 import Connection

    from numpy.typing import NDArray

    from hotfill.types import ModelId

Precision: TypeAlias = Literal["float32", "float16"]

_LAYOUT = TableLayout(
    application=0x68667663,  # "hfvc"
    form=0,
    tables="""
CREATE TABLE models (number INTEGER PRIMARY KEY, model TEXT UNIQUE);
CREATE TABLE vectors (model INTEGER, content BLOB, vector BLOB, UNIQUE (model, content));
CREATE TABLE claims (model INTEGER, content BLOB, owner TEXT, host TEXT, process INTEGER,
                     until REAL, PRIMARY KEY (model, content)) WITHOUT ROWID
""",
)
_PAGE = 500  # keys in one statement
_HOST = platform.node()


class VectorCache:
    """A file of vectors, keyed by model and content hash, shared by threads and processes.

    path: made when missing. Vectors that were put survive kill -9 and power cuts.
    precision: of what is put from now on; float16 (half the room) only suits vectors of unit
        length, and reading gives what was put as it is, in float32.
    claim_seconds: after this time a claim no longer counts, whoever has it.

    Raises ConfigError when the file is something else; EmbedError, retryable, on a full disk.
    """

    def __init__(
        self, path: Path, *, precision: Precision = "float32", claim_seconds: float = 900.0
    ) -> None:
        if precision not in get_args(Precision):
            raise ConfigError(f"precision: expected float32 or float16, got {precision!r}")
        self.precision = precision
        self._claim_seconds = claim_seconds
        self._file = shared_file(path, "embedding cache", _LAYOUT)

    def get(self, model: ModelId, hashes: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """Read the vectors that are there, by content hash; float32 (dimension,) each."""
        found: dict[bytes, NDArray[np.float32]] = {}
        with self._file.reading() as db:
            number = _number(db, model)
            for page in _pages(hashes):
                rows = db.execute(
                    "SELECT content, vector FROM vectors WHERE model = ? AND content IN "
                    f"({_marks(page)})",
                    (number, *page),
                )
                found |= {bytes(content): _unpacked(blob, model) for content, blob in rows}
        return found

    def put(
        self, model: ModelId, vectors: Mapping[bytes, NDArray[np.float32]]
    ) -> dict[bytes, NDArray[np.float32]]:
        """Keep vectors by content hash, and end the claims on them. What is there stays as it is.

        Returns the vectors as `get` gives them from now on, which is not what was put if another
        process was quicker or the precision is float16.
        """
        kind = np.dtype(self.precision).newbyteorder("<")
        with self._file.transaction() as db:
            number = _number(db, model, make=True)
            db.executemany(
                "INSERT OR IGNORE INTO vectors VALUES (?, ?, ?)",
                [(number, key, vector.astype(kind).tobytes()) for key, vector in vectors.items()],
            )
            _end_claims(db, number, list(vectors))
        return self.get(model, list(vectors))

    def claim(self, model: ModelId, hashes: Sequence[bytes], owner: str) -> list[bytes]:
        """Reserve contents for `owner` to embed, and return those that are its own.

        The others are being embedded by somebody else, or are there already. Claims of a process
        of this machine that has died, and claims that are too old, do not count.
        """
        now = time.time()
        mine: list[bytes] = []
        with self._file.transaction() as db:
            number = _number(db, model, make=True)
            for page in _pages(hashes):
                marks = _marks(page)
                _drop_dead_claims(db, number, page, now)
                there = {
                    bytes(content)
                    for (content,) in db.execute(
                        f"SELECT content FROM vectors WHERE model = ? AND content IN ({marks})",
                        (number, *page),
                    )
                }
                db.executemany(
                    "INSERT OR IGNORE INTO claims VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (number, key, owner, _HOST, os.getpid(), now + self._claim_seconds)
                        for key in page
                        if key not in there
                    ],
                )
                rows = db.execute(
                    f"SELECT content FROM claims WHERE model = ? AND owner = ? AND content IN "
                    f"({marks})",
                    (number, owner, *page),
                )
                mine += [bytes(content) for (content,) in rows]
        return mine

    def release(self, model: ModelId, owner: str) -> None:
        """End all claims of an owner."""
        with self._file.transaction() as db:
            number = _number(db, model, make=True)
            db.execute("DELETE FROM claims WHERE model = ? AND owner = ?", (number, owner))

    def count(self, model: ModelId) -> int:
        """Tell how many vectors of a model are kept."""
        with self._file.reading() as db:
            number = _number(db, model)
            found = db.execute("SELECT count(*) FROM vectors WHERE model = ?", (number,))
            return int(found.fetchone()[0])

    def drop(self, model: ModelId) -> int:
        """Forget all vectors of a model and give their room back. Returns how many there were."""
        with self._file.transaction() as db:
            number = _number(db, model)
            dropped = db.execute("DELETE FROM vectors WHERE model = ?", (number,)).rowcount
        self._file.vacuum()
        return dropped

    def close(self) -> None:
        """Release the file. Idempotent."""
        self._file.close()


def _number(db: Connection, model: ModelId, *, make: bool = False) -> int:
    """The model's number in the file; -1 when it has none."""
    text = json.dumps(model.to_dict(), sort_keys=True)
    if make:
        db.execute("INSERT OR IGNORE INTO models (model) VALUES (?)", (text,))
    row = db.execute("SELECT number FROM models WHERE model = ?", (text,)).fetchone()
    return int(row[0]) if row else -1


def _drop_dead_claims(db: Connection, number: int, page: Sequence[bytes], now: float) -> None:
    rows = db.execute(
        "SELECT DISTINCT owner, host, process, until FROM claims WHERE model = ? AND content IN "
        f"({_marks(page)})",
        (number, *page),
    )
    for owner, host, process, until in rows.fetchall():
        if until < now or (host == _HOST and not process_exists(process)):
            db.execute("DELETE FROM claims WHERE owner = ?", (owner,))


def _end_claims(db: Connection, number: int, hashes: Sequence[bytes]) -> None:
    for page in _pages(hashes):
        db.execute(
            f"DELETE FROM claims WHERE model = ? AND content IN ({_marks(page)})", (number, *page)
        )


def _unpacked(blob: bytes, model: ModelId) -> NDArray[np.float32]:
    # The length tells the precision, so a file may hold both.
    kind = "<f4" if len(blob) == 4 * model.dimension else "<f2"
    return np.frombuffer(blob, dtype=kind).astype(np.float32)


def _pages(hashes: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for begin in range(0, len(hashes), _PAGE):
        yield hashes[begin : begin + _PAGE]


def _marks(page: Sequence[bytes]) -> str:
    return ",".join("?" * len(page))
