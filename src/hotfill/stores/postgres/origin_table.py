"""Records of imputed vectors' origins in a table of the gallery's schema."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, final

from psycopg import sql

if TYPE_CHECKING:
    from hotfill.stores.postgres.connections import Connection, Connections

_MAKE = """
CREATE TABLE IF NOT EXISTS {table} (gallery text, origin text, record bytea NOT NULL,
                                    PRIMARY KEY (gallery, origin))
"""


@final
class OriginTable(MutableMapping[str, bytes]):
    """Records by fingerprint, of one gallery of a schema; the table is made by the first.

    gallery: what tells the galleries of the schema apart.
    """

    def __init__(self, connections: Connections, schema: str, gallery: str) -> None:
        self._connections = connections
        self._gallery = gallery
        self._table = sql.Identifier(schema, "hotfill_origins")

    def _run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement; nothing is found where there is no table yet."""

        def work(connection: Connection) -> list[tuple[Any, ...]]:
            name = self._table.as_string(connection)
            there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone()
            if there is None or not there[0]:
                return []
            query = sql.SQL(statement).format(table=self._table)
            return connection.execute(query, (self._gallery, *values)).fetchall()

        return self._connections.run("read what imputed vectors were made by", work)

    def __getitem__(self, origin: str) -> bytes:
        rows = self._run("SELECT record FROM {table} WHERE gallery = %s AND origin = %s", origin)
        if not rows:
            raise KeyError(origin)
        return bytes(rows[0][0])

    def __setitem__(self, origin: str, record: bytes) -> None:
        def work(connection: Connection) -> None:
            with connection.transaction():
                connection.execute(sql.SQL(_MAKE).format(table=self._table))
                connection.execute(
                    sql.SQL(
                        "INSERT INTO {table} VALUES (%s, %s, %s) "
                        "ON CONFLICT (gallery, origin) DO UPDATE SET record = EXCLUDED.record"
                    ).format(table=self._table),
                    (self._gallery, origin, record),
                )

        self._connections.run("keep what imputed vectors were made by", work)

    def __delitem__(self, origin: str) -> None:
        statement = "DELETE FROM {table} WHERE gallery = %s AND origin = %s RETURNING origin"
        if not self._run(statement, origin):
            raise KeyError(origin)

    def __iter__(self) -> Iterator[str]:
        rows = self._run("SELECT origin FROM {table} WHERE gallery = %s ORDER BY origin")
        return iter([origin for (origin,) in rows])

    def __len__(self) -> int:
        return sum(1 for _ in self)
