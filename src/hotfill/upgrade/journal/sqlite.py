"""The journal in one SQLite file, for an upgrade that runs on one machine.

Write-ahead logging lets other processes read the status while the upgrade runs. A commit survives
SIGKILL; after a power cut the last commits may be missing, which is harmless: their batches are
done again.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from hotfill.upgrade.journal.base import Batch, DeadLetter, Fact, Journal, Tally
from hotfill.upgrade.journal.lock import running_lock
from hotfill.upgrade.journal.sqlite_file import JournalFile
from hotfill.upgrade.phases import Hold, Phase, advance

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from hotfill.upgrade.journal.base import Stage
    from hotfill.upgrade.phases import HoldKind, Step


class SqliteJournal(Journal):
    """The journal in one file.

    path: created when missing. Raises JournalCorruptError when its bytes are damaged or are not a
    journal, JournalError when it was written by a newer hotfill.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = JournalFile(path)

    # What was decided and what happened ------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """Where the upgrade is."""
        fact = self.last("phase")
        return Phase(fact.body["phase"]) if fact else Phase.PLANNED

    def enter(self, phase: Phase) -> None:
        """Record a new phase."""
        with self._file.transaction():
            if self.phase is not phase:
                self.record("phase", phase=str(phase))

    def advance(self, step: Step) -> Phase:
        """Enter the phase that a step leads to, and return it."""
        with self._file.transaction():
            phase = advance(self.phase, step)
            self.enter(phase)
        return phase

    def record(self, kind: str, **body: Any) -> None:
        """Append a fact."""
        self._file.write(
            "INSERT INTO facts (at, kind, body) VALUES (?, ?, ?)",
            (time.time(), kind, json.dumps(body)),
        )

    def facts(self, kind: str | None = None) -> Iterator[Fact]:
        """Read facts, oldest first."""
        rows = self._file.read(
            "SELECT number, at, kind, body FROM facts WHERE ?1 IS NULL OR kind = ?1 "
            "ORDER BY number",
            (kind,),
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
        )

    def release(self, kind: HoldKind, about: str | None = None) -> bool:
        """End holds of a kind."""
        statement = "DELETE FROM holds WHERE kind = ?1 AND (?2 IS NULL OR about = ?2)"
        return self._file.write(statement, (kind, about)) > 0

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
        with self._file.transaction():
            # SQLite sorts on disk, so the list of items never has to fit into memory.
            self._file.db.execute("CREATE TEMP TABLE staging (item_id TEXT, rank REAL)")
            try:
                for item_ids, ranks in pages:
                    self._file.db.executemany(
                        "INSERT INTO staging VALUES (?, ?)",
                        zip(item_ids, (float(rank) for rank in ranks), strict=True),
                    )
                ordered = self._file.db.execute(
                    "SELECT item_id FROM staging ORDER BY rank, item_id"
                )
                added = 0
                while rows := ordered.fetchmany(batch_size):
                    self._insert_batch(stage, [item_id for (item_id,) in rows], attempts=0)
                    added += len(rows)
            finally:
                self._file.db.execute("DROP TABLE staging")
        return added

    def _insert_batch(self, stage: Stage, item_ids: Sequence[str], attempts: int) -> None:
        self._file.db.execute(
            "INSERT INTO batches (stage, state, item_ids, items, attempts) "
            "VALUES (?, 'to do', ?, ?, ?)",
            (stage, json.dumps(list(item_ids)), len(item_ids), attempts),
        )

    def lease(self, stage: Stage, owner: str, seconds: float) -> Batch | None:
        """Take the next batch, for a while."""
        now = time.time()
        with self._file.transaction():
            row = self._file.db.execute(
                "SELECT number, item_ids, attempts FROM batches WHERE stage = ? AND "
                "state != 'done' AND (state = 'to do' OR leased_until < ?) "
                "ORDER BY number LIMIT 1",
                (stage, now),
            ).fetchone()
            if row is None:
                return None
            self._file.db.execute(
                "UPDATE batches SET state = 'leased', owner = ?, leased_until = ? WHERE number = ?",
                (owner, now + seconds, row[0]),
            )
        return Batch(row[0], stage, tuple(json.loads(row[1])), row[2])

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

    def retry(self, batch: Batch, parts: Sequence[Sequence[str]]) -> None:
        """Put a failed batch back as one or several smaller ones."""
        with self._file.transaction():
            put_back = self._file.db.execute(
                "DELETE FROM batches WHERE number = ? AND state != 'done'", (batch.number,)
            ).rowcount
            # None: its lease ran out, and another owner did it or put it back already.
            for part in parts if put_back else ():
                self._insert_batch(batch.stage, part, batch.attempts + 1)

    def reject(self, batch: Batch, item_ids: Sequence[str], error: str) -> None:
        """Take items out of a batch and list them as dead letters."""
        rejected = set(item_ids)
        with self._file.transaction():
            row = self._file.db.execute(
                "SELECT item_ids FROM batches WHERE number = ?", (batch.number,)
            ).fetchone()
            kept = [item for item in (json.loads(row[0]) if row else ()) if item not in rejected]
            self._file.db.executemany(
                "INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?, ?)",
                [(item, batch.stage, error, batch.attempts + 1, time.time()) for item in item_ids],
            )
            self._file.db.execute(
                "UPDATE batches SET item_ids = ?, items = ? WHERE number = ?",
                (json.dumps(kept), len(kept), batch.number),
            )

    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """Read the dead letters."""
        rows = self._file.read(
            "SELECT item_id, stage, error, attempts, at FROM dead_letters ORDER BY at, item_id", ()
        )
        return tuple(DeadLetter(*row) for row in rows)

    def resolve(self, item_ids: Sequence[str]) -> None:
        """Take items off the dead letters."""
        self._file.write(
            "DELETE FROM dead_letters WHERE item_id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(item_ids)),),
        )

    def retry_dead_letters(self, batch_size: int) -> int:
        """Turn the dead letters into work again."""
        with self._file.transaction():
            retried = 0
            for stage in ("prefill", "embed", "revert"):
                letters = self._file.db.execute(
                    "SELECT item_id FROM dead_letters WHERE stage = ? ORDER BY item_id", (stage,)
                )
                while rows := letters.fetchmany(batch_size):
                    self._insert_batch(stage, [item_id for (item_id,) in rows], attempts=0)
                    retried += len(rows)
            self._file.db.execute("DELETE FROM dead_letters")
        return retried

    def release_leases(self, owner: str | None = None) -> int:
        """Give leased batches back."""
        return self._file.write(
            "UPDATE batches SET state = 'to do' WHERE state = 'leased' "
            "AND (?1 IS NULL OR owner = ?1)",
            (owner,),
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

    # Deletes ---------------------------------------------------------------------------------

    def record_deleted(self, item_ids: Sequence[str]) -> None:
        """Remember items deleted on purpose."""
        with self._file.transaction():
            self._file.db.executemany(
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
            "SELECT item_id FROM deleted WHERE item_id IN (SELECT value FROM json_each(?1)) "
            "UNION SELECT item_id FROM dead_letters "
            "WHERE item_id IN (SELECT value FROM json_each(?1)) LIMIT 1",
            (ids,),
        )
        if found:  # rarely; and only then does this wait for other writers
            with self._file.transaction():
                self._file.db.execute(
                    "DELETE FROM deleted WHERE item_id IN (SELECT value FROM json_each(?))", (ids,)
                )
                self.resolve(item_ids)
        return bool(found)

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

    def coordinating(self, wait_seconds: float = 0.0) -> AbstractContextManager[None]:
        """Be the one process on this machine, the only one that can reach the file."""
        return running_lock(self._path.with_name("running"), wait_seconds)

    def close(self) -> None:
        """Release the journal."""
        self._file.close()
