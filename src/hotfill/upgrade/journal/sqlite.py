"""The journal in one SQLite file, for an upgrade that runs on one machine.

Write-ahead logging lets other processes read the status while the upgrade runs. A commit survives
SIGKILL at once. What is said of batches is not synced for its own sake: after a power cut the last
batches are done again. Everything else is, and all commits before it with it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hotfill.errors import JournalCorruptError, JournalError, StoreFullError
from hotfill.sqlite import OtherFormError, SqliteFile, TableLayout
from hotfill.upgrade.journal.base import Batch, DeadLetter, Fact, Journal, Tally, WorkerLeases
from hotfill.upgrade.journal.lock import lost_the_lead, running_lock
from hotfill.upgrade.phases import Hold, Phase, advance

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from hotfill.errors import HotfillError
    from hotfill.upgrade.journal.base import Stage
    from hotfill.upgrade.phases import HoldKind, Step


_LAYOUT = TableLayout(
    application=0x686F7466,  # "hotf"
    form=3,
    tables="""
CREATE TABLE journal (only INTEGER PRIMARY KEY CHECK (only = 0), identity TEXT, epoch INTEGER);
INSERT INTO journal VALUES (0, lower(hex(randomblob(16))), 0);
CREATE TABLE facts (number INTEGER PRIMARY KEY, at REAL, kind TEXT, body TEXT);
CREATE INDEX facts_by_kind ON facts (kind, number);
CREATE TABLE holds (kind TEXT, about TEXT, since REAL, measured REAL, required REAL,
                    PRIMARY KEY (kind, about));
CREATE TABLE batches (number INTEGER PRIMARY KEY AUTOINCREMENT, stage TEXT, state TEXT,
                      item_ids TEXT, items INTEGER, attempts INTEGER, owner TEXT,
                      leased_at REAL, leased_until REAL, moved INTEGER DEFAULT 0,
                      skipped INTEGER DEFAULT 0);
CREATE INDEX batches_to_do ON batches (stage, number) WHERE state != 'done';
CREATE INDEX batches_leased ON batches (owner) WHERE state = 'leased';
CREATE INDEX batches_by_stage ON batches (stage, number, items, moved, skipped);
CREATE TABLE dead_letters (item_id TEXT PRIMARY KEY, stage TEXT, error TEXT, attempts INTEGER,
                           at REAL, accepted_by TEXT NOT NULL DEFAULT '');
CREATE TABLE deleted (item_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE origins (item_id TEXT PRIMARY KEY, version INTEGER, origin TEXT) WITHOUT ROWID;
CREATE TABLE beat (only INTEGER PRIMARY KEY CHECK (only = 0), body TEXT);
""",
)


class SqliteJournal(Journal):
    """The journal in one file.

    path: created when missing. Raises JournalCorruptError when its bytes are damaged or are not a
    journal, JournalError when it was written by a newer hotfill.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = SqliteFile(path, _LAYOUT, self._translated, checked=True)
        self._file.follows = True  # but while it leads: what it leads is in one file
        self._epoch = 0  # of the last time that this object led
        self._leads = False

    @property
    def identity(self) -> str:
        """Name this journal and no other."""
        return str(self._file.read("SELECT identity FROM journal")[0][0])

    def _translated(self, error: sqlite3.Error, opening: bool) -> HotfillError:
        """Make an error of ours of one of SQLite's."""
        if isinstance(error, sqlite3.OperationalError):
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                return StoreFullError(
                    f"no space left for the journal {self._path}; free some and run the same "
                    "command again: nothing is lost"
                )
            return JournalError(f"the journal {self._path} cannot be used: {error}")
        if isinstance(error, sqlite3.ProgrammingError):
            return JournalError(f"the journal {self._path} is closed")
        if isinstance(error, OtherFormError):
            return JournalError(
                f"{self._path} has journal format {error.form}, this hotfill reads {_LAYOUT.form}; "
                "use the version of hotfill that started the upgrade"
            )
        return JournalCorruptError(
            f"{self._path} is not a readable journal ({error}); nothing was changed. The items "
            "themselves are safe in the store: move this file away and run `hotfill start` "
            "again, items already moved are recognised and not embedded twice"
        )

    # What was decided and what happened ------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """Where the upgrade is."""
        fact = self.last("phase")
        return Phase(fact.body["phase"]) if fact else Phase.PLANNED

    def enter(self, phase: Phase) -> None:
        """Record a new phase."""
        with self._file.transaction(durable=True):
            if self.phase is not phase:
                self.record("phase", phase=str(phase))

    def advance(self, step: Step) -> Phase:
        """Enter the phase that a step leads to, and return it."""
        with self._file.transaction(durable=True):
            self._check_epoch()
            phase = advance(self.phase, step)
            self.enter(phase)
        return phase

    def record(self, kind: str, **body: Any) -> None:
        """Append a fact."""
        self._file.write(
            "INSERT INTO facts (at, kind, body) VALUES (?, ?, ?)",
            (time.time(), kind, json.dumps(body)),
            durable=True,
        )

    def facts(self, kind: str | None = None, *, after: int = 0) -> Iterator[Fact]:
        """Read facts, oldest first."""
        rows = self._file.read(
            "SELECT number, at, kind, body FROM facts WHERE (:kind IS NULL OR kind = :kind) "
            "AND number > :after ORDER BY number",
            {"kind": kind, "after": after},
        )
        for number, at, name, body in rows:
            yield Fact(number, at, name, json.loads(body))

    def last(self, kind: str) -> Fact | None:
        """Read the newest fact of a kind."""
        rows = self._file.read(
            "SELECT number, at, kind, body FROM facts WHERE kind = ? ORDER BY number DESC LIMIT 1",
            (kind,),
        )
        for number, at, name, body in rows:
            return Fact(number, at, name, json.loads(body))
        return None

    # Why it may not move ---------------------------------------------------------------------

    def hold(self, hold: Hold) -> None:
        """Add a hold."""
        self._file.write(
            "INSERT INTO holds VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, about) "
            "DO UPDATE SET measured = excluded.measured, required = excluded.required",
            (hold.kind, hold.about, hold.since, hold.measured, hold.required),
            durable=hold.kind != "throttled",  # what people ask for is kept; measured is again
        )

    def release(self, kind: HoldKind, about: str | None = None) -> bool:
        """End holds of a kind."""
        statement = "DELETE FROM holds WHERE kind = :kind AND (:about IS NULL OR about = :about)"
        values = {"kind": kind, "about": about}
        return self._file.write(statement, values, durable=kind != "throttled") > 0

    def holds(self) -> tuple[Hold, ...]:
        """Read the holds, oldest first."""
        rows = self._file.read(
            "SELECT kind, about, since, measured, required FROM holds ORDER BY since, kind", ()
        )
        return tuple(Hold(*row) for row in rows)

    # Work ------------------------------------------------------------------------------------

    def add_work(
        self, stage: Stage, pages: Iterable[tuple[Sequence[str], Iterable[float]]], batch_size: int
    ) -> int:
        """Cut items into batches, lowest rank first."""
        with self._file.transaction() as db:
            # SQLite sorts on disk, so the list of items never has to fit into memory.
            db.execute("CREATE TEMP TABLE staging (item_id TEXT, rank REAL)")
            try:
                for item_ids, ranks in pages:
                    db.executemany(
                        "INSERT INTO staging VALUES (?, ?)",
                        zip(item_ids, (float(rank) for rank in ranks), strict=True),
                    )
                ordered = db.execute("SELECT item_id FROM staging ORDER BY rank, item_id")
                added = 0
                while rows := ordered.fetchmany(batch_size):
                    _insert_batch(db, stage, [item_id for (item_id,) in rows], attempts=0)
                    added += len(rows)
            finally:
                db.execute("DROP TABLE staging")
        return added

    def lease(
        self,
        stage: Stage,
        owner: str,
        seconds: float,
        most: int | None = None,
        items: int | None = None,
    ) -> Batch | None:
        """Take the next batch, for a while."""
        now = time.time()
        with self._file.transaction() as db:
            row = db.execute(
                f"SELECT number, item_ids, attempts, {_UNTOUCHED} FROM batches WHERE stage = ? AND "
                "state != 'done' AND (state = 'to do' OR leased_until < ?) "
                "ORDER BY number LIMIT 1",
                (stage, now),
            ).fetchone()
            if row is None:
                return None
            number, item_ids, attempts = row[0], json.loads(row[1]), row[2]
            room = items or 0
            if most is not None:
                (taken,) = db.execute(
                    "SELECT COALESCE(SUM(CASE WHEN state = 'done' THEN moved WHEN state = 'leased' "
                    "AND leased_until >= ? THEN items ELSE 0 END), 0) FROM batches WHERE stage = ?",
                    (now, stage),
                ).fetchone()
                if taken >= most:
                    return None
                room = min(room, most - taken)
                item_ids, rest = item_ids[: most - taken], item_ids[most - taken :]
                if rest:
                    db.execute(
                        "UPDATE batches SET item_ids = ?, items = ? WHERE number = ?",
                        (json.dumps(item_ids), len(item_ids), number),
                    )
                    _insert_batch(db, stage, rest, attempts)
            if row[3] and room > len(item_ids):
                item_ids += _joined(db, stage, number, len(item_ids), room)
                db.execute(
                    "UPDATE batches SET item_ids = ?, items = ? WHERE number = ?",
                    (json.dumps(item_ids), len(item_ids), number),
                )
            db.execute(
                "UPDATE batches SET state = 'leased', owner = ?, leased_at = ?, leased_until = ? "
                "WHERE number = ?",
                (owner, now, now + seconds, number),
            )
        return Batch(number, stage, tuple(item_ids), attempts)

    def prolong(self, owner: str, seconds: float) -> int:
        """Let the leases of an owner last that long from now."""
        return self._file.write(
            "UPDATE batches SET leased_until = ? WHERE state = 'leased' AND owner = ?",
            (time.time() + seconds, owner),
        )

    def finish(self, batch: Batch, *, moved: int, skipped: int) -> None:
        """Record that a batch is done."""
        self._file.write(
            "UPDATE batches SET state = 'done', moved = ?, skipped = ? "
            "WHERE number = ? AND state != 'done'",
            (moved, skipped, batch.number),
        )

    def put_back(self, batch: Batch, parts: Sequence[Sequence[str]]) -> None:
        """Put a failed batch back as one or several smaller ones."""
        with self._file.transaction() as db:
            put_back = db.execute(
                "DELETE FROM batches WHERE number = ? AND state != 'done'", (batch.number,)
            ).rowcount
            # None: its lease ran out, and another owner did it or put it back already.
            for part in parts if put_back else ():
                _insert_batch(db, batch.stage, part, batch.attempts + 1)

    def workers(self) -> tuple[WorkerLeases, ...]:
        """Tell who has batches in hand, and for how long."""
        rows = self._file.read(
            "SELECT owner, COUNT(*), SUM(items), MIN(leased_at) FROM batches "
            "WHERE state = 'leased' GROUP BY owner ORDER BY MIN(leased_at)"
        )
        now = time.time()
        return tuple(
            WorkerLeases(owner, batches, items, max(0.0, now - since))
            for owner, batches, items, since in rows
        )

    def release_leases(self, owner: str | None = None) -> int:
        """Give leased batches back."""
        return self._file.write(
            "UPDATE batches SET state = 'to do' WHERE state = 'leased' "
            "AND (:owner IS NULL OR owner = :owner)",
            {"owner": owner},
        )

    def drop_work(self, stage: Stage) -> None:
        """Forget the batches of a stage that are not done."""
        self._file.write("DELETE FROM batches WHERE stage = ? AND state != 'done'", (stage,))

    def tally(self, stage: Stage) -> Tally:
        """Count the items of a stage."""
        ((total, moved, skipped),) = self._file.read(
            "SELECT COALESCE(SUM(items), 0), COALESCE(SUM(moved), 0), COALESCE(SUM(skipped), 0) "
            "FROM batches WHERE stage = ?",
            (stage,),
        )
        return Tally(total, moved, skipped)

    def worked_ids(self, stage: Stage) -> Iterator[tuple[str, ...]]:
        """Read the item ids of all batches of a stage."""
        number = 0
        while rows := self._file.read(
            "SELECT number, item_ids FROM batches WHERE stage = ? AND number > ? "
            "ORDER BY number LIMIT 16",
            (stage, number),
        ):
            for number, item_ids in rows:  # noqa: B007  the last number is where to go on
                yield tuple(json.loads(item_ids))

    # Dead letters ----------------------------------------------------------------------------

    def reject(self, batch: Batch, item_ids: Sequence[str], error: str) -> None:
        """Take items out of a batch and list them as dead letters."""
        rejected = set(item_ids)
        with self._file.transaction(durable=True) as db:
            row = db.execute(
                "SELECT item_ids FROM batches WHERE number = ?", (batch.number,)
            ).fetchone()
            left = [item for item in (json.loads(row[0]) if row else ()) if item not in rejected]
            db.executemany(
                "INSERT OR REPLACE INTO dead_letters (item_id, stage, error, attempts, at) "
                "VALUES (?, ?, ?, ?, ?)",
                [(item, batch.stage, error, batch.attempts + 1, time.time()) for item in item_ids],
            )
            db.execute(
                "UPDATE batches SET item_ids = ?, items = ? WHERE number = ?",
                (json.dumps(left), len(left), batch.number),
            )

    def dead_letters(self, *, accepted: bool = False) -> tuple[DeadLetter, ...]:
        """Read the dead letters that hold the upgrade, or those that somebody accepted."""
        rows = self._file.read(
            "SELECT item_id, stage, error, attempts, at, accepted_by FROM dead_letters "
            "WHERE (accepted_by != '') = ? ORDER BY at, item_id",
            (accepted,),
        )
        return tuple(DeadLetter(*row) for row in rows)

    def accept(self, item_ids: Sequence[str], by: str) -> int:
        """Let the upgrade go on without these dead letters."""
        return self._file.write(
            "UPDATE dead_letters SET accepted_by = ? "
            "WHERE item_id IN (SELECT value FROM json_each(?))",
            (by, json.dumps(list(item_ids))),
            durable=True,
        )

    def resolve(self, item_ids: Sequence[str]) -> None:
        """Take items off the dead letters."""
        self._file.write(
            "DELETE FROM dead_letters WHERE item_id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(item_ids)),),
            durable=True,
        )

    def retry(self, batch_size: int, item_ids: Sequence[str] | None = None) -> int:
        """Turn dead letters into work again."""
        which = None if item_ids is None else json.dumps(list(item_ids))
        chosen = (
            "(CASE WHEN :which IS NULL THEN accepted_by = '' "
            "ELSE item_id IN (SELECT value FROM json_each(:which)) END)"
        )
        with self._file.transaction(durable=True) as db:
            retried = 0
            for stage in ("prefill", "embed", "revert"):
                letters = db.execute(
                    f"SELECT item_id FROM dead_letters WHERE {chosen} AND stage = :stage "
                    "ORDER BY item_id",
                    {"which": which, "stage": stage},
                )
                while rows := letters.fetchmany(batch_size):
                    _insert_batch(db, stage, [item_id for (item_id,) in rows], attempts=0)
                    retried += len(rows)
            db.execute(f"DELETE FROM dead_letters WHERE {chosen}", {"which": which})
        return retried

    # Deletes ---------------------------------------------------------------------------------

    def mark_deleted(self, item_ids: Sequence[str]) -> None:
        """Remember items deleted on purpose."""
        with self._file.transaction(durable=True) as db:
            db.executemany(
                "INSERT OR IGNORE INTO deleted VALUES (?)", [(item_id,) for item_id in item_ids]
            )
            self.resolve(item_ids)

    def deleted(self, item_ids: Sequence[str]) -> frozenset[str]:
        """Tell which of these were deleted on purpose."""
        rows = self._file.read(
            "SELECT item_id FROM deleted WHERE item_id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(item_ids)),),
        )
        return frozenset(item_id for (item_id,) in rows)

    def forget(self, item_ids: Sequence[str]) -> bool:
        """Forget that items were deleted or failed."""
        ids = json.dumps(list(item_ids))
        found = self._file.read(
            "SELECT item_id FROM deleted WHERE item_id IN (SELECT value FROM json_each(:ids)) "
            "UNION SELECT item_id FROM dead_letters "
            "WHERE item_id IN (SELECT value FROM json_each(:ids)) LIMIT 1",
            {"ids": ids},
        )
        if found:  # rarely; and only then does this wait for other writers
            with self._file.transaction(durable=True) as db:
                db.execute(
                    "DELETE FROM deleted WHERE item_id IN (SELECT value FROM json_each(?))", (ids,)
                )
                self.resolve(item_ids)
        return bool(found)

    # What made old vectors -------------------------------------------------------------------

    def note_origins(self, pages: Iterable[tuple[Sequence[str], Sequence[int], str]]) -> None:
        """Remember what made vectors that a model did not make."""
        with self._file.transaction(durable=True) as db:
            for item_ids, versions, origin in pages:
                db.executemany(
                    "INSERT OR REPLACE INTO origins VALUES (?, ?, ?)",
                    [
                        (item_id, int(version), origin)
                        for item_id, version in zip(item_ids, versions, strict=True)
                    ],
                )

    def origins_noted(self, item_ids: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Read content version and origin of those of the items that were noted."""
        rows = self._file.read(
            "SELECT item_id, version, origin FROM origins "
            "WHERE item_id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(item_ids)),),
        )
        return {item_id: (version, origin) for item_id, version, origin in rows}

    # Signs of life ---------------------------------------------------------------------------

    def beat(self, **values: Any) -> None:
        """Replace the running process's sign of life."""
        body = json.dumps({**values, "at": time.time()})
        self._file.write("INSERT OR REPLACE INTO beat VALUES (0, ?)", (body,))

    def last_beat(self) -> dict[str, Any]:
        """Read the newest sign of life."""
        rows = self._file.read("SELECT body FROM beat", ())
        values: dict[str, Any] = json.loads(rows[0][0]) if rows else {}
        return values

    @contextmanager
    def coordinating(self, wait_seconds: float = 0.0) -> Iterator[None]:
        """Be the one process on this machine, the only one that can reach the file."""
        with running_lock(self._path.with_name("running"), wait_seconds):
            try:
                with self._file.transaction(durable=True) as db:
                    self._file.follows = False
                    db.execute("UPDATE journal SET epoch = epoch + 1")
                    db.execute(
                        "UPDATE batches SET state = 'to do' "
                        "WHERE state = 'leased' AND owner LIKE 'coordinator-%'"
                    )
                    self._epoch = db.execute("SELECT epoch FROM journal").fetchone()[0]
                self._leads = True
                yield
            finally:
                self._leads, self._file.follows = False, True

    @property
    def leader(self) -> str:
        """Name the owner of the leading process's batches."""
        return f"coordinator-{self._epoch}"

    def check_leading(self) -> None:
        """Raise JournalError when another process leads now, or the file was taken away."""
        if self._leads and self._file.is_replaced(or_gone=True):
            raise JournalError(
                f"the journal {self._path} was deleted or replaced while the upgrade ran; nothing "
                "more was moved: run the same command again"
            )
        self._check_epoch()

    def _check_epoch(self) -> None:
        """Raise UpgradeBusyError when another process has led since."""
        if self._leads and self._file.read("SELECT epoch FROM journal")[0][0] != self._epoch:
            raise lost_the_lead(int(self.last_beat().get("pid") or 0))

    def close(self) -> None:
        """Release the journal."""
        self._file.close()


_UNTOUCHED = "(state = 'to do' AND owner IS NULL AND attempts = 0)"
"""Of a batch that nobody ever had."""


def _joined(db: sqlite3.Connection, stage: Stage, number: int, items: int, room: int) -> list[str]:
    """Take out the untouched batches after one of `items` that there is room for; their items."""
    rows = db.execute(
        "SELECT number, item_ids, items FROM batches WHERE stage = ? AND state != 'done' "
        f"AND {_UNTOUCHED} AND number > ? ORDER BY number LIMIT ?",
        (stage, number, max(0, room // max(items, 1) - 1)),
    )
    joined: list[str] = []
    taken = []
    for after, item_ids, more in rows:
        if items + len(joined) + more > room:
            break
        joined += json.loads(item_ids)
        taken.append((after,))
    db.executemany("DELETE FROM batches WHERE number = ?", taken)
    return joined


def _insert_batch(
    db: sqlite3.Connection, stage: Stage, item_ids: Sequence[str], attempts: int
) -> None:
    db.execute(
        "INSERT INTO batches (stage, state, item_ids, items, attempts) "
        "VALUES (?, 'to do', ?, ?, ?)",
        (stage, json.dumps(list(item_ids)), len(item_ids), attempts),
    )
