"""What every SQLite file of ours does alike: how it is opened, made, and written to."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    Values: TypeAlias = Sequence[Any] | Mapping[str, Any]
    """Of a statement: for `?` in their order, for `:name` by name (numbers end in Python 3.14)."""

BUSY_SECONDS = 30.0
"""How long a statement waits for another process."""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """What files of one kind hold.

    application: marks them, in SQLite's application_id. form: of the tables, in user_version.
    tables: the statements that make them.
    """

    application: int
    form: int
    tables: str


class OtherFormError(sqlite3.DatabaseError):
    """A file of the right kind, written by another version. form: of its tables."""

    def __init__(self, form: int) -> None:
        super().__init__(f"its tables have form {form}")
        self.form = form


def connect(path: Path) -> sqlite3.Connection:
    """Open a file, or make it. Only `transaction` opens transactions; threads take turns."""
    return sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def make_ready(db: sqlite3.Connection, layout: TableLayout) -> None:
    """Make the tables of a new file, or see that a file that is there is of this kind.

    What is not is left as it is: raises OtherFormError, and DatabaseError for anything else.
    """
    if not _is_blank(db):
        _check_marks(db, layout)  # before anything is written to a file that is not ours
    log_ahead(db)
    if _is_blank(db):
        with transaction(db):
            if _is_blank(db):  # still: another process may have been quicker
                for statement in layout.tables.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {layout.application}")
                db.execute(f"PRAGMA user_version = {layout.form}")
    _check_marks(db, layout)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Do all that is done inside, or nothing of it; the lock to write is taken at once.

    db: with `isolation_level=None`. After a failure, of the commit too, no transaction is open.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk may have ended it already
            db.execute("ROLLBACK")
        raise


def log_ahead(db: sqlite3.Connection) -> None:
    """Let readers and a writer work at once, in this process and in others."""
    # Alone of all statements this one does not wait while another process makes the file.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


class SqliteFile:
    """One file with its tables, made when missing. Safe to use from several threads and forks.

    layout: what it holds. translate: makes an error of ours of one of SQLite's (OtherFormError
        among them); `opening` tells whether the file was being opened.
    checked: whether the pages of the file are looked through when it is opened.
    durable: whether every transaction is.

    A commit survives the end of the process at once. A power cut may take the last commits, but
    those of a `durable` transaction, and what was committed before it, it does not.
    """

    def __init__(
        self,
        path: Path,
        layout: TableLayout,
        translate: Callable[[sqlite3.Error, bool], Exception],
        *,
        checked: bool = False,
        durable: bool = False,
    ) -> None:
        self.path = path
        self._layout = layout
        self._translate = translate
        self._checked = checked
        self._durable = durable
        self._lock = threading.RLock()
        self._inside = 0  # blocks under way, one within the other
        self.follows = False  # whether a file that takes this one's place is used from then on
        self._connect()

    def read(self, statement: str, values: Values = ()) -> list[Any]:
        """Run one statement and return all its rows."""
        with self._connection() as db:
            return db.execute(statement, values).fetchall()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for a block that only reads."""
        with self._connection() as db:
            yield db

    def write(self, statement: str, values: Values = (), *, durable: bool = False) -> int:
        """Run one statement in a transaction, or in the one under way. Returns the rows written."""
        with self.transaction(durable=durable) as db:
            return db.execute(statement, values).rowcount

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """Keep what the block writes as a whole or not at all; a block inside another joins it.

        durable: whether it has reached the disk, with all commits before it, when the block ends.
        """
        with self._connection() as db:
            if db.in_transaction:
                yield db
                return
            # Outside of a transaction only: SQLite ignores the change inside of one.
            level = "FULL" if durable or self._durable else "NORMAL"
            db.execute(f"PRAGMA synchronous = {level}")
            with transaction(db):
                yield db

    def vacuum(self) -> None:
        """Give unused room back to the disk."""
        with self._connection() as db:
            db.execute("VACUUM")

    def close(self) -> None:
        """Release the file. Idempotent."""
        with self._lock:
            self.follows = False
            self._db.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._process != os.getpid():
                self._connect()  # a connection must not be used on both sides of a fork
            elif self.follows and not self._inside and self.is_replaced():
                before = self._db
                self._connect()
                before.close()
            self._inside += 1
            try:
                yield self._db
            except sqlite3.Error as error:
                raise self._translate(error, False) from error
            finally:
                self._inside -= 1

    def is_replaced(self, *, or_gone: bool = False) -> bool:
        """Tell whether another file is at the path now. or_gone: or none."""
        now = self._file_now()
        return now != self._file and (or_gone or now is not None)

    def _file_now(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:  # always of a database in memory
            return None
        return found.st_dev, found.st_ino

    def _connect(self) -> None:
        before = self._file_now()
        try:
            db = connect(self.path)
            try:
                make_ready(db, self._layout)
                if self._checked and db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                    raise sqlite3.DatabaseError("the quick check failed")
            except BaseException:
                db.close()
                raise
        except sqlite3.Error as error:
            raise self._translate(error, True) from error
        self._process, self._db, self._file = os.getpid(), db, before or self._file_now()


def _marks(db: sqlite3.Connection) -> tuple[int, int]:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (form,) = db.execute("PRAGMA user_version").fetchone()
    return application, form


def _is_blank(db: sqlite3.Connection) -> bool:
    return _marks(db) == (0, 0) and not db.execute("SELECT 1 FROM sqlite_master").fetchone()


def _check_marks(db: sqlite3.Connection, layout: TableLayout) -> None:
    application, form = _marks(db)
    if application != layout.application:
        raise sqlite3.DatabaseError("it is a database of another kind")
    if form != layout.form:
        raise OtherFormError(form)
