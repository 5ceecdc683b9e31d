"""Views that show a column of vectors: made again when new vectors take its place.

PostgreSQL drops no column that a view selects. A view that only shows the column is dropped and
made again in the same transaction; one that computes with it was made for the old vectors, and is
its owner's to change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from hotfill.errors import StoreError

if TYPE_CHECKING:
    from psycopg import Connection

    from hotfill.stores.postgres.stamp import PostgresStamp

_VIEWS = """
SELECT DISTINCT c.oid, n.nspname::text, c.relname::text, c.relkind::text,
    pg_get_viewdef(c.oid, true), coalesce(array_to_string(c.reloptions, ', '), ''),
    pg_get_userbyid(c.relowner)::text
FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(%s) AND a.attname = %s
AND d.deptype = 'n' AND c.relkind IN ('v', 'm') ORDER BY 2, 3
"""

_ELSE = """
SELECT 'rules' WHERE EXISTS (SELECT FROM pg_rewrite WHERE ev_class = %(oid)s AND rulename <> '_RETURN')
UNION ALL SELECT 'triggers' WHERE EXISTS (SELECT FROM pg_trigger WHERE tgrelid = %(oid)s)
UNION ALL SELECT 'defaults of columns' WHERE EXISTS (SELECT FROM pg_attrdef WHERE adrelid = %(oid)s)
UNION ALL SELECT 'security labels' WHERE EXISTS (SELECT FROM pg_seclabel WHERE objoid = %(oid)s)
UNION ALL SELECT 'rights on columns' WHERE EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = %(oid)s AND attacl IS NOT NULL)
UNION ALL SELECT 'rights that others granted' WHERE EXISTS (
    SELECT FROM pg_class c, aclexplode(c.relacl) x WHERE c.oid = %(oid)s AND x.grantor <> c.relowner)
UNION ALL SELECT 'others that depend on it' WHERE EXISTS (
    SELECT FROM pg_depend d JOIN pg_class c ON c.oid = %(oid)s WHERE d.deptype = 'n' AND (
    d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
    OR d.refclassid = 'pg_type'::regclass AND d.refobjid = c.reltype))
UNION ALL SELECT 'an extension' WHERE EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = %(oid)s AND deptype = 'e')
"""  # noqa: E501

_RIGHTS = """
SELECT CASE x.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(x.grantee)::text END,
    x.privilege_type::text, x.is_grantable
FROM pg_class c, aclexplode(c.relacl) x WHERE c.oid = to_regclass(%s)
"""

_COMMENTS = """
SELECT a.attname::text, d.description FROM pg_description d
LEFT JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE d.classoid = 'pg_class'::regclass AND d.objoid = to_regclass(%s)
"""

_Right = tuple[str | None, str, bool]


@dataclass(frozen=True, slots=True)
class DependentView:
    """A view that selects the column. hindrance: why it cannot be made again; empty if it can."""

    name: sql.Identifier
    definition: str
    options: str
    owner: str
    hindrance: str
    kind: str

    @property
    def made(self) -> sql.Composed:
        """The statement that makes it."""
        options = f"WITH ({self.options}) " if self.options else ""
        return sql.SQL("CREATE {} {} {}AS {}").format(
            sql.SQL(self.kind),  # of two words of ours
            self.name,
            sql.SQL(options),  # as the server says them
            sql.SQL(self.definition.rstrip().rstrip(";")),
        )


@dataclass(frozen=True, slots=True)
class SetAside:
    """A view that was dropped, and what belongs to it."""

    view: DependentView
    rights: frozenset[_Right]
    comments: tuple[tuple[str | None, str], ...]


def views_of(connection: Connection, stamp: PostgresStamp, column: str) -> list[DependentView]:
    """Return the views that select a column."""
    found = connection.execute(_VIEWS, (stamp.items.as_string(), column)).fetchall()
    views = []
    for oid, schema, name, kind, definition, options, owner in found:
        others = [what for (what,) in connection.execute(_ELSE, {"oid": oid})]
        hindrance = ""
        if kind == "m":
            hindrance = f"keeps a copy of {column}"
        elif not _only_shows(definition, column):
            hindrance = f"does more than show {column}"
        elif others:
            hindrance = f"has {', '.join(others)}"
        word = "MATERIALIZED VIEW" if kind == "m" else "VIEW"
        identifier = sql.Identifier(schema, name)
        views.append(DependentView(identifier, definition, options, owner, hindrance, word))
    return views


def statements(view: DependentView) -> str:
    """Say what to run where a view cannot be made again."""
    name = view.name.as_string()
    made = " ".join(view.made.as_string().split())
    return (
        f"{view.kind.lower()} {name} {view.hindrance}: before `complete` run DROP {view.kind} "
        f"{name}; and after it make it for the new vectors; it is {made}"
    )


def set_aside(connection: Connection, stamp: PostgresStamp, column: str) -> list[SetAside]:
    """Drop the views that show a column. Raises StoreError for one that does more."""
    views = views_of(connection, stamp, column)
    if hindered := [statements(view) for view in views if view.hindrance]:
        raise StoreError("; ".join(hindered))
    aside = []
    for view in views:
        name = view.name.as_string()
        rights = frozenset(connection.execute(_RIGHTS, (name,)).fetchall())
        comments = tuple(connection.execute(_COMMENTS, (name,)).fetchall())
        connection.execute(sql.SQL("DROP VIEW {}").format(view.name))
        aside.append(SetAside(view, rights, comments))
    return aside


def make_again(connection: Connection, aside: list[SetAside]) -> None:
    """Make views again, with the owner, the rights and the comments that they had."""
    for each in aside:
        view, name = each.view, each.view.name
        try:
            connection.execute(view.made)
            connection.execute(
                sql.SQL("ALTER VIEW {} OWNER TO {}").format(name, sql.Identifier(view.owner))
            )
        except InsufficientPrivilege as error:
            raise StoreError(
                f"hotfill may not make the view {name.as_string()} of {view.owner} again: "
                f"{error.diag.message_primary}"
            ) from error
        now = frozenset(connection.execute(_RIGHTS, (name.as_string(),)).fetchall())
        for right in sorted(now - each.rights, key=str):
            if right[0] != view.owner or each.rights:
                _change(connection, "REVOKE", name, right)
        for right in sorted(each.rights - now, key=str):
            _change(connection, "GRANT", name, right)
        for column, text in each.comments:
            what: Any = sql.SQL("VIEW {}").format(name)
            if column is not None:
                what = sql.SQL("COLUMN {}.{}").format(name, sql.Identifier(column))
            connection.execute(sql.SQL("COMMENT ON {} IS {}").format(what, sql.Literal(text)))


def _change(connection: Connection, verb: str, name: sql.Identifier, right: _Right) -> None:
    """Grant or revoke a right of a view. Done as its owner, so that it stays the owner's grant."""
    grantee, privilege, grantable = right
    statement = sql.SQL("{} {} ON {} {} {}{}").format(
        sql.SQL("GRANT" if verb == "GRANT" else "REVOKE"),
        sql.SQL(privilege),  # of the server's own list
        name,
        sql.SQL("TO" if verb == "GRANT" else "FROM"),
        sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee),
        sql.SQL(" WITH GRANT OPTION" if grantable and verb == "GRANT" else ""),
    )
    connection.execute(statement)


def _only_shows(definition: str, column: str) -> bool:
    """Tell whether a view selects a column and does nothing with it.

    PostgreSQL writes each column that a view selects in a line of its own. What is not as plain as
    that is taken to do more.
    """
    quoted = r'(?:{0}|"{0}")'.format(re.escape(column.replace('"', '""')))
    anywhere = re.compile(rf'(?<![\w$"]){quoted}(?![\w$"])')
    alone = re.compile(rf"\s*(?:SELECT )?(?:[^\s()\']+\.)?{quoted}(?: AS [^\s()\']+)?[,;]?")
    return all(alone.fullmatch(line) for line in definition.split("\n") if anywhere.search(line))
