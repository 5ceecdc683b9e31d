"""Each store as one would use it without hotfill: one index, the engine's own calls, nothing else.

upsert: writes rows under names that are new or not. search: the k nearest of one query, exactly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np


class PlainQdrantEdge:
    def __init__(self, folder: Path, dimension: int) -> None:
        import qdrant_edge as engine

        self.engine = engine
        folder.mkdir()
        vectors = engine.EdgeVectorParams(size=dimension, distance=engine.Distance.Dot)
        self.shard = engine.EdgeShard.create(str(folder), engine.EdgeConfig(vectors={"v": vectors}))
        self.params = engine.SearchParams(exact=True)

    def upsert(self, names, rows) -> None:
        point = self.engine.Point
        points = [
            point(int(name), {"v": row}, {"_id": name})
            for name, row in zip(names, rows.tolist(), strict=True)
        ]
        self.shard.update(self.engine.UpdateOperation.upsert_points(points))

    def search(self, query, k) -> None:
        self.shard.query(
            self.engine.QueryRequest(
                limit=k,
                query=self.engine.Query.Nearest(query.tolist(), using="v"),
                with_payload=["_id"],
                params=self.params,
            )
        )

    def close(self) -> None:
        self.shard.close()


class PlainPostgres:
    """A table with one vector column, written by one statement a batch in the binary format."""

    def __init__(self, dsn: str, schema: str, dimension: int) -> None:
        import psycopg

        from hotfill.stores.postgres.schema import types
        from hotfill.stores.postgres.values import Binary, BinaryDumper, only_one, vector_array

        self.connection = psycopg.connect(
            dsn, autocommit=True, options=f"-c search_path={schema},public"
        )
        self.connection.adapters.register_dumper(Binary, BinaryDumper)
        numbers = types(self.connection)
        self.array = lambda rows: vector_array(rows, "vector", numbers["vector"])
        self.one = lambda query: only_one(self.array(query[None]))
        self.connection.execute(f"CREATE TABLE plain (id text PRIMARY KEY, v vector({dimension}))")

    def upsert(self, names, rows) -> None:
        self.connection.execute(
            "INSERT INTO plain SELECT * FROM unnest(%s::text[], %b::vector[]) "
            "ON CONFLICT (id) DO UPDATE SET v = excluded.v",
            (list(names), self.array(rows)),
        )

    def search(self, query, k) -> None:
        self.connection.execute(
            f"SELECT id, v <#> %b::vector FROM plain ORDER BY 2 LIMIT {k}",
            (self.one(query),),
        ).fetchall()

    def close(self) -> None:
        self.connection.close()


class PlainLanceDB:
    def __init__(self, folder: Path, dimension: int) -> None:
        import lancedb
        import pyarrow

        self.pyarrow = pyarrow
        self.kind = pyarrow.list_(pyarrow.float32(), dimension)
        schema = pyarrow.schema([("id", pyarrow.string()), ("v", self.kind)])
        self.table = lancedb.connect(str(folder)).create_table("plain", schema=schema)

    def upsert(self, names, rows) -> None:
        flat = self.pyarrow.array(rows.ravel())
        vectors = self.pyarrow.FixedSizeListArray.from_arrays(flat, type=self.kind)
        batch = self.pyarrow.table({"id": list(names), "v": vectors})
        merge = self.table.merge_insert("id").when_matched_update_all()
        merge.when_not_matched_insert_all().execute(batch)

    def search(self, query, k) -> None:
        found = self.table.search(query, vector_column_name="v").distance_type("dot").limit(k)
        found.bypass_vector_index().select(["id", "_distance"]).to_arrow()

    def close(self) -> None:
        pass


class PlainRedis:
    """Hashes and one FLAT index; a batch is one pipeline."""

    def __init__(self, url: str, name: str, dimension: int) -> None:
        import redis

        self.client, self.name = redis.Redis.from_url(url), name
        self.client.execute_command(
            *f"FT.CREATE {name} ON HASH PREFIX 1 {name}: SCHEMA v VECTOR FLAT 6".split(),
            *f"TYPE FLOAT32 DIM {dimension} DISTANCE_METRIC IP".split(),
        )

    def upsert(self, names, rows) -> None:
        pipeline = self.client.pipeline(transaction=False)
        for name, row in zip(names, rows, strict=True):
            pipeline.hset(f"{self.name}:{name}", "v", row.tobytes())
        pipeline.execute()

    def search(self, query, k) -> None:
        self.client.execute_command(
            *("FT.SEARCH", self.name, f"*=>[KNN {k} @v $q AS d]", "PARAMS", 2, "q"),
            *(query.tobytes(), "RETURN", 1, "d", "SORTBY", "d", "LIMIT", 0, k, "DIALECT", 2),
        )

    def close(self) -> None:
        self.client.close()


class PlainFaiss:
    """In memory only: nothing is durable before the index is written as a whole."""

    def __init__(self, folder: Path, dimension: int) -> None:
        import faiss

        self.index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))

    def upsert(self, names, rows) -> None:
        self.index.add_with_ids(rows, np.array([int(name) for name in names], dtype=np.int64))

    def search(self, query, k) -> None:
        self.index.search(query[None], k)

    def close(self) -> None:
        pass


class PlainQdrantLocal:
    """The engine in Python that comes with qdrant-client; for tests, says its maker."""

    def __init__(self, folder: Path, dimension: int) -> None:
        from qdrant_client import QdrantClient, models

        self.models = models
        self.client = QdrantClient(path=str(folder))
        params = models.VectorParams(size=dimension, distance=models.Distance.DOT)
        self.client.create_collection("plain", vectors_config={"v": params})

    def upsert(self, names, rows) -> None:
        point = self.models.PointStruct
        points = [
            point(id=int(name), vector={"v": row}, payload={"_id": name})
            for name, row in zip(names, rows.tolist(), strict=True)
        ]
        self.client.upsert("plain", points)

    def search(self, query, k) -> None:
        self.client.query_points("plain", query=query.tolist(), using="v", limit=k)

    def close(self) -> None:
        self.client.close()


class PlainMilvusLite:
    def __init__(self, folder: Path, dimension: int) -> None:
        from pymilvus import DataType, MilvusClient

        folder.mkdir()
        self.client = MilvusClient(str(folder / "plain.db"))
        schema = self.client.create_schema(auto_id=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=dimension)
        index = self.client.prepare_index_params()
        index.add_index("v", index_type="FLAT", metric_type="IP")
        self.client.create_collection("plain", schema=schema, index_params=index)

    def upsert(self, names, rows) -> None:
        self.client.upsert(
            "plain", [{"id": n, "v": row} for n, row in zip(names, rows.tolist(), strict=True)]
        )

    def search(self, query, k) -> None:
        self.client.search("plain", [query.tolist()], anns_field="v", limit=k)

    def close(self) -> None:
        self.client.close()
