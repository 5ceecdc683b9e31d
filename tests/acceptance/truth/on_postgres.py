"""A world whose gallery and journal are in PostgreSQL, with a second application at work."""

from __future__ import annotations

import signal
import time

import psycopg
from psycopg import sql

import hotfill
from hotfill.stores.postgres import PostgresGallery
from tests.acceptance.truth.shop import OLD, content, old_model, write_config
from tests.acceptance.truth.world import Outcome, Session, World
from tests.pgbouncer import PgBouncer
from tests.postgres import fresh_schema, server

_LEADS, _ASKS = 1, 2  # which items each application writes
# Rows of which nobody told hotfill are found by the next look at the table: when half a second has
# passed, or a hundred times what a look takes, which is some hundredths where others work, too.
_FOUND_SECONDS = 10.0


class PostgresWorld(World):
    """Of one gallery on the server of this process."""

    def __init__(self, store, folder, random, small=None) -> None:
        self.schema = fresh_schema()
        self.asking: Session | None = None
        super().__init__(store, folder, random)

    @property
    def dsn(self) -> str:
        """How the applications connect."""
        return server().dsn

    def _configure(self):
        return self._config("upgrade", ("old_model", "new_model"))

    def _config(self, name, models):
        store = {
            "kind": "postgres",
            "dsn": self.dsn,
            "table": f"{self.schema}.items",
            "exact": True,
        }
        journal = {"kind": "postgres", "name": f"{self.schema}_{name}"}
        path = self.site / f"{name}.toml"
        return write_config(path, self.folder, store, journal=journal, models=models)

    def _create(self):
        return PostgresGallery.create(server().dsn, OLD, schema=self.schema)

    def back_up(self) -> None:
        """Nothing: the server is not restored here."""

    # Two applications ------------------------------------------------------------------------

    def begin(self, kind: str, step: str) -> Outcome:
        outcome = super().begin(kind, step)
        self.keep_asking()
        return outcome

    def keep_asking(self) -> None:
        """See to it that the second application is at work."""
        if self.asking is None or not self.asking.process.is_alive():
            self.asking = Session(self, None, 10**9, writer=_ASKS)

    def session(self, step: str | None, least: int = 3, **settings) -> Session:
        return Session(self, step, least, **{"writer": _LEADS, **settings})

    def examine(self) -> None:
        """With nobody at work: what is looked at stands still."""
        self.asking.send(signal.SIGTERM)
        self.asking.finish()
        super().examine()

    def close(self) -> None:
        if self.asking is not None:
            self.asking.kill()

    # Faults ----------------------------------------------------------------------------------

    def delete_journal(self) -> None:
        self._ask(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(self._journal))
        with hotfill.open(self.path) as up:  # the table is still of the upgrade that is lost
            up.take_over()

    def end_sessions(self) -> None:
        """All of them, the leading process's lock among them."""
        self._ask(
            sql.SQL(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )

    def begin_elsewhere(self) -> Session:
        """Let somebody begin an upgrade of the same table to another model, by another file."""
        path = self._config("other", ("old_model", "third_model"))
        return Session(self, "start", 0, writer=_LEADS, config=str(path))

    def delete_rows(self, items: int = 3) -> None:
        """Delete items as a client does that does not know of hotfill."""
        untouched = sorted(self.oracle.untouched)
        chosen = [str(each) for each in self.random.permutation(untouched)[:items]]
        for item_id in chosen:
            self.oracle.begin(item_id, 0, time.monotonic())
            self.shop.remove(item_id)
        self._ask(
            sql.SQL("DELETE FROM {} WHERE item_id = ANY ({})").format(
                sql.Identifier(self.schema, "items"), sql.Literal(chosen)
            )
        )
        for item_id in chosen:
            self.oracle.acknowledge(item_id, 0, time.monotonic())

    def load(self, items: int = 5, *, past_triggers: bool) -> None:
        """Write rows as another client does; past_triggers: as a bulk load or replication does."""
        ids = [f"new-{_LEADS}-{time.monotonic_ns()}{number}" for number in range(items)]
        rows = old_model()([content(i, 1) for i in ids])
        with psycopg.connect(server().dsn) as connection:
            items = (f"{self.schema}.items",)
            (key,) = connection.execute(
                "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
                "AND a.attnum = ANY (i.indkey) WHERE i.indrelid = %s::regclass AND i.indisprimary",
                items,
            ).fetchone()
            column = connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass "
                "AND atttypid = 'vector'::regtype AND atttypmod = %s AND NOT attisdropped",
                (*items, OLD.dimension),
            ).fetchone()
            if column is None:
                return  # the old side is gone, and nobody writes to it
            if past_triggers:
                connection.execute("SET session_replication_role = replica")
            for item_id, row in zip(ids, rows, strict=True):
                self.shop.put(item_id, 1)
                self.oracle.begin(item_id, 1, time.monotonic())
                connection.execute(
                    sql.SQL("INSERT INTO {} ({}, {}) VALUES (%s, %s)").format(
                        sql.Identifier(self.schema, "items"),
                        sql.Identifier(key),
                        sql.Identifier(column[0]),
                    ),
                    (item_id, str(row.tolist())),
                )
        found_by = time.monotonic() + _FOUND_SECONDS
        for item_id in ids:
            self.oracle.acknowledge(item_id, 1, found_by)

    @property
    def _journal(self) -> sql.Identifier:
        return sql.Identifier(f"{self.schema}_upgrade")

    def _ask(self, statement: sql.Composable) -> None:
        with psycopg.connect(server().dsn, autocommit=True) as connection:
            connection.execute(statement)


class PooledWorld(PostgresWorld):
    """Behind a PgBouncer that gives sessions away by transactions and drops start-up options."""

    def __init__(self, store, folder, random, small=None) -> None:
        self._pooler = PgBouncer(server().dsn)
        super().__init__(store, folder, random)

    @property
    def dsn(self) -> str:
        return self._pooler.dsn

    def close(self) -> None:
        super().close()
        self._pooler.close()
