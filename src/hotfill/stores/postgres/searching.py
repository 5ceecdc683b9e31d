"""The statement that searches all sides at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from hotfill.stores.postgres import names
from hotfill.stores.postgres.conditions import where_condition
from hotfill.stores.postgres.statement import Statement, parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.stores.base import Where
    from hotfill.stores.postgres.stamp import Space, Stamp
    from hotfill.stores.postgres.wire import Binary

_OPERATOR = {"cosine": "<=>", "dot": "<#>", "l2": "<->"}
_SCORE = {"cosine": "1 - ({})", "dot": "-({})", "l2": "-({})"}
_LONGEST_INDEXED = 2000  # dimensions that pgvector indexes with 32 bits for a number


def search(
    stamp: Stamp,
    queries: Mapping[Space, tuple[int, Binary]],
    k: int,
    where: Where | None,
    *,
    exact: bool,
) -> Statement:
    """Number of the space, number of the query (from 1), id and score of the best of each side."""
    condition, values = where_condition(where, stamp.metadata_column)
    sides = []
    for space, (n, rows) in queries.items():
        name = f"queries_{space.number}"
        values[name] = rows
        distance = sql.SQL("i.{} {} q.v").format(
            sql.Identifier(space.column), sql.SQL(_OPERATOR[space.model.metric])
        )
        # One query is unpacked to a plain value: then the planner may use all processors for it.
        source = (
            "(SELECT 1::int8 AS n, (%({})s::{}[])[1] AS v)"
            if n == 1
            else ("unnest(%({})s::{}[]) WITH ORDINALITY")
        )
        sides.append(
            sql.SQL(
                "SELECT {number}::int4, q.n, b.id, b.score FROM {source} AS q {columns} "
                "CROSS JOIN LATERAL (SELECT {id} AS id, {score} AS score FROM {items} i "
                "WHERE {side}{condition} ORDER BY {nearest} LIMIT %(k)s) b"
            ).format(
                **parts_of(stamp),
                number=sql.Literal(space.number),
                source=sql.SQL(source.format(name, space.kind)),
                columns=sql.SQL("" if n == 1 else "(v, n)"),
                score=sql.SQL(_SCORE[space.model.metric]).format(distance),
                side=names.searched_in(stamp, space),
                condition=condition,
                nearest=_nearest(space, distance, exact),
            )
        )
    return Statement(sql.SQL(" UNION ALL ").join(sides), {**values, "k": k})


def _nearest(space: Space, distance: sql.Composable, exact: bool) -> sql.Composable:
    if exact:
        return sql.SQL("({}) + 0").format(distance)  # no index knows this expression
    if is_indexed_by_halves(space):
        return sql.SQL("i.{c}::halfvec({d}) {operator} q.v::halfvec({d})").format(
            c=sql.Identifier(space.column),
            d=sql.Literal(space.model.dimension),
            operator=sql.SQL(_OPERATOR[space.model.metric]),
        )
    return distance


def is_indexed_by_halves(space: Space) -> bool:
    """Tell whether a space is too wide for an index of its full vectors."""
    return space.kind == "vector" and space.model.dimension > _LONGEST_INDEXED
