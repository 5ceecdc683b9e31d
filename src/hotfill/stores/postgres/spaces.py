"""How spaces come and go. Each function runs in one transaction that nobody else disturbs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg import sql

from hotfill.stores.inputs import check_unsearched
from hotfill.stores.postgres import names, reading
from hotfill.stores.postgres import schema as ddl
from hotfill.stores.postgres.table import check_prepared

if TYPE_CHECKING:
    from hotfill.stores.postgres.connections import Connection
    from hotfill.stores.postgres.stamp import Stamp
    from hotfill.types import ModelId


def add(connection: Connection, stamp: Stamp, model: ModelId) -> Stamp:
    """Add a column for a model's vectors; to an adopted table first hotfill's own columns."""
    if model in stamp.models:
        return stamp
    if not stamp.prepared:
        stamp = ddl.prepare(connection, stamp)
    stamp = stamp.with_space(model)
    ddl.add_column(connection, stamp, stamp.spaces[-1])
    ddl.renew_functions(connection, stamp)
    return ddl.write_stamp(connection, stamp)


def count(connection: Connection, stamp: Stamp) -> Stamp:
    """Count what was in an adopted table before its triggers."""
    if stamp.counted:
        return stamp
    ddl.count_anew(connection, stamp)
    return ddl.write_stamp(connection, replace(stamp, counted=True))


def drop(connection: Connection, stamp: Stamp, model: ModelId) -> Stamp:
    """Drop the column of an unsearched space."""
    if model not in stamp.models:
        return stamp
    check_prepared(stamp)
    space = stamp.space(model)
    # Now, so that the count stays true until the column is gone.
    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names.items(stamp)))
    text, values = reading.count(stamp, space, None).whole(stamp)
    ((_, searched),) = connection.execute(text, values).fetchall()
    check_unsearched(model, searched)
    fewer = stamp.without_space(model)
    ddl.renew_functions(connection, fewer)
    ddl.drop_column(connection, stamp, space)
    return ddl.write_stamp(connection, fewer)
