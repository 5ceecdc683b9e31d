"""Galleries in PostgreSQL with pgvector: one table, one vector column for each model."""

from hotfill.extras import need

need("psycopg", "postgres")
need("psycopg_pool", "postgres")

from hotfill.stores.postgres.gallery import PostgresGallery  # noqa: E402  said above if missing

__all__ = ["PostgresGallery"]
