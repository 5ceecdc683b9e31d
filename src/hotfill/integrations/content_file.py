"""Contents by item id, in one file: a source for data that comes as a stream."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hotfill.checks import check_ids
from hotfill.errors import DuplicateItemError, InputError, SourceError
from hotfill.files import sync_file, sync_folder
from hotfill.sqlite import BUSY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hotfill.integrations.items import Reader

_APPLICATION = 0x68666366  # "hfcf"
_TABLE = "CREATE TABLE contents (item_id TEXT PRIMARY KEY, content) WITHOUT ROWID"
_PAGE = 500  # ids in one statement
_BATCH = 1000


class ContentFile:
    """A source: texts or bytes by item id, in an SQLite file made by `keep_contents`.

    Write to it when items change, before the gallery is told, and delete from it after the gallery;
    then the next upgrade finds what the gallery holds.
    May be used by several threads, and by several processes at once.
    Raises SourceError when the file is missing or something else.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise SourceError(f"there is no content file {path}; make it with keep_contents")
        self._path = path
        self._lock = threading.Lock()
        self._db = _connect(path)
        with self._translated():
            (mark,) = self._db.execute("PRAGMA application_id").fetchone()
        if mark != _APPLICATION:
            self._db.close()
            raise SourceError(f"{path} is a database, but not a content file")

    def __call__(self, item_ids: Sequence[str], /) -> dict[str, str | bytes]:
        """Read contents by id; those that are not there are left out. Raises SourceError."""
        found: dict[str, str | bytes] = {}
        with self._translated():
            for begin in range(0, len(item_ids), _PAGE):
                page = item_ids[begin : begin + _PAGE]
                marks = ",".join("?" * len(page))
                found |= self._db.execute(
                    f"SELECT item_id, content FROM contents WHERE item_id IN ({marks})", list(page)
                ).fetchall()
        return found

    def __len__(self) -> int:
        with self._translated():
            return int(self._db.execute("SELECT count(*) FROM contents").fetchone()[0])

    def write(self, item_ids: Sequence[str], contents: Sequence[str | bytes]) -> None:
        """Keep contents, instead of earlier ones of the same items. All of them or none.

        Raises InputError, DuplicateItemError, SourceError (a full disk).
        """
        check_ids(item_ids)
        _check_contents(item_ids, contents)
        with self._translated(), self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO contents VALUES (?, ?)",
                zip(item_ids, contents, strict=True),
            )

    def delete(self, item_ids: Sequence[str]) -> int:
        """Forget contents. Returns how many there were."""
        with self._translated(), self._db:
            done = self._db.executemany(
                "DELETE FROM contents WHERE item_id = ?", [(item_id,) for item_id in item_ids]
            )
            return done.rowcount

    def close(self) -> None:
        """Release the file. Idempotent."""
        self._db.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise SourceError(f"the content file {self._path} failed: {error}") from error


def keep_contents(reader: Reader, path: Path) -> ContentFile:
    """Read all items and keep their contents in a file, which appears only when it is whole.

    path: an earlier content file there is replaced; anything else is left alone.
    Memory is bounded by a batch. Raises InputError (also for contents that are neither texts nor
    bytes), DuplicateItemError when an id comes twice, SourceError.
    """
    if path.exists():
        ContentFile(path).close()  # refuses what is something else
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f"{path.name}.making-{os.getpid()}")
    making.unlink(missing_ok=True)
    try:
        with closing(_connect(making)) as db:
            db.execute("PRAGMA synchronous = OFF")  # a file that is not whole is thrown away
            db.execute("PRAGMA journal_mode = OFF")
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            db.execute(_TABLE)
            for batch in reader.batches(_BATCH):
                _check_contents(batch.item_ids, batch.contents)
                check_ids(batch.item_ids)
                for row in zip(batch.item_ids, batch.contents, strict=True):
                    try:
                        db.execute("INSERT INTO contents VALUES (?, ?)", row)
                    except sqlite3.IntegrityError as error:
                        raise DuplicateItemError([row[0]]) from error
                db.commit()
        sync_file(making)
        making.replace(path)
        sync_folder(path.parent)
    except sqlite3.Error as error:
        raise SourceError(f"the content file {path} cannot be made: {error}") from error
    finally:
        making.unlink(missing_ok=True)
    return ContentFile(path)


def open_source(*, path: str) -> ContentFile:
    """Make the source from the options of a configuration file. Raises SourceError."""
    return ContentFile(Path(path).expanduser())


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)


def _check_contents(item_ids: Sequence[str], contents: Sequence[object]) -> None:
    if len(item_ids) != len(contents):
        raise InputError(f"expected one content per item ({len(item_ids)}), got {len(contents)}")
    for item_id, content in zip(item_ids, contents, strict=True):
        if not isinstance(content, str | bytes):
            raise InputError(
                f"a content file keeps texts and bytes; item {item_id!r} has "
                f"{type(content).__name__}"
            )
