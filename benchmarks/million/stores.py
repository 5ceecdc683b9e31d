"""Each store twice: the engine alone, and what hotfill adopts (or, in Qdrant Edge, fills itself).

An engine alone takes the new model's vectors by its own bulk write, indexes them and is searched.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.million.world import NEW, OLD, SPARE, name_of
from benchmarks.stores.plain import PlainLanceDB, PlainPostgres, PlainQdrantEdge

PART = 1000  # rows in one call of an engine
EF = 64
# As people have it who keep a million vectors: graphs that do not fit into the buffers crawl.
SERVER = {
    "shared_buffers": "6GB",
    "maintenance_work_mem": "2GB",
    "max_wal_size": "8GB",
    "autovacuum_naptime": "60s",
}


class Edge(PlainQdrantEdge):
    """Qdrant Edge; nobody but hotfill could have filled what it upgrades."""

    def __init__(self, folder: Path, dimension: int) -> None:
        super().__init__(folder, dimension)
        self.folder = folder
        self.params = self.engine.SearchParams(exact=False, hnsw_ef=EF)

    def index(self) -> None:
        self.shard.optimize()
        self.shard.close()
        self.shard = self.engine.EdgeShard.load(str(self.folder))


class Postgres(PlainPostgres):
    def index(self) -> None:
        self.connection.execute("SET maintenance_work_mem = '2GB'")
        self.connection.execute("CREATE INDEX ON plain USING hnsw (v vector_ip_ops)")
        self.connection.execute("VACUUM ANALYZE plain")
        self.connection.execute(f"SET hnsw.ef_search = {EF}")

    def search(self, query, k) -> None:
        self.connection.execute(
            "SELECT id, q.v <#> p.v FROM (SELECT %b::vector AS v) q CROSS JOIN LATERAL "
            f"(SELECT * FROM plain ORDER BY plain.v <#> q.v LIMIT {k}) p",
            (self.one(query),),
            binary=True,
        ).fetchall()


class Lance(PlainLanceDB):
    def index(self, distance: str = "dot") -> None:
        from lancedb.index import IvfFlat

        self.table.optimize()
        if self.table.count_rows() >= 50_000:  # from there on a gallery has one, too
            self.table.create_index("v", config=IvfFlat(distance_type=distance))

    def search(self, query, k) -> None:
        found = self.table.search(query, vector_column_name="v").distance_type("dot").limit(k)
        found.select(["id", "_distance"]).to_arrow()


class Faiss:
    """A graph in memory, built as rows come, and written to a file at the end."""

    def __init__(self, folder: Path, dimension: int) -> None:
        import faiss

        self.faiss, self.folder = faiss, folder
        self.graph = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
        self.graph.hnsw.efConstruction = 200
        folder.mkdir()

    def upsert(self, names, rows) -> None:
        self.graph.add(np.ascontiguousarray(rows))

    def index(self) -> None:
        self.faiss.write_index(self.graph, str(self.folder / "index.faiss"))

    def search(self, query, k) -> None:
        self.graph.search(query[None], k, params=self.faiss.SearchParametersHNSW(efSearch=EF))

    def close(self) -> None:
        pass


# What hotfill is given ----------------------------------------------------------------------------


def rows_of(world: Path, model) -> np.ndarray:
    """The gallery's rows by one model, (n, dimension) float32, read as they are needed."""
    rows = np.load(world / f"{model.name}.npy", mmap_mode="r")
    return rows[: len(rows) - SPARE]


def parts(n: int) -> Iterator[slice]:
    for begin in range(0, n, PART):
        yield slice(begin, min(begin + PART, n))


def names_of(part: slice) -> list[str]:
    return [name_of(number) for number in range(part.start, part.stop)]


class Case:
    """One store. section: [store] of the upgrade.toml. adopted: words for `hotfill adopt`."""

    adopted: tuple[str, ...] | None = ("--id-column", "id", "--vector-column", "v")

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def alone(self) -> Any:
        """The engine by itself, empty, for vectors of the new model."""
        raise NotImplementedError

    def clear(self, *names: str) -> None:
        """Remove what a phase that was killed has left of folders."""
        for name in names:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def section(self) -> dict[str, Any]:
        raise NotImplementedError

    def fill(self, world: Path) -> None:
        """Make what is adopted, with an index of the old vectors."""
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have a server, where there is one, for the block."""
        yield

    def bytes_on_disk(self) -> int:
        return size_of(self.folder / "gallery")

    def journal_bytes(self, folder: Path) -> int:
        """Of the journal that is in force; in SQLite unless the store says otherwise."""
        return sum(path.stat().st_size for path in folder.glob("*/journal.sqlite*"))


def size_of(folder: Path) -> int:
    """Bytes that a folder takes on the disk; stores preallocate more than they use."""
    return sum(512 * path.stat().st_blocks for path in folder.rglob("*") if path.is_file())


class EdgeCase(Case):
    adopted = None

    def alone(self) -> Edge:
        return Edge(self.folder / "plain", NEW.dimension)

    def section(self) -> dict[str, Any]:
        return {"kind": "qdrant-edge", "path": "gallery", "ef": EF}

    def fill(self, world: Path) -> None:
        from hotfill.stores.qdrant_edge import QdrantEdgeGallery

        rows = rows_of(world, OLD)
        with QdrantEdgeGallery.create(self.folder / "gallery", OLD, ef=EF) as gallery:
            for part in parts(len(rows)):
                gallery.upsert(names_of(part), rows[part], space=OLD)
            gallery.optimise()


class PostgresCase(Case):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.dsn = ""

    def alone(self) -> Postgres:
        self.run("DROP SCHEMA IF EXISTS alone CASCADE")
        self.run("CREATE SCHEMA alone")
        return Postgres(self.dsn, "alone", NEW.dimension)

    def section(self) -> dict[str, Any]:
        return {"kind": "postgres", "dsn": self.dsn, "table": "items", "ef": EF}

    def fill(self, world: Path) -> None:
        self.run("DROP TABLE IF EXISTS plain, items")
        table = Postgres(self.dsn, "public", OLD.dimension)
        rows = rows_of(world, OLD)
        for part in parts(len(rows)):
            table.upsert(names_of(part), rows[part])
        table.connection.execute("ALTER TABLE plain RENAME TO items")
        table.connection.execute("SET maintenance_work_mem = '2GB'")
        table.connection.execute("CREATE INDEX ON items USING hnsw (v vector_cosine_ops)")
        table.connection.execute("VACUUM ANALYZE items")
        table.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        """A server of the tests' kind, which goes on with its files where it ended well."""
        from tests.postgres import Server

        kept = self.folder / "server"
        if kept.exists():
            folder, programs = (Path(line) for line in kept.read_text().split())
            server = Server.on(folder, programs, SERVER)
        else:
            server = Server(settings=SERVER)
            kept.write_text(f"{server.folder} {server.programs}")
        self.server, self.dsn = server, server.dsn
        try:
            self.run("CREATE EXTENSION IF NOT EXISTS vector")
            yield
        finally:
            server.stop()

    def run(self, text: str) -> None:
        import psycopg

        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(text)

    def bytes_on_disk(self) -> int:
        import psycopg

        with psycopg.connect(self.dsn) as connection:
            (found,) = connection.execute("SELECT pg_total_relation_size('items')").fetchone()
        return found

    def journal_bytes(self, folder: Path) -> int:
        import psycopg

        with psycopg.connect(self.dsn) as connection:
            (found,) = connection.execute(
                "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c "
                "JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE c.relkind = 'r' AND EXISTS (SELECT FROM pg_class j "
                "WHERE j.relnamespace = n.oid AND j.relname = 'journal')"
            ).fetchone()
        return int(found or 0)

    def remove(self) -> None:
        shutil.rmtree(self.server.folder, ignore_errors=True)


class LanceCase(Case):
    def alone(self) -> Lance:
        return Lance(self.folder / "plain", NEW.dimension)

    def section(self) -> dict[str, Any]:
        return {"kind": "lancedb", "path": "gallery", "table": "plain"}

    def fill(self, world: Path) -> None:
        table = Lance(self.folder / "gallery", OLD.dimension)
        rows = rows_of(world, OLD)
        for part in parts(len(rows)):
            table.upsert(names_of(part), np.ascontiguousarray(rows[part]))
        table.index("cosine")  # of which hotfill makes use in a cosine space


class FaissCase(Case):
    @property
    def adopted(self) -> tuple[str, ...]:  # type: ignore[override]
        old = self.folder / "old"
        return "--index-file", str(old / "index.faiss"), "--ids-file", str(old / "ids.txt")

    def alone(self) -> Faiss:
        return Faiss(self.folder / "plain", NEW.dimension)

    def section(self) -> dict[str, Any]:
        return {"kind": "index-files", "path": "gallery", "index": "hnsw", "ef": EF}

    def fill(self, world: Path) -> None:
        graph = Faiss(self.folder / "old", OLD.dimension)
        rows = rows_of(world, OLD)
        for part in parts(len(rows)):
            graph.upsert([], rows[part])
        graph.index()
        names = "\n".join(names_of(slice(0, len(rows))))
        (self.folder / "old" / "ids.txt").write_text(names + "\n")


CASES: dict[str, Callable[[Path], Case]] = {
    "qdrant-edge": EdgeCase,
    "postgres": PostgresCase,
    "lancedb": LanceCase,
    "index-files": FaissCase,
}


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
