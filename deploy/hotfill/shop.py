"""The source of upgrade.toml: the content of items, by id, from the table itself."""

import psycopg


def titles(dsn):
    """Make the source. dsn: of the database that has the table."""

    def read(item_ids):
        with psycopg.connect(dsn) as connection:
            rows = connection.execute(
                "SELECT id::text, title FROM products WHERE id::text = ANY (%s)", (list(item_ids),)
            )
            return dict(rows.fetchall())

    return read
