"""A world whose gallery and journal are in PostgreSQL, with a second application at work."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg import sql

from hotfill.stores.postgres import PostgresGallery
from tests.acceptance.truth import shop
from tests.acceptance.truth.shared import LEADS, SharedWorld
from tests.acceptance.truth.shop import OLD, content
from tests.acceptance.truth.world import GenerationsWorld
from tests.pgbouncer import PgBouncer
from tests.postgres import fresh_schema, server

# Rows of which nobody told hotfill are found by the next look at the table: when half a second has
# passed, or a hundred times what a look takes, which is some hundredths where others work, too.
_FOUND_SECONDS = 10.0


class PostgresWorld(SharedWorld):
    """Of one gallery on the server of this process."""

    more = (
        "sessions ended",
        "server killed",
        "leader replaced",
        "application killed",
        "rows without triggers",
        "rows by another client",
        "second configuration",
    )

    def __init__(self, store, folder, random, small=None) -> None:
        self.schema, self.server = fresh_schema(), server()
        super().__init__(store, folder, random)

    @property
    def spared(self) -> set[str]:
        return super().spared | {"power cut", "journal restored", "store restored"}

    @property
    def dsn(self) -> str:
        """How the applications connect."""
        return self.server.dsn

    def _section(self) -> dict[str, Any]:
        table = f"{self.schema}.items"
        return {"kind": "postgres", "dsn": self.dsn, "table": table, "exact": True}

    def _journal(self, name: str) -> dict[str, Any]:
        return {"kind": "postgres", "name": f"{self.schema}_{name}"}

    def _create(self):
        return PostgresGallery.create(self.server.dsn, OLD, schema=self.schema)

    def back_up(self) -> None:
        """Nothing: the server is not restored here."""

    # Faults ----------------------------------------------------------------------------------

    def delete_journal(self) -> None:
        schema = sql.Identifier(f"{self.schema}_{self.path.stem}")
        self._ask(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))

    def end_connections(self) -> None:
        """All of them, the leading process's lock among them."""
        self._ask(
            sql.SQL(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )

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
        ids = [f"new-{LEADS}-{time.monotonic_ns()}{number}" for number in range(items)]
        model = getattr(shop, self.factories[0])()
        rows = model([content(i, 1) for i in ids])
        with psycopg.connect(self.server.dsn) as connection:
            items = (f"{self.schema}.items",)
            (key,) = connection.execute(
                "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
                "AND a.attnum = ANY (i.indkey) WHERE i.indrelid = %s::regclass AND i.indisprimary",
                items,
            ).fetchone()
            column = connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass "
                "AND atttypid = 'vector'::regtype AND atttypmod = %s AND NOT attisdropped",
                (*items, model.model_id.dimension),
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

    def _ask(self, statement: sql.Composable) -> None:
        with psycopg.connect(self.server.dsn, autocommit=True) as connection:
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


class PostgresGenerationsWorld(GenerationsWorld, PostgresWorld):
    """The third model on the server."""
