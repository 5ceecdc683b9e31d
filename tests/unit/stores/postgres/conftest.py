"""A schema of its own for each test, and plain SQL beside the gallery."""

from __future__ import annotations

import psycopg
import pytest

from hotfill.stores.postgres import PostgresGallery
from tests.postgres import fresh_schema, server


class Place:
    """A schema: makes galleries in it, and runs the statements of other programs."""

    def __init__(self):
        self.dsn = server().dsn
        self.schema = fresh_schema()
        self._opened = []

    def create(self, model, **options):
        return self.kept(PostgresGallery.create(self.dsn, model, schema=self.schema, **options))

    def open(self, **options):
        return self.kept(PostgresGallery.open(self.dsn, schema=self.schema, **options))

    def adopt(self, model, **options):
        return self.kept(PostgresGallery.adopt(self.dsn, model, schema=self.schema, **options))

    def kept(self, gallery):
        """Close it after the test."""
        self._opened.append(gallery)
        return gallery

    def sql(self, text, *values):
        """Run one statement as a program that knows nothing of hotfill."""
        with psycopg.connect(
            self.dsn, autocommit=True, options=f"-c search_path={self.schema},public"
        ) as connection:
            cursor = connection.execute(text, values)
            return cursor.fetchall() if cursor.description else cursor.rowcount

    def close(self):
        for gallery in self._opened:
            gallery.close()


@pytest.fixture
def place():
    made = Place()
    yield made
    made.close()
