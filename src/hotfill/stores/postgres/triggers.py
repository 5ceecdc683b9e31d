"""What the database itself does whenever rows change, whoever changes them.

Two things. It keeps count of the items by side and origin, in rows that are added up: so a count
is exact and quick, and writers do not wait for each other. And when others than hotfill write a
vector with SQL of their own, it gives the row a new content version and the right side, so that
their write beats a batch in flight like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from hotfill.stores.postgres.stamp import PostgresStamp

OWN_SESSION = {"hotfill.own": "on"}
"""The setting by which the database knows hotfill's sessions."""

_HEAD = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, {extension}, pg_temp AS """

_COUNT = """
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM {counts} WHERE table_name = {table};
    ELSE
        {insert};
    END IF;
    RETURN NULL;
END
"""

_INSERT = """
        INSERT INTO {counts} (table_name, space, origin, items)
        SELECT {table}, c.space, c.origin, sum(c.n) FROM ({changes}) c
        GROUP BY c.space, c.origin HAVING sum(c.n) <> 0
"""

_WRITTEN_BY_OTHERS = """
BEGIN
    IF ({mine}) IS NOT TRUE THEN
        RETURN NEW;
    END IF;
    {sides}
    IF TG_OP = 'UPDATE' AND ({taken_away}) THEN
        NEW.{version} := nextval({sequence});
    END IF;
    RETURN NEW;
END
"""


def _count_function(stamp: PostgresStamp, event: str) -> sql.Composed:
    """Keep count after an event: insert, update, delete or truncate."""
    tables = {"insert": [("now", 1)], "update": [("now", 1), ("was", -1)], "delete": [("was", -1)]}
    changes = [
        sql.SQL(
            "SELECT i.{space} AS space, i.{origin} AS origin, {n} AS n FROM {rows} i WHERE {item}"
        ).format(
            space=sql.Identifier(stamp.space_column),
            origin=sql.Identifier(stamp.origin_column),
            n=sql.Literal(n),
            rows=sql.SQL(rows),
            item=stamp.is_item,
        )
        for rows, n in tables.get(event, [])
    ]
    where = {"counts": stamp.counts, "table": sql.Literal(stamp.key)}
    insert = (
        sql.SQL(_INSERT).format(changes=sql.SQL(" UNION ALL ").join(changes), **where)
        if changes
        else sql.SQL("NULL")
    )
    body = sql.SQL(_COUNT).format(insert=insert, **where)
    return _function(stamp, f"count_{event}", body)


def _others_function(stamp: PostgresStamp) -> sql.Composed:
    """Put rows that others write in order: the newest vector they write is the searched one."""
    own = {
        "version": sql.Identifier(stamp.version_column),
        "space": sql.Identifier(stamp.space_column),
        "origin": sql.Identifier(stamp.origin_column),
        "sequence": stamp.versions,
    }
    parts: list[sql.Composable] = []
    for space in reversed(stamp.spaces):
        void = [
            sql.SQL(
                "IF TG_OP = 'UPDATE' AND NEW.{c} IS NOT DISTINCT FROM OLD.{c} THEN "
                "NEW.{c} := NULL; END IF; "
            ).format(c=sql.Identifier(other.column))
            for other in stamp.spaces
            if other != space
        ]
        parts.append(
            sql.SQL(
                "IF NEW.{c} IS NOT NULL AND (TG_OP = 'INSERT' OR NEW.{c} IS DISTINCT FROM OLD.{c}) "
                "THEN NEW.{version} := nextval({sequence}); NEW.{space} := {number}; "
                "NEW.{origin} := {fingerprint}; {void} RETURN NEW; END IF; "
            ).format(
                c=sql.Identifier(space.column),
                number=sql.Literal(space.number),
                fingerprint=sql.Literal(space.model.fingerprint),
                void=sql.SQL("").join(void),
                **own,
            )
        )
    taken_away = [
        sql.SQL("NEW.{c} IS NULL AND OLD.{c} IS NOT NULL").format(c=sql.Identifier(space.column))
        for space in stamp.spaces
    ]
    body = sql.SQL(_WRITTEN_BY_OTHERS).format(
        mine=stamp.of_gallery("NEW."),
        sides=sql.SQL("").join(parts),
        taken_away=sql.SQL(" OR ").join(taken_away) if taken_away else sql.SQL("false"),
        **own,
    )
    return _function(stamp, "others", body)


def _function(stamp: PostgresStamp, what: str, body: sql.Composable) -> sql.Composed:
    head = sql.SQL(_HEAD).format(
        function=stamp.function(what), extension=sql.Identifier(stamp.extension)
    )
    return head + sql.Literal(body.as_string())


_EVENTS = {
    "insert": "AFTER INSERT ON {items} REFERENCING NEW TABLE AS now",
    "update": "AFTER UPDATE ON {items} REFERENCING OLD TABLE AS was NEW TABLE AS now",
    "delete": "AFTER DELETE ON {items} REFERENCING OLD TABLE AS was",
    "truncate": "AFTER TRUNCATE ON {items}",
}


def functions(stamp: PostgresStamp) -> list[sql.Composed]:
    """All functions, made anew whenever spaces come and go."""
    made = [_count_function(stamp, event) for event in _EVENTS]
    return [*made, _others_function(stamp)]


def triggers(stamp: PostgresStamp) -> list[sql.Composed]:
    """All triggers, made once."""
    made = [
        sql.SQL(
            "CREATE TRIGGER {name} " + when + " FOR EACH STATEMENT EXECUTE FUNCTION {f}()"
        ).format(
            name=sql.Identifier(f"{stamp.prefix}count_{event}"),
            items=stamp.items,
            f=stamp.function(f"count_{event}"),
        )
        for event, when in _EVENTS.items()
    ]
    others = sql.SQL(
        "CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {items} FOR EACH ROW "
        "WHEN (current_setting('hotfill.own', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION {f}()"
    ).format(
        name=sql.Identifier(f"{stamp.prefix}others"),
        items=stamp.items,
        f=stamp.function("others"),
    )
    return [*made, others]
