"""Each store twice: as a gallery, and as one would use it without hotfill.

The second is one index of the model's own vectors: the engine's own calls, ids and scores, nothing
else. Both get the same threads, the same space on the same disk, and the same kind of index.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hotfill.stores.base import Gallery
from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId

PART = 1000  # vectors in one call of a store
EF = 64  # candidates of a walk along a graph, in galleries
EFS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)  # what a plain graph may be asked for

Found = tuple[Sequence[str], Any]


class Plain(ABC):
    """One index without hotfill. ef: of a graph, set from outside."""

    ef = EF

    @abstractmethod
    def search(self, query: np.ndarray, k: int) -> Found:
        """Ids and scores of the k nearest of one query, float32 (dimension,)."""

    def use(self, ef: int) -> None:
        """Keep so many candidates from now on."""
        self.ef = ef

    def close(self) -> None:  # noqa: B027  # most have nothing to release
        """Let go of it."""


def parts(n: int) -> list[slice]:
    return [slice(begin, min(begin + PART, n)) for begin in range(0, n, PART)]


class PlainArray(Plain):
    """Vectors in one array, compared by numpy."""

    def __init__(self, names: Sequence[str], rows: np.ndarray) -> None:
        self.names, self.rows = names, rows

    def search(self, query: np.ndarray, k: int) -> Found:
        scores = self.rows @ query
        best = np.argpartition(scores, len(scores) - k)[-k:]
        best = best[np.argsort(-scores[best])]
        return [self.names[at] for at in best.tolist()], scores[best]


class PlainEdge(Plain):
    def __init__(self, folder: Path, names: Sequence[str], rows: np.ndarray, graph: bool) -> None:
        import qdrant_edge as engine

        self.engine, self.graph = engine, graph
        folder.mkdir()
        vectors = engine.EdgeVectorParams(size=rows.shape[1], distance=engine.Distance.Dot)
        shard = engine.EdgeShard.create(str(folder), engine.EdgeConfig(vectors={"v": vectors}))
        for part in parts(len(rows)):
            points = [
                engine.Point(part.start + at, {"v": row}, {"_id": names[part.start + at]})
                for at, row in enumerate(rows[part].tolist())
            ]
            shard.update(engine.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.close()
        # Loaded as a gallery is loaded, so that both lie in memory in the same way.
        self.shard = engine.EdgeShard.load(str(folder))

    def search(self, query: np.ndarray, k: int) -> Found:
        points = self.shard.query(
            self.engine.QueryRequest(
                limit=k,
                query=self.engine.Query.Nearest(query.tolist(), using="v"),
                with_payload=["_id"],
                params=self.engine.SearchParams(exact=not self.graph, hnsw_ef=self.ef),
            )
        )
        return [point.payload["_id"] for point in points], [point.score for point in points]

    def close(self) -> None:
        self.shard.close()


class PlainPostgres(Plain):
    """A table with one column of vectors, and an index of pgvector's own defaults."""

    def __init__(
        self, dsn: str, schema: str, names: Sequence[str], rows: np.ndarray, graph: bool
    ) -> None:
        import psycopg

        from hotfill.stores.postgres.schema import types
        from hotfill.stores.postgres.values import Binary, BinaryDumper, only_one, vector_array

        self.connection = psycopg.connect(dsn, autocommit=True)
        self.connection.execute(f"SET search_path = {schema}, public")
        self.connection.adapters.register_dumper(Binary, BinaryDumper)
        number = types(self.connection)["vector"]
        self.array = lambda vectors: vector_array(vectors, "vector", number)
        self.one = lambda query: only_one(self.array(query[None]))
        self.connection.execute(
            f"CREATE TABLE plain (id text PRIMARY KEY, v vector({rows.shape[1]}))"
        )
        for part in parts(len(rows)):
            self.connection.execute(
                "INSERT INTO plain SELECT * FROM unnest(%s::text[], %b::vector[])",
                (list(names[part]), self.array(rows[part])),
            )
        if graph:
            self.connection.execute("CREATE INDEX ON plain USING hnsw (v vector_ip_ops)")
        self.connection.execute("VACUUM ANALYZE plain")

    def search(self, query: np.ndarray, k: int) -> Found:
        found = self.connection.execute(
            "SELECT id, q.v <#> p.v FROM (SELECT %b::vector AS v) q CROSS JOIN LATERAL "
            f"(SELECT * FROM plain ORDER BY plain.v <#> q.v LIMIT {k}) p",
            (self.one(query),),
            binary=True,
        ).fetchall()
        return [name for name, _ in found], [-distance for _, distance in found]

    def use(self, ef: int) -> None:
        self.ef = ef
        self.connection.execute(f"SET hnsw.ef_search = {ef}")

    def close(self) -> None:
        self.connection.close()


class PlainLanceDB(Plain):
    def __init__(self, folder: Path, names: Sequence[str], rows: np.ndarray) -> None:
        import lancedb
        import pyarrow

        kind = pyarrow.list_(pyarrow.float32(), rows.shape[1])
        vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(rows.ravel()), type=kind)
        content = pyarrow.table({"id": list(names), "v": vectors})
        self.table = lancedb.connect(str(folder)).create_table("plain", content)

    def search(self, query: np.ndarray, k: int) -> Found:
        asked = self.table.search(query, vector_column_name="v").distance_type("dot").limit(k)
        found = asked.bypass_vector_index().select(["id", "_distance"]).to_arrow()
        return found.column("id").to_pylist(), 1 - found.column("_distance").to_numpy()


class PlainFaiss(Plain):
    def __init__(self, names: Sequence[str], rows: np.ndarray, graph: bool) -> None:
        import faiss

        from hotfill.extras import faiss_search

        self.faiss, self.find, self.names, self.graph = faiss, faiss_search, names, graph
        if graph:  # with the numbers that a gallery's graph has
            self.index = faiss.IndexHNSWFlat(rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
            self.index.hnsw.efConstruction = 200
        else:
            self.index = faiss.IndexFlatIP(rows.shape[1])
        self.index.add(rows)
        self.use(EF)

    def search(self, query: np.ndarray, k: int) -> Found:
        scores, places = self.find(self.index, query[None], k, self.params)
        return [self.names[at] for at in places[0].tolist()], scores[0]

    def use(self, ef: int) -> None:
        self.ef = ef
        self.params = self.faiss.SearchParametersHNSW(efSearch=ef) if self.graph else None


@dataclass(frozen=True)
class Case:
    """One store with one kind of index. make: an empty gallery of a model, in a folder.

    plain: the index beside it. graph: HNSW; else all vectors are compared.
    """

    make: Callable[[Path, ModelId], Gallery]
    plain: Callable[[Path, Sequence[str], np.ndarray], Plain]
    graph: bool = False


def _edge(graph: bool) -> Case:
    def make(folder: Path, model: ModelId) -> Gallery:
        from hotfill.stores.qdrant_edge import QdrantEdgeGallery

        return QdrantEdgeGallery.create(folder, model, exact=not graph, ef=EF)

    return Case(make, lambda *given: PlainEdge(*given, graph=graph), graph)


def _postgres(graph: bool) -> Case:
    from tests.postgres import fresh_schema, server

    def dsn() -> str:  # one process of the server for a query, on either side
        return f"{server().dsn} options='-c max_parallel_workers_per_gather=0'"

    def make(folder: Path, model: ModelId) -> Gallery:
        from hotfill.stores.postgres import PostgresGallery

        return PostgresGallery.create(
            dsn(), model, schema=fresh_schema(), exact=not graph, ef=EF if graph else None
        )

    def plain(folder: Path, names: Sequence[str], rows: np.ndarray) -> Plain:
        return PlainPostgres(dsn(), fresh_schema(), names, rows, graph)

    return Case(make, plain, graph)


def _lancedb() -> Case:
    def make(folder: Path, model: ModelId) -> Gallery:
        from hotfill.stores.lancedb import LanceDBGallery

        return LanceDBGallery.create(folder, model, exact=True)

    return Case(make, PlainLanceDB)


def _index_files(graph: bool) -> Case:
    def make(folder: Path, model: ModelId) -> Gallery:
        from hotfill.stores.index_files import IndexFilesGallery

        kind = "hnsw" if graph else "flat"
        return IndexFilesGallery.create(folder, model, index=kind, ef=EF)

    return Case(make, lambda folder, names, rows: PlainFaiss(names, rows, graph), graph)


def _memory() -> Case:
    return Case(
        lambda folder, model: MemoryGallery(model),
        lambda folder, names, rows: PlainArray(names, rows),
    )


CASES: dict[str, Callable[[], Case]] = {
    "memory": _memory,
    "qdrant-edge": lambda: _edge(False),
    "qdrant-edge-hnsw": lambda: _edge(True),
    "postgres": lambda: _postgres(False),
    "postgres-hnsw": lambda: _postgres(True),
    "lancedb": _lancedb,
    "index-files": lambda: _index_files(False),
    "index-files-hnsw": lambda: _index_files(True),
}
