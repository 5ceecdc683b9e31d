"""The statements of a gallery: each is one, so that it sees and leaves one moment.

Every statement looks at the stamp's revision too. Another process may have added or dropped a space
since this one read the stamp; then the statement writes nothing and is built again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from psycopg import sql

from hotfill.errors import StoreError
from hotfill.stores.postgres.values import only_one, where_condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hotfill.stores.base import Where
    from hotfill.stores.postgres.connections import Connection
    from hotfill.stores.postgres.stamp import PostgresStamp, SpaceColumns
    from hotfill.stores.postgres.values import Binary


@dataclass(frozen=True, slots=True)
class Statement:
    """What to ask: rows, and what must happen first. order: of the rows, by their columns.

    steps: common table expressions, each after a comma; those that write join `stamp`, which is
    empty when the revision is another one. text: of the whole, where that was put together before.
    prepared: whether the server may keep its plan. Not where the values decide what the best one
        is, above all which index a search with a filter may use.
    """

    rows: sql.Composable
    values: Mapping[str, Any] = field(default_factory=dict)
    steps: sql.Composable | None = None
    order: str = ""
    text: bytes | None = None
    prepared: bool = True

    def rows_by(self, connection: Connection, stamp: PostgresStamp) -> list[tuple[Any, ...]] | None:
        """Run it and return its rows; None when the stamp is out of date.

        Raises StoreError when the table is no longer stamped.
        """
        text, values = self.whole(stamp)
        prepare = None if self.prepared else False
        rows = connection.execute(text, values, binary=True, prepare=prepare).fetchall()
        if not rows:
            raise StoreError(f"{stamp.schema}.{stamp.table} is no longer stamped")
        if rows[0][0] != stamp.revision:
            return None
        # A row without values stands for no row at all: the revision always comes.
        return [row[1:] for row in rows if len(row) > 1 and row[1] is not None]

    def whole(self, stamp: PostgresStamp) -> tuple[bytes, dict[str, Any]]:
        """Return the text, which gives the revision and then the row, and the values."""
        values = {**self.values, "table": stamp.key, "revision": stamp.revision}
        if self.text is not None:
            return self.text, values
        text = sql.SQL(
            "WITH now AS MATERIALIZED "
            "(SELECT revision FROM {galleries} WHERE table_name = %(table)s), "
            "stamp AS (SELECT FROM now WHERE revision = %(revision)s){steps} "
            "SELECT now.revision, r.* FROM now LEFT JOIN ({rows}) r ON true {order}"
        ).format(
            galleries=stamp.galleries,
            steps=self.steps or sql.SQL(""),
            rows=self.rows,
            order=sql.SQL(self.order),
        )
        return text.as_bytes(), values


def _parts(stamp: PostgresStamp) -> dict[str, sql.Composable]:
    """Return what statements are put together from, by name."""
    return {
        "items": stamp.items,
        "key": sql.Identifier(stamp.id_column),
        "type": sql.SQL(stamp.id_type),
        "id": stamp.item_id,
        "version": stamp.version,
        "space": stamp.space_number,
        "origin": stamp.origin,
        "item": stamp.is_item,
        "mine": stamp.of_gallery(),
    }


# Reading -----------------------------------------------------------------------------------------


def get(stamp: PostgresStamp, item_ids: Sequence[str]) -> Statement:
    """Id, version, number of the space, origin and metadata of items."""
    metadata = sql.Identifier(stamp.metadata_column) if stamp.metadata_column else None
    return Statement(
        sql.SQL(
            "SELECT {id}, {version}, {space}, {origin}, {metadata} FROM {items} i "
            "WHERE i.{key} = ANY (%(ids)s::text[]::{type}[]) AND {item}"
        ).format(
            **_parts(stamp),
            metadata=sql.SQL("i.{}::jsonb").format(metadata)
            if metadata
            else sql.SQL("NULL::jsonb"),
        ),
        {"ids": list(item_ids)},
    )


def stored(stamp: PostgresStamp, item_ids: Sequence[str], columns: Sequence[str]) -> Statement:
    """Id and some columns of items, as JSON."""
    fields = sql.SQL(", ").join(
        sql.SQL("{}, i.{}").format(sql.Literal(column), sql.Identifier(column))
        for column in columns
    )
    return Statement(
        sql.SQL(
            "SELECT {id}, jsonb_build_object({fields}) FROM {items} i "
            "WHERE i.{key} = ANY (%(ids)s::text[]::{type}[]) AND {item}"
        ).format(**_parts(stamp), fields=fields),
        {"ids": list(item_ids)},
    )


def vectors(stamp: PostgresStamp, space: SpaceColumns, item_ids: Sequence[str]) -> Statement:
    """Id, version and vector of items that have one in a space."""
    return Statement(
        sql.SQL(
            "SELECT {id}, {version}, i.{column} FROM {items} i "
            "WHERE i.{key} = ANY (%(ids)s::text[]::{type}[]) AND i.{column} IS NOT NULL AND {item}"
        ).format(**_parts(stamp), column=sql.Identifier(space.column)),
        {"ids": list(item_ids)},
    )


def scan(stamp: PostgresStamp, space: SpaceColumns, after: str | None, limit: int) -> Statement:
    """Place, id, version and origin of the next items of a side."""
    beyond = "AND i.{key} > %(after)s::text::{type} " if after is not None else ""
    return Statement(
        sql.SQL(
            "SELECT row_number() OVER (ORDER BY i.{key}) AS place, {id}, {version}, {origin} "
            "FROM {items} i WHERE {side} " + beyond + "ORDER BY i.{key} LIMIT %(limit)s"
        ).format(**_parts(stamp), side=stamp.searched_in(space)),
        {"after": after, "limit": limit},
        order="ORDER BY r.place",
    )


def count(stamp: PostgresStamp, space: SpaceColumns, origin: str | None) -> Statement:
    """How many items a side holds, by the kept counts once there are any."""
    if not stamp.counted:
        return count_rows(stamp, space, origin)
    made_by = "AND c.origin = %(origin)s" if origin is not None else ""
    rows = sql.SQL(
        "SELECT coalesce(sum(c.items), 0)::int8 FROM {counts} c "
        "WHERE c.table_name = %(table)s AND c.space = {number} " + made_by
    ).format(counts=stamp.counts, number=sql.Literal(space.number))
    return Statement(rows, {"origin": origin})


def count_rows(stamp: PostgresStamp, space: SpaceColumns, origin: str | None) -> Statement:
    """How many items a side holds, one by one."""
    made_by = "AND {origin} = %(origin)s" if origin is not None else ""
    rows = sql.SQL("SELECT count(*) FROM {items} i WHERE {side} " + made_by).format(
        **_parts(stamp), side=stamp.searched_in(space)
    )
    return Statement(rows, {"origin": origin})


# Searching all sides at one moment ----------------------------------------------------------------

_SAME_DIRECTION = 1e-6  # cosine distance: what rounding leaves of a vector brought to unit length
_OPERATOR = {"cosine": "<=>", "dot": "<#>", "l2": "<->"}
_SCORE = {"cosine": "1 - b.distance", "dot": "-b.distance", "l2": "-b.distance"}


def search(
    stamp: PostgresStamp,
    queries: Mapping[SpaceColumns, tuple[int, Binary]],
    k: int,
    where: Where | None,
    *,
    exact: bool,
) -> Statement:
    """Number of the space, number of the query (from 1), id, score and origin of the best."""
    sides = tuple((space, n == 1) for space, (n, _) in queries.items())
    # One is given as a plain value: the planner may use all processors for it, and in a plan that
    # is kept the element of an array would be taken out for each row again.
    given = {
        _given(space): only_one(rows) if n == 1 else rows for space, (n, rows) in queries.items()
    }
    if where is None:
        return Statement(sql.SQL(""), given, text=_search_text(stamp, sides, k, exact))
    condition, values = where_condition(where, stamp.metadata_column)
    searched = _searched(stamp, sides, k, condition, exact)
    return Statement(searched, {**values, **given}, prepared=False)


@lru_cache(maxsize=256)
def _search_text(
    stamp: PostgresStamp, sides: tuple[tuple[SpaceColumns, bool], ...], k: int, exact: bool
) -> bytes:
    """Put together what is asked again and again; that takes longer than all else around it."""
    return Statement(_searched(stamp, sides, k, sql.SQL(""), exact)).whole(stamp)[0]


def _searched(
    stamp: PostgresStamp,
    sides: tuple[tuple[SpaceColumns, bool], ...],
    k: int,
    condition: sql.Composable,
    exact: bool,
) -> sql.Composable:
    """Rows of a search. sides: each with whether it is searched for one query alone.

    k stands in the text: of a limit that it does not know the planner expects a tenth of the
    table, and so it would plan each search anew, which takes a third of one by an index.
    """
    parts = []
    for space, alone in sides:
        distance = sql.SQL("i.{} {} q.v").format(
            sql.Identifier(space.column), stamp.operator(_OPERATOR[space.comparison])
        )
        if exact:
            distance = sql.SQL("({}) + 0").format(distance)  # no index knows this expression
        source = (
            "(SELECT 1::int8 AS n, {}::{} AS v)" if alone else "unnest({}::{}[]) WITH ORDINALITY"
        )
        parts.append(
            # The distance of each item is found once, for its place and its score.
            sql.SQL(
                "SELECT {number}::int4, q.n, b.id, {score}, b.origin FROM {source} AS q {columns} "
                "CROSS JOIN LATERAL (SELECT {id} AS id, {distance} AS distance, "
                "{origin} AS origin FROM {items} i "
                "WHERE {side}{condition} ORDER BY {nearest} LIMIT {k}) b"
            ).format(
                **_parts(stamp),
                number=sql.Literal(space.number),
                source=sql.SQL(source).format(
                    sql.Placeholder(_given(space)), stamp.type_of(space.kind)
                ),
                columns=sql.SQL("" if alone else "(v, n)"),
                score=sql.SQL(_SCORE[space.comparison]),
                distance=distance,
                side=stamp.searched_in(space),
                condition=condition,
                k=sql.Literal(k),
                nearest=_nearest(stamp, space, exact),
            )
        )
    return sql.SQL(" UNION ALL ").join(parts)


def _given(space: SpaceColumns) -> str:
    return f"queries_{space.number}"


def _nearest(stamp: PostgresStamp, space: SpaceColumns, exact: bool) -> sql.Composable:
    if space.indexed_as is not None and not exact:
        return sql.SQL("i.{c}::{kind}({d}) {operator} q.v::{kind}({d})").format(
            c=sql.Identifier(space.column),
            d=sql.Literal(space.model.dimension),
            kind=stamp.type_of(space.indexed_as),
            operator=stamp.operator(_OPERATOR[space.comparison]),
        )
    return sql.SQL("distance")


# Writing. Callers give ids sorted, so that writers do not deadlock --------------------------------

_GIVEN = """, given AS (
    SELECT g.* FROM (SELECT unnest(%(ids)s::text[])::{type} AS id{arrays}) g, stamp
    WHERE {ours} AND NOT EXISTS (SELECT FROM {items} i
        WHERE i.{key} = ANY (%(ids)s::text[]::{type}[]) AND ({mine}) IS NOT TRUE)
), changed AS (
    UPDATE {items} i SET {sets} FROM given g WHERE i.{key} = g.id AND {mine}
    RETURNING {id} AS id, i.{version} AS version
)"""

_ALL_THERE = """cardinality(%(ids)s::text[]) =
    (SELECT count(*) FROM {items} i WHERE i.{key} = ANY (%(ids)s::text[]::{type}[]))"""

_ADDED = """, added AS (
    INSERT INTO {items} AS i ({key}, {columns})
    SELECT g.id, {values} FROM given g WHERE g.id::text NOT IN (SELECT id FROM changed)
    ON CONFLICT ({key}) DO UPDATE SET {excluded} WHERE {mine}
    RETURNING {id} AS id, i.{version} AS version
)"""

# What is in an object and is no metadata to `hotfill.stores.filters.is_metadata`: it stays.
_HIDDEN = """(SELECT coalesce(jsonb_object_agg(h.key, h.value), '{{}}') FROM jsonb_each(
    CASE WHEN jsonb_typeof(i.{metadata}::jsonb) = 'object' THEN i.{metadata}::jsonb ELSE '{{}}' END
) h WHERE h.key = '' OR h.key LIKE '\\_%%' OR h.key ~ '["\\\\]' OR CASE jsonb_typeof(h.value)
    WHEN 'string' THEN false
    WHEN 'boolean' THEN false
    WHEN 'number' THEN abs(h.value::numeric) > CASE
        WHEN h.value::text LIKE '%%.%%' THEN 1.7976931348623157e308 ELSE 9223372036854775807 END
    ELSE true END
)"""

_MOVE = """, given AS (
    SELECT g.* FROM (
        SELECT unnest(%(ids)s::text[])::{type} AS id, unnest(%(versions)s::int8[]) AS version,
            unnest(%(rows)s::{kind}[]) AS v
    ) g, stamp
), moved AS (
    UPDATE {items} i SET {space_column} = {number}, {origin_column} = %(origin)s, {column} = {put}
    FROM given g
    WHERE i.{key} = g.id AND {version} = g.version AND {item} AND NOT (
        {space} = {number} AND {origin} = %(own)s AND {origin} <> %(origin)s
    )
    RETURNING {id} AS id
)"""

_SET_METADATA = """, changed AS (
    UPDATE {items} i SET {metadata} = {hidden} || g.content::jsonb
    FROM (SELECT unnest(%(ids)s::text[])::{type} AS id, unnest(%(metadata)s::text[]) AS content) g,
        stamp
    WHERE i.{key} = g.id AND {item}
)"""

_DELETE = """, gone AS (
    DELETE FROM {items} i USING (SELECT unnest(%(ids)s::text[])::{type} AS id) g, stamp
    WHERE i.{key} = g.id AND {item} RETURNING 1
)"""


def upsert(
    stamp: PostgresStamp,
    space: SpaceColumns,
    item_ids: Sequence[str],
    vectors: Mapping[SpaceColumns, Binary],
    metadata: Sequence[str] | None,
) -> Statement:
    """Write items; rows are their ids and new versions.

    vectors: in `space`, and kept ones. Where only the table gives out ids, nothing is written and
    there are no rows unless all items are there; and so where one is a row of another gallery.
    """
    columns: dict[str, sql.Composable] = {
        stamp.version_column: sql.SQL("nextval({})").format(stamp.versions),
        stamp.space_column: sql.Literal(space.number),
        stamp.origin_column: sql.Literal(space.model.fingerprint),
    }
    arrays = []
    values: dict[str, Any] = {"ids": list(item_ids)}
    for each in stamp.spaces:
        if each in vectors:
            name = f"vectors_{each.number}"
            values[name] = vectors[each]
            arrays.append(_array(name, stamp.type_of(each.kind)))
            columns[each.column] = sql.SQL("g.{}").format(sql.Identifier(name))
        else:
            columns[each.column] = sql.SQL("NULL")  # a kept vector of the earlier content
    earlier: dict[str, sql.Composable] = dict.fromkeys(columns, sql.SQL(""))
    if metadata is not None and stamp.metadata_column is not None:
        values["metadata"] = list(metadata)
        arrays.append(_array("metadata", sql.SQL("text")))
        columns[stamp.metadata_column] = sql.SQL("g.metadata::jsonb")
        earlier[stamp.metadata_column] = _hidden(stamp) + sql.SQL(" || ")
    fixed = {name: sql.Identifier(name) for name in columns}
    added = {**columns, **{column: sql.Literal(value) for column, value in stamp.rows}}
    parts = {
        **_parts(stamp),
        "version": sql.Identifier(stamp.version_column),
        "arrays": sql.SQL("").join(sql.SQL(", ") + array for array in arrays),
        "sets": _list(
            sql.SQL("{} = {}{}").format(fixed[name], earlier[name], columns[name])
            for name in columns
        ),
        "columns": _list(sql.Identifier(name) for name in added),
        "values": _list(added.values()),
        "excluded": _list(
            sql.SQL("{0} = {1}excluded.{0}{2}").format(
                fixed[name],
                earlier[name],
                sql.SQL("::jsonb" if name == stamp.metadata_column else ""),
            )
            for name in columns
        ),
    }
    if stamp.ids_given_out:
        there = sql.SQL(_ALL_THERE).format(**_parts(stamp))
        steps = sql.SQL(_GIVEN).format(**parts, ours=there)
        return Statement(sql.SQL("SELECT * FROM changed"), values, steps)
    steps = sql.SQL(_GIVEN + _ADDED).format(**parts, ours=sql.SQL("true"))
    rows = sql.SQL("SELECT * FROM changed UNION ALL SELECT * FROM added")
    return Statement(rows, values, steps)


def move(
    stamp: PostgresStamp,
    space: SpaceColumns,
    item_ids: Sequence[str],
    vectors: Binary,
    versions: Sequence[int],
    origin: str,
) -> Statement:
    """Let items be searched elsewhere if their version is the expected one; rows are their ids."""
    put: sql.Composable = sql.SQL("g.v")
    if space.comparison == "cosine":
        # On the way back the vector is there already. People's own may have any length: it stays.
        put = sql.SQL(
            "CASE WHEN {side} <> {number} AND i.{column} {distance} g.v < {same} "
            "THEN i.{column} ELSE g.v END"
        ).format(
            side=stamp.space_number,
            number=sql.Literal(space.number),
            column=sql.Identifier(space.column),
            distance=stamp.operator(_OPERATOR["cosine"]),
            same=sql.Literal(_SAME_DIRECTION),
        )
    steps = sql.SQL(_MOVE).format(
        **_parts(stamp),
        put=put,
        kind=stamp.type_of(space.kind),
        space_column=sql.Identifier(stamp.space_column),
        origin_column=sql.Identifier(stamp.origin_column),
        column=sql.Identifier(space.column),
        number=sql.Literal(space.number),
    )
    values = {
        "ids": list(item_ids),
        "versions": list(versions),
        "rows": vectors,
        "origin": origin,
        "own": space.model.fingerprint,
    }
    return Statement(sql.SQL("SELECT id FROM moved"), values, steps)


def set_metadata(
    stamp: PostgresStamp, item_ids: Sequence[str], metadata: Sequence[str]
) -> Statement:
    """Replace metadata; no rows."""
    steps = sql.SQL(_SET_METADATA).format(
        **_parts(stamp),
        metadata=sql.Identifier(stamp.metadata_column or ""),
        hidden=_hidden(stamp),
    )
    values = {"ids": list(item_ids), "metadata": list(metadata)}
    return Statement(sql.SQL("SELECT WHERE false"), values, steps)


def delete(stamp: PostgresStamp, item_ids: Sequence[str]) -> Statement:
    """Delete items; the one row is how many there were."""
    steps = sql.SQL(_DELETE).format(**_parts(stamp))
    return Statement(sql.SQL("SELECT count(*) FROM gone"), {"ids": list(item_ids)}, steps)


def _hidden(stamp: PostgresStamp) -> sql.Composed:
    return sql.SQL(_HIDDEN).format(metadata=sql.Identifier(stamp.metadata_column or ""))


def _array(name: str, kind: sql.Composable) -> sql.Composable:
    return sql.SQL("unnest({}::{}[]) AS {}").format(
        sql.Placeholder(name), kind, sql.Identifier(name)
    )


def _list(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
