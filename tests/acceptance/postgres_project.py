"""A small project whose gallery and journal are in PostgreSQL."""

from __future__ import annotations

import tomllib

import psycopg
import tomli_w

from hotfill.stores.postgres import PostgresGallery
from tests.postgres import fresh_schema, server
from tests.unit.cli.models import OLD, contents, old_model
from tests.unit.cli.project import write_config


def make_project(folder, items, *, dsn=None, schema=None, **changes):
    """Fill a gallery and write upgrade.toml; changes: as for `write_config`.

    dsn, schema: where; by default a fresh schema on the server of this process.
    """
    path = write_config(folder, items, **changes)
    dsn, schema = dsn or server().dsn, schema or fresh_schema()
    values = tomllib.loads(path.read_text())
    values["store"] = {
        "kind": "postgres",
        "dsn": dsn,
        "table": f"{schema}.items",
        "exact": True,
    }
    values["journal"] = {"kind": "postgres", "name": f"{schema}_journal"}
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    source = contents(items)
    with PostgresGallery.create(dsn, OLD, schema=schema) as gallery:
        gallery.upsert(list(source), old_model()(list(source.values())), space=OLD)
    return path


def asked(project, text, *values):
    """Ask the journal's tables directly. {schema} stands for their schema."""
    with psycopg.connect(server().dsn) as connection:
        name = project.settings.journal.name
        return connection.execute(text.format(schema=name), values).fetchall()
