"""The journal in PostgreSQL, for an upgrade with workers on many machines.

Leases are taken with FOR UPDATE SKIP LOCKED, so that workers never wait for each other, and end by
the server's clock, so that the workers' clocks need not agree.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import sql

from hotfill.upgrade.journal import postgres_tables as tables
from hotfill.upgrade.journal.base import Batch, DeadLetter, Fact, Journal, Tally
from hotfill.upgrade.journal.lock import busy
from hotfill.upgrade.journal.postgres_schema import STEPS, JournalSchema, translated
from hotfill.upgrade.phases import Hold, Phase, advance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hotfill.stores.postgres.connections import Connection
    from hotfill.upgrade.journal.base import Stage
    from hotfill.upgrade.phases import HoldKind, Step

T = TypeVar("T")

_NEWEST = (
    "SELECT number, at, kind, body FROM {schema}.facts WHERE kind = %s ORDER BY number DESC LIMIT 1"
)
_POLL_SECONDS = 0.1
_RUNNING = 0x686F7469  # advisory lock: to run the upgrade


class PostgresJournal(Journal):
    """The journal in a schema of its own, made when missing.

    dsn: libpq's connection string or URL. schema: one for each upgrade.
    Raises JournalError when the server cannot be used, when the schema holds something else, or
    when it was written by a newer hotfill.
    """

    def __init__(self, dsn: str, schema: str = "hotfill_upgrade") -> None:
        self._schema = JournalSchema(dsn, schema)

    @classmethod
    def is_there(cls, dsn: str, schema: str) -> bool:
        """Tell whether a schema holds a journal. Makes nothing. Raises JournalError."""
        with translated(schema), psycopg.connect(dsn) as connection:
            row = connection.execute(
                "SELECT to_regclass(%s) IS NOT NULL",
                (sql.Identifier(schema, "journal").as_string(),),
            ).fetchone()
        return row == (True,)

    # What was decided and what happened ------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """Where the upgrade is."""
        fact = self.last("phase")
        return Phase(fact.body["phase"]) if fact else Phase.PLANNED

    def enter(self, phase: Phase) -> None:
        """Record a new phase."""
        self._step(lambda now: phase)

    def advance(self, step: Step) -> Phase:
        """Enter the phase that a step leads to, and return it."""
        return self._step(lambda now: advance(now, step))

    def _step(self, next_phase: Callable[[Phase], Phase]) -> Phase:
        def work(connection: Connection) -> Phase:
            with connection.transaction():
                self._schema.lock(connection, STEPS)
                row = connection.execute(self._schema.sql(_NEWEST), ("phase",)).fetchone()
                now = Phase(_fact(row).body["phase"]) if row else Phase.PLANNED
                phase = next_phase(now)
                if phase is not now:
                    connection.execute(
                        self._schema.sql(
                            "INSERT INTO {schema}.facts (kind, body) VALUES ('phase', %s)"
                        ),
                        (json.dumps({"phase": str(phase)}),),
                    )
                return phase

        return self._schema.run(work)

    def record(self, kind: str, **body: Any) -> None:
        """Append a fact."""
        self._schema.write(
            "INSERT INTO {schema}.facts (kind, body) VALUES (%s, %s)", (kind, json.dumps(body))
        )

    def facts(self, kind: str | None = None) -> Iterator[Fact]:
        """Read facts, oldest first."""
        rows = self._schema.read(
            "SELECT number, at, kind, body FROM {schema}.facts "
            "WHERE %(kind)s::text IS NULL OR kind = %(kind)s ORDER BY number",
            {"kind": kind},
        )
        for row in rows:
            yield _fact(row)

    def last(self, kind: str) -> Fact | None:
        """Read the newest fact of a kind."""
        rows = self._schema.read(_NEWEST, (kind,))
        return _fact(rows[0]) if rows else None

    # Why it may not move ---------------------------------------------------------------------

    def hold(self, hold: Hold) -> None:
        """Add a hold."""
        self._schema.write(
            "INSERT INTO {schema}.holds VALUES (%s, %s, %s, %s, %s) ON CONFLICT (kind, about) "
            "DO UPDATE SET measured = excluded.measured, required = excluded.required",
            (hold.kind, hold.about, hold.since, hold.measured, hold.required),
        )

    def release(self, kind: HoldKind, about: str | None = None) -> bool:
        """End holds of a kind."""
        gone = self._schema.write(
            "DELETE FROM {schema}.holds WHERE kind = %(kind)s "
            "AND (%(about)s::text IS NULL OR about = %(about)s)",
            {"kind": kind, "about": about},
        )
        return gone > 0

    def holds(self) -> tuple[Hold, ...]:
        """Read the holds, oldest first."""
        rows = self._schema.read(
            "SELECT kind, about, since, measured, required FROM {schema}.holds "
            "ORDER BY since, kind, about",
            (),
        )
        return tuple(Hold(*row) for row in rows)

    # Work ------------------------------------------------------------------------------------

    def add_work(
        self, stage: Stage, pages: Iterable[tuple[Sequence[str], Iterable[float]]], batch_size: int
    ) -> int:
        """Cut items into batches, lowest rank first; the server sorts, on its disk if need be."""

        def work(connection: Connection) -> int:
            with connection.transaction():
                connection.execute("SET LOCAL statement_timeout = 0")
                connection.execute(
                    "CREATE TEMP TABLE staging (item_id bytea, rank double precision) "
                    "ON COMMIT DROP"
                )
                with connection.cursor().copy("COPY staging FROM STDIN") as copy:
                    for item_ids, ranks in pages:
                        for item_id, rank in zip(item_ids, ranks, strict=True):
                            copy.write_row((_encoded(item_id), float(rank)))
                added = connection.execute(
                    self._schema.sql(tables.ADD_WORK), {"stage": stage, "size": batch_size}
                )
                return sum(items for (items,) in added)

        with translated(self._schema.name):  # once: pages cannot be read again
            return self._schema.connections.run("add work", work)

    def lease(self, stage: Stage, owner: str, seconds: float) -> Batch | None:
        """Take the next batch, for a while."""
        rows = self._schema.read(tables.LEASE, {"stage": stage, "owner": owner, "seconds": seconds})
        for number, item_ids, attempts in rows:
            return Batch(number, stage, _texts(item_ids), attempts)
        return None

    def prolong(self, owner: str, seconds: float) -> int:
        """Let the leases of an owner last that long from now. Returns how many it has."""
        return self._schema.write(
            "UPDATE {schema}.batches "
            "SET leased_until = clock_timestamp() + make_interval(secs => %s) "
            "WHERE state = 'leased' AND owner = %s",
            (seconds, owner),
        )

    def finish(self, batch: Batch, *, moved: int, skipped: int) -> None:
        """Record that a batch is done."""
        self._schema.write(
            "UPDATE {schema}.batches SET state = 'done', moved = %s, skipped = %s "
            "WHERE number = %s AND state <> 'done'",
            (moved, skipped, batch.number),
        )

    def retry(self, batch: Batch, parts: Sequence[Sequence[str]]) -> None:
        """Put a failed batch back as one or several smaller ones."""

        def work(connection: Connection) -> None:
            with connection.transaction():
                put_back = connection.execute(
                    self._schema.sql(
                        "DELETE FROM {schema}.batches WHERE number = %s AND state <> 'done'"
                    ),
                    (batch.number,),
                ).rowcount
                # None: its lease ran out, and another owner did it or put it back already.
                for part in parts if put_back else ():
                    connection.execute(
                        self._schema.sql(
                            "INSERT INTO {schema}.batches (stage, state, item_ids, items, attempts)"
                            " VALUES (%s, 'to do', %s, %s, %s)"
                        ),
                        (batch.stage, _bytes(part), len(part), batch.attempts + 1),
                    )

        self._schema.run(work)

    def reject(self, batch: Batch, item_ids: Sequence[str], error: str) -> None:
        """Take items out of a batch and list them as dead letters."""
        values = {
            "rejected": _bytes(item_ids),
            "number": batch.number,
            "stage": batch.stage,
            "error": error.encode(errors="replace").decode().replace("\0", " "),
            "attempts": batch.attempts + 1,
        }

        def work(connection: Connection) -> None:
            with connection.transaction():
                connection.execute(self._schema.sql(tables.DEAD_LETTERS), values)
                connection.execute(self._schema.sql(tables.BURY), values)

        self._schema.run(work)

    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """Read the dead letters."""
        rows = self._schema.read(
            "SELECT item_id, stage, error, attempts, at FROM {schema}.dead_letters "
            "ORDER BY at, item_id",
            (),
        )
        return tuple(DeadLetter(_decoded(item_id), *rest) for item_id, *rest in rows)

    def resolve(self, item_ids: Sequence[str]) -> None:
        """Take items off the dead letters."""
        self._schema.write(
            "DELETE FROM {schema}.dead_letters WHERE item_id = ANY (%s)", (_bytes(item_ids),)
        )

    def retry_dead_letters(self, batch_size: int) -> int:
        """Turn the dead letters into work again."""
        return sum(items for (items,) in self._schema.read(tables.REVIVE, {"size": batch_size}))

    def release_leases(self, owner: str | None = None) -> int:
        """Give leased batches back, all or those of one owner."""
        return self._schema.write(
            "UPDATE {schema}.batches SET state = 'to do' WHERE state = 'leased' "
            "AND (%(owner)s::text IS NULL OR owner = %(owner)s)",
            {"owner": owner},
        )

    def drop_work(self, stage: Stage) -> None:
        """Forget the batches of a stage that are not done."""
        self._schema.write(
            "DELETE FROM {schema}.batches WHERE stage = %s AND state <> 'done'",
            (stage,),
        )

    def tally(self, stage: Stage) -> Tally:
        """Count the items of a stage."""
        ((total, moved, skipped),) = self._schema.read(
            "SELECT coalesce(sum(items), 0), coalesce(sum(moved), 0), coalesce(sum(skipped), 0) "
            "FROM {schema}.batches WHERE stage = %s",
            (stage,),
        )
        return Tally(int(total), int(moved), int(skipped))

    def worked_ids(self, stage: Stage) -> Iterator[tuple[str, ...]]:
        """Read the item ids of all batches of a stage."""
        number = 0
        while rows := self._schema.read(
            "SELECT number, item_ids FROM {schema}.batches WHERE stage = %s AND number > %s "
            "ORDER BY number LIMIT 16",
            (stage, number),
        ):
            for number, item_ids in rows:  # noqa: B007  the last number is where to go on
                yield _texts(item_ids)

    # Deletes ---------------------------------------------------------------------------------

    def record_deleted(self, item_ids: Sequence[str]) -> None:
        """Remember items deleted on purpose."""
        self._schema.write(
            "WITH resolved AS (DELETE FROM {schema}.dead_letters WHERE item_id = ANY (%(ids)s)) "
            "INSERT INTO {schema}.deleted SELECT DISTINCT unnest(%(ids)s::bytea[]) "
            "ON CONFLICT DO NOTHING",
            {"ids": _bytes(item_ids)},
        )

    def deleted(self, item_ids: Sequence[str]) -> frozenset[str]:
        """Tell which of these were deleted on purpose."""
        rows = self._schema.read(
            "SELECT item_id FROM {schema}.deleted WHERE item_id = ANY (%s::bytea[])",
            (_bytes(item_ids),),
        )
        return frozenset(_decoded(item_id) for (item_id,) in rows)

    def forget(self, item_ids: Sequence[str]) -> bool:
        """Forget that items were deleted or failed."""
        gone = self._schema.read(
            "WITH resolved AS "
            "(DELETE FROM {schema}.dead_letters WHERE item_id = ANY (%(ids)s) RETURNING 1), "
            "back AS (DELETE FROM {schema}.deleted WHERE item_id = ANY (%(ids)s) RETURNING 1) "
            "SELECT 1 FROM resolved UNION ALL SELECT 1 FROM back",
            {"ids": _bytes(item_ids)},
        )
        return bool(gone)

    # Signs of life ---------------------------------------------------------------------------

    def beat(self, **values: Any) -> None:
        """Replace the coordinating process's sign of life."""
        self._schema.write(
            "INSERT INTO {schema}.beat (body, at) "
            "VALUES (%s, extract(epoch FROM clock_timestamp())) "
            "ON CONFLICT (is_only) DO UPDATE SET body = excluded.body, at = excluded.at",
            (json.dumps(values),),
        )

    def last_beat(self) -> dict[str, Any]:
        """Read the newest sign of life; its time is by this machine's clock."""
        rows = self._schema.read(
            "SELECT body, extract(epoch FROM clock_timestamp())::float8 - at FROM {schema}.beat", ()
        )
        return {**json.loads(rows[0][0]), "at": time.time() - rows[0][1]} if rows else {}

    @contextmanager
    def coordinating(self, wait_seconds: float = 0.0) -> Iterator[None]:
        """Be the one process, on any machine, that takes the upgrade through its phases."""
        deadline = time.monotonic() + wait_seconds
        key = (_RUNNING, self._schema.name)
        with translated(self._schema.name):  # the server frees the lock when this connection ends
            held = psycopg.connect(self._schema.connections.conninfo, autocommit=True)
        try:
            while not self._taken(held, key):
                if time.monotonic() >= deadline:
                    raise busy(int(self.last_beat().get("pid") or 0))
                time.sleep(_POLL_SECONDS)
            try:
                yield
            finally:
                # Closing frees it as well, but a moment later: too late for the next command.
                with suppress(psycopg.Error):
                    held.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", key)
        finally:
            held.close()

    def close(self) -> None:
        """Release the journal."""
        self._schema.connections.close()

    # ------------------------------------------------------------------------------------------

    def _taken(self, connection: Connection, key: tuple[int, str]) -> bool:
        with translated(self._schema.name):
            row = connection.execute(
                "SELECT pg_try_advisory_lock(%s, hashtext(%s))", key
            ).fetchone()
        return row == (True,)


def _fact(row: tuple[Any, ...]) -> Fact:
    number, at, kind, body = row
    return Fact(number, at, kind, json.loads(body))


def _bytes(item_ids: Sequence[str]) -> list[bytes]:
    return [_encoded(item_id) for item_id in item_ids]


def _encoded(item_id: str) -> bytes:
    return item_id.encode(errors="surrogatepass")


def _decoded(item_id: bytes) -> str:
    return item_id.decode(errors="surrogatepass")


def _texts(item_ids: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(_decoded(item_id) for item_id in item_ids)
