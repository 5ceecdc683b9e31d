"""The journal in PostgreSQL, for an upgrade with workers on many machines.

Leases are taken with FOR UPDATE SKIP LOCKED, so that workers never wait for each other, and end by
the server's clock, so that the workers' clocks need not agree.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import sql

from hotfill.errors import JournalError, StoreError, StoreFullError
from hotfill.retry import is_retryable, retry_if
from hotfill.stores.postgres.connections import Connections, for_libpq
from hotfill.stores.postgres.stamp import check_name
from hotfill.upgrade.journal.base import Batch, DeadLetter, Fact, Journal, Tally, WorkerLeases
from hotfill.upgrade.journal.lock import busy, lost_the_lead
from hotfill.upgrade.phases import Hold, Phase, advance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hotfill.stores.postgres.connections import Connection
    from hotfill.upgrade.journal.base import Stage
    from hotfill.upgrade.phases import HoldKind, Step


# One schema for each upgrade. Item ids are kept as bytes: PostgreSQL's texts cannot hold every
# text, and bytes have one order.
_FORMAT = 3

_TABLES = """
CREATE TABLE {schema}.journal (
    format int NOT NULL, identity text NOT NULL DEFAULT gen_random_uuid()::text,
    epoch bigint NOT NULL DEFAULT 0
);
INSERT INTO {schema}.journal (format) VALUES (%(format)s);
CREATE TABLE {schema}.facts (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp()),
    kind text NOT NULL, body text NOT NULL
);
CREATE INDEX facts_by_kind ON {schema}.facts (kind, number);
CREATE TABLE {schema}.holds (
    kind text, about text, since double precision NOT NULL,
    measured double precision, required double precision, PRIMARY KEY (kind, about)
);
CREATE TABLE {schema}.batches (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stage text NOT NULL, state text NOT NULL, item_ids bytea[] NOT NULL, items int NOT NULL,
    attempts int NOT NULL, owner text, leased_at timestamptz, leased_until timestamptz,
    moved int NOT NULL DEFAULT 0, skipped int NOT NULL DEFAULT 0
);
CREATE INDEX batches_to_do ON {schema}.batches (stage, number) WHERE state <> 'done';
CREATE INDEX batches_by_stage ON {schema}.batches (stage, number) INCLUDE (items, moved, skipped);
CREATE TABLE {schema}.dead_letters (
    item_id bytea PRIMARY KEY, stage text NOT NULL, error text NOT NULL, attempts int NOT NULL,
    at double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp()),
    accepted_by text NOT NULL DEFAULT ''
);
CREATE TABLE {schema}.deleted (item_id bytea PRIMARY KEY);
CREATE TABLE {schema}.origins (
    item_id bytea PRIMARY KEY, version bigint NOT NULL, origin text NOT NULL
);
CREATE TABLE {schema}.beat (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only), body text NOT NULL,
    at double precision NOT NULL
);
"""

_ADD_WORK = """
INSERT INTO {schema}.batches (stage, state, item_ids, items, attempts)
SELECT %(stage)s, 'to do', array_agg(item_id ORDER BY place), count(*), 0
FROM (
    SELECT item_id, row_number() OVER (ORDER BY rank, item_id) - 1 AS place FROM staging
) ordered
GROUP BY place / %(size)s ORDER BY place / %(size)s
RETURNING items
"""

_LEASE = """
WITH next AS (
    SELECT number FROM {schema}.batches WHERE stage = %(stage)s
    AND (state = 'to do' OR (state = 'leased' AND leased_until < clock_timestamp()))
    ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE {schema}.batches b SET state = 'leased', owner = %(owner)s,
    leased_at = clock_timestamp(),
    leased_until = clock_timestamp() + make_interval(secs => %(seconds)s)
FROM next WHERE b.number = next.number RETURNING b.number, b.item_ids, b.attempts
"""

_LEASE_SEVERAL = """
WITH first AS (
    SELECT number, item_ids, items, owner IS NULL AND attempts = 0 AS untouched
    FROM {schema}.batches WHERE stage = %(stage)s
    AND (state = 'to do' OR (state = 'leased' AND leased_until < clock_timestamp()))
    ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
), after AS (
    SELECT number, item_ids, items FROM {schema}.batches WHERE stage = %(stage)s
    AND state = 'to do' AND owner IS NULL AND attempts = 0
    AND number > (SELECT number FROM first WHERE untouched)
    ORDER BY number
    LIMIT COALESCE((SELECT greatest(%(items)s::int / greatest(items, 1) - 1, 0) FROM first), 0)
    FOR UPDATE SKIP LOCKED
), joined AS (
    SELECT number, item_ids FROM (
        SELECT *, sum(items) OVER (ORDER BY number) + (SELECT items FROM first) AS upto FROM after
    ) summed WHERE upto <= %(items)s::int
), gone AS (
    DELETE FROM {schema}.batches b USING joined WHERE b.number = joined.number
), whole AS (
    SELECT first.number, first.item_ids || COALESCE((
        SELECT array_agg(u.item_id ORDER BY joined.number, u.place)
        FROM joined, unnest(joined.item_ids) WITH ORDINALITY u(item_id, place)
    ), '{{}}') AS item_ids
    FROM first
)
UPDATE {schema}.batches b SET state = 'leased', owner = %(owner)s, item_ids = whole.item_ids,
    items = cardinality(whole.item_ids), leased_at = clock_timestamp(),
    leased_until = clock_timestamp() + make_interval(secs => %(seconds)s)
FROM whole WHERE b.number = whole.number RETURNING b.number, b.item_ids, b.attempts
"""

_LOCK_BATCHES = "LOCK TABLE {schema}.batches IN SHARE ROW EXCLUSIVE MODE"

_ROOM = """
SELECT %(most)s::bigint - COALESCE(sum(CASE WHEN state = 'done' THEN moved
    WHEN state = 'leased' AND leased_until >= clock_timestamp() THEN items ELSE 0 END), 0)
FROM {schema}.batches WHERE stage = %(stage)s
"""

_CUT = """
WITH next AS (
    SELECT number, item_ids, attempts FROM {schema}.batches WHERE stage = %(stage)s
    AND (state = 'to do' OR (state = 'leased' AND leased_until < clock_timestamp()))
    ORDER BY number LIMIT 1
), rest AS (
    INSERT INTO {schema}.batches (stage, state, item_ids, items, attempts)
    SELECT %(stage)s, 'to do', item_ids[%(room)s::int + 1:],
        cardinality(item_ids) - %(room)s::int, attempts
    FROM next WHERE cardinality(item_ids) > %(room)s::int
)
UPDATE {schema}.batches b SET item_ids = b.item_ids[:%(room)s::int], items = %(room)s::int
FROM next WHERE b.number = next.number AND cardinality(next.item_ids) > %(room)s::int
"""

_RETRY = """
WITH letters AS (
    DELETE FROM {schema}.dead_letters WHERE CASE WHEN %(ids)s::bytea[] IS NULL
    THEN accepted_by = '' ELSE item_id = ANY (%(ids)s::bytea[]) END
    RETURNING item_id, stage
)
INSERT INTO {schema}.batches (stage, state, item_ids, items, attempts)
SELECT stage, 'to do', array_agg(item_id ORDER BY place), count(*), 0
FROM (
    SELECT stage, item_id, row_number() OVER (PARTITION BY stage ORDER BY item_id) - 1 AS place
    FROM letters
) ordered
GROUP BY stage, place / %(size)s
ORDER BY array_position(ARRAY['prefill', 'embed', 'revert'], stage), place / %(size)s
RETURNING items
"""

_REJECT = """
UPDATE {schema}.batches SET item_ids = kept.item_ids, items = cardinality(kept.item_ids)
FROM (
    SELECT b.number, ARRAY(
        SELECT u.item_id FROM unnest(b.item_ids) WITH ORDINALITY u(item_id, place)
        WHERE u.item_id <> ALL (%(rejected)s) ORDER BY u.place
    ) AS item_ids
    FROM {schema}.batches b WHERE b.number = %(number)s FOR UPDATE
) kept
WHERE batches.number = kept.number
"""

_DEAD_LETTERS = """
INSERT INTO {schema}.dead_letters (item_id, stage, error, attempts)
SELECT unnest(%(rejected)s::bytea[]), %(stage)s, %(error)s, %(attempts)s
ON CONFLICT (item_id) DO UPDATE SET stage = excluded.stage, error = excluded.error,
    attempts = excluded.attempts, at = excluded.at, accepted_by = ''
"""


T = TypeVar("T")

_STEPS = 0x686F7468  # advisory lock: to change the phase

_CONNECTIONS = 4
_TIMEOUT_SECONDS = 60.0
# A coordinator's machine that vanishes is noticed within half a minute, and its lock is freed.
_ALIVE = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}


class _Schema:
    """One schema on one server, its tables made when missing. Raises as `PostgresJournal`."""

    def __init__(self, dsn: str, name: str) -> None:
        check_name("the journal's schema", name)
        self.name = name
        with _translated(name):
            self.connections = Connections(
                dsn, most=_CONNECTIONS, timeout_seconds=_TIMEOUT_SECONDS, settings=_ALIVE
            )
            try:
                self.connections.run("open the journal", self._open)
            except BaseException:
                self.connections.close()
                raise

    def _open(self, connection: Connection) -> None:
        with connection.transaction():
            self.lock(connection, _STEPS)
            connection.execute(self.sql("CREATE SCHEMA IF NOT EXISTS {schema}"))
            made = connection.execute(
                "SELECT relname = 'journal' FROM pg_class WHERE relnamespace = to_regnamespace(%s) "
                "AND relkind = 'r' ORDER BY 1 DESC LIMIT 1",
                (sql.Identifier(self.name).as_string(),),
            ).fetchone()
            if made is None:
                text = _TABLES.replace("%(format)s", str(_FORMAT))
                connection.execute(self.sql(text))
            elif not made[0]:
                raise JournalError(
                    f"the schema {self.name!r} holds other tables: give the journal its own"
                )
            form = connection.execute(self.sql("SELECT format FROM {schema}.journal")).fetchone()
            if form != (_FORMAT,):
                raise JournalError(
                    f"the schema {self.name!r} has journal format {form and form[0]}, this "
                    f"hotfill reads {_FORMAT}; use the version of hotfill that started the "
                    "upgrade"
                )

    def lock(self, connection: Connection, which: int) -> None:
        """Hold an advisory lock of this schema until the transaction ends."""
        connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (which, self.name))

    def sql(self, text: str) -> sql.Composed:
        """Put the schema's name where a statement says {schema}."""
        return sql.SQL(text).format(schema=sql.Identifier(self.name))

    def read(self, statement: str, values: Any) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        return self.run(lambda c: c.execute(self.sql(statement), values).fetchall())

    def write(self, statement: str, values: Any) -> int:
        """Run one statement and tell how many rows it wrote."""
        return self.run(lambda c: c.execute(self.sql(statement), values).rowcount)

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do some work, and again while the server is away; doing it twice is harmless."""
        with _translated(self.name):
            return retry_if(_may_pass, self.connections.run, "use the journal", work)


def _may_pass(error: BaseException) -> bool:
    return is_retryable(error) and not isinstance(error, StoreFullError)


@contextmanager
def _translated(schema: str) -> Iterator[None]:
    """Turn the server's errors into ours."""
    try:
        yield
    except StoreFullError:
        raise
    except (StoreError, psycopg.Error) as error:
        raise JournalError(f"the journal {schema!r}: {error}") from error


_NEWEST = (
    "SELECT number, at, kind, body FROM {schema}.facts WHERE kind = %s ORDER BY number DESC LIMIT 1"
)
_POLL_SECONDS = 0.1
_RUNNING = 0x686F7469  # advisory lock: to run the upgrade


class PostgresJournal(Journal):
    """The journal in a schema of its own, made when missing.

    dsn: as the store in PostgreSQL takes it. schema: one for each upgrade.
    Raises JournalError when the server cannot be used, when the schema holds something else, or
    when it was written by a newer hotfill.
    """

    def __init__(self, dsn: str, schema: str = "hotfill_upgrade") -> None:
        self._schema = _Schema(dsn, schema)
        self._lead: _Lead | None = None  # while this object leads
        self._epoch = 0  # of the last time that it led

    @classmethod
    def is_there(cls, dsn: str, schema: str) -> bool:
        """Tell whether a schema holds a journal. Makes nothing. Raises JournalError."""
        with _translated(schema), psycopg.connect(for_libpq(dsn)) as connection:
            row = connection.execute(
                "SELECT to_regclass(%s) IS NOT NULL",
                (sql.Identifier(schema, "journal").as_string(),),
            ).fetchone()
        return row == (True,)

    @classmethod
    def set_aside(cls, dsn: str, schema: str) -> str:
        """Rename the schema of a journal to the first free name; return it. Raises JournalError."""
        with _translated(schema), psycopg.connect(for_libpq(dsn)) as connection:
            for number in itertools.count(1):
                kept = f"{schema}_ended_{number}"
                (free,) = connection.execute(
                    "SELECT to_regnamespace(quote_ident(%s)) IS NULL", (kept,)
                ).fetchone() or (False,)
                if free:
                    connection.execute(
                        sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(
                            sql.Identifier(schema), sql.Identifier(kept)
                        )
                    )
                    return kept
        raise AssertionError("numbers do not end")

    @property
    def identity(self) -> str:
        """Name this journal and no other."""
        return str(self._schema.read("SELECT identity FROM {schema}.journal", ())[0][0])

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
                self._schema.lock(connection, _STEPS)
                self._check_epoch(connection)
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

    def facts(self, kind: str | None = None, *, after: int = 0) -> Iterator[Fact]:
        """Read facts, oldest first."""
        rows = self._schema.read(
            "SELECT number, at, kind, body FROM {schema}.facts "
            "WHERE (%(kind)s::text IS NULL OR kind = %(kind)s) AND number > %(after)s "
            "ORDER BY number",
            {"kind": kind, "after": after},
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
                    self._schema.sql(_ADD_WORK), {"stage": stage, "size": batch_size}
                )
                return sum(items for (items,) in added)

        with _translated(self._schema.name):  # once: pages cannot be read again
            return self._schema.connections.run("add work", work)

    def lease(
        self,
        stage: Stage,
        owner: str,
        seconds: float,
        most: int | None = None,
        items: int | None = None,
    ) -> Batch | None:
        """Take the next batch, for a while."""
        values = {"stage": stage, "owner": owner, "seconds": seconds, "most": most, "items": items}
        take = _LEASE if items is None else _LEASE_SEVERAL

        def work(connection: Connection) -> list[Any]:
            with connection.transaction():
                # One at a time: of two that count at once, both would take what is left.
                connection.execute(self._schema.sql(_LOCK_BATCHES))
                room = connection.execute(self._schema.sql(_ROOM), values).fetchone()
                assert room is not None
                if room[0] <= 0:
                    return []
                connection.execute(self._schema.sql(_CUT), {**values, "room": room[0]})
                values["items"] = min(items or 0, room[0])
                return connection.execute(self._schema.sql(take), values).fetchall()

        rows = self._schema.read(take, values) if most is None else self._schema.run(work)
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

    def put_back(self, batch: Batch, parts: Sequence[Sequence[str]]) -> None:
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

    def workers(self) -> tuple[WorkerLeases, ...]:
        """Tell who has batches in hand, and for how long."""
        rows = self._schema.read(
            "SELECT owner, count(*), sum(items), "
            "extract(epoch FROM clock_timestamp() - min(leased_at))::float8 AS seconds "
            "FROM {schema}.batches WHERE state = 'leased' GROUP BY owner ORDER BY seconds DESC",
            (),
        )
        return tuple(
            WorkerLeases(owner, batches, int(items), max(0.0, seconds))
            for owner, batches, items, seconds in rows
        )

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

    # Dead letters ----------------------------------------------------------------------------

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
                connection.execute(self._schema.sql(_DEAD_LETTERS), values)
                connection.execute(self._schema.sql(_REJECT), values)

        self._schema.run(work)

    def dead_letters(self, *, accepted: bool = False) -> tuple[DeadLetter, ...]:
        """Read the dead letters that hold the upgrade, or those that somebody accepted."""
        rows = self._schema.read(
            "SELECT item_id, stage, error, attempts, at, accepted_by FROM {schema}.dead_letters "
            "WHERE (accepted_by <> '') = %s ORDER BY at, item_id",
            (accepted,),
        )
        return tuple(DeadLetter(_decoded(item_id), *rest) for item_id, *rest in rows)

    def accept(self, item_ids: Sequence[str], by: str) -> int:
        """Let the upgrade go on without these dead letters."""
        return self._schema.write(
            "UPDATE {schema}.dead_letters SET accepted_by = %s WHERE item_id = ANY (%s)",
            (by, _bytes(item_ids)),
        )

    def resolve(self, item_ids: Sequence[str]) -> None:
        """Take items off the dead letters."""
        self._schema.write(
            "DELETE FROM {schema}.dead_letters WHERE item_id = ANY (%s)", (_bytes(item_ids),)
        )

    def retry(self, batch_size: int, item_ids: Sequence[str] | None = None) -> int:
        """Turn dead letters into work again."""
        which = None if item_ids is None else _bytes(item_ids)
        rows = self._schema.read(_RETRY, {"size": batch_size, "ids": which})
        return sum(items for (items,) in rows)

    # Deletes ---------------------------------------------------------------------------------

    def mark_deleted(self, item_ids: Sequence[str]) -> None:
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

    # What made old vectors -------------------------------------------------------------------

    def note_origins(self, pages: Iterable[tuple[Sequence[str], Sequence[int], str]]) -> None:
        """Remember what made vectors that a model did not make."""
        for item_ids, versions, origin in pages:
            self._schema.write(
                "INSERT INTO {schema}.origins "
                "SELECT *, %(origin)s FROM unnest(%(ids)s::bytea[], %(versions)s::bigint[]) "
                "ON CONFLICT (item_id) DO UPDATE "
                "SET version = EXCLUDED.version, origin = EXCLUDED.origin",
                {
                    "ids": _bytes(item_ids),
                    "versions": [int(version) for version in versions],
                    "origin": origin,
                },
            )

    def origins_noted(self, item_ids: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Read content version and origin of those of the items that were noted."""
        rows = self._schema.read(
            "SELECT item_id, version, origin FROM {schema}.origins "
            "WHERE item_id = ANY (%s::bytea[])",
            (_bytes(item_ids),),
        )
        return {_decoded(item_id): (version, origin) for item_id, version, origin in rows}

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
        lead = _Lead(self._schema)
        try:
            while not lead.take():
                if time.monotonic() >= deadline:
                    raise busy(int(self.last_beat().get("pid") or 0))
                time.sleep(_POLL_SECONDS)
            self._epoch = self._schema.run(self._begin_to_lead)
            self._lead = lead
            try:
                yield
            finally:
                self._lead = None
        finally:
            lead.end()

    def _begin_to_lead(self, connection: Connection) -> int:
        """Count one more leader, and give back what previous ones had in hand."""
        with connection.transaction():
            self._schema.lock(connection, _STEPS)
            connection.execute(
                self._schema.sql(
                    "UPDATE {schema}.batches SET state = 'to do' "
                    "WHERE state = 'leased' AND owner LIKE 'coordinator-%'"
                )
            )
            row = connection.execute(
                self._schema.sql("UPDATE {schema}.journal SET epoch = epoch + 1 RETURNING epoch")
            ).fetchone()
        return int(row[0]) if row else 0

    @property
    def leader(self) -> str:
        """Name the owner of the leading process's batches."""
        return f"coordinator-{self._epoch}"

    def check_leading(self) -> None:
        """Raise UpgradeBusyError when another process leads now.

        A lock that went with its connection (a server that was started again, a firewall that
        forgot it) is taken again where nobody else has led since.
        """
        if (lead := self._lead) is None:
            return
        if not lead.holds() and not lead.take():
            raise lost_the_lead(int(self.last_beat().get("pid") or 0))
        self._schema.run(self._check_epoch)

    def _check_epoch(self, connection: Connection) -> None:
        """Raise UpgradeBusyError when another process has led since."""
        if self._lead is None:
            return
        row = connection.execute(self._schema.sql("SELECT epoch FROM {schema}.journal")).fetchone()
        if row != (self._epoch,):
            raise lost_the_lead(int(self.last_beat().get("pid") or 0))

    def close(self) -> None:
        """Release the journal."""
        self._schema.connections.close()


_NO_LIMITS = """
SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN (
    'statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout'
)"""  # the last one since PostgreSQL 17


class _Lead:
    """The advisory lock of the leading process: a transaction that stays open while it leads.

    The server frees the lock when the transaction or its connection ends, however it ends. A lock
    of the session would outlive a killed process behind a pooler, which goes on with the session,
    and would be taken a second time by whoever is given that session next; while a transaction is
    open, poolers leave its session alone. It has no snapshot, so that it keeps no vacuum waiting.
    Safe to use from several threads.
    """

    def __init__(self, schema: _Schema) -> None:
        self._schema = schema
        self._key = (_RUNNING, schema.name)
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take the lock; False when another process has it. Raises JournalError."""
        with self._lock, _translated(self._schema.name):
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(
                    self._schema.connections.conninfo, prepare_threshold=None
                )
            self._connection.execute(_NO_LIMITS)
            row = self._connection.execute(
                "SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))", self._key
            ).fetchone()
            if row != (True,):
                self._connection.rollback()
            return row == (True,)

    def holds(self) -> bool:
        """Ask the connection for a sign of life: the lock lives as long as its transaction does."""
        with self._lock:
            if self._connection is None or self._connection.closed:
                return False
            try:
                self._connection.execute("SELECT 1")
            except psycopg.Error:
                self._connection.close()
                return False
            return True

    def end(self) -> None:
        """Give the lock back."""
        with self._lock:
            if self._connection is None:
                return
            # Closing frees it as well, but a moment later: too late for the next command.
            with suppress(psycopg.Error):
                self._connection.rollback()
            self._connection.close()


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
