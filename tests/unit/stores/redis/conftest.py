"""Documents and an index as other people make them, on a real server."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("redis")

import redis

from tests import redis_server
from tests.unit.stores.redis.models import ROWS, theirs


@pytest.fixture(scope="session")
def url():
    if redis_server.MISSING:
        pytest.skip("the packages that have the server exist for Linux on x86-64 only")
    return redis_server.server().url


@pytest.fixture
def client(url):
    with redis.Redis.from_url(url) as client:
        yield client


class Shop:
    """An application's documents, written and read past hotfill."""

    def __init__(self, client, kind, graph) -> None:
        self.client, self.kind = client, kind
        self.index = redis_server.fresh_name()
        self.prefix = f"{self.index}-doc:"
        before = "" if kind == "hash" else "$."
        algorithm = "HNSW" if graph else "FLAT"
        client.execute_command(
            *("FT.CREATE", self.index, "ON", kind.upper(), "PREFIX", 1, self.prefix, "SCHEMA"),
            *(before + "embedding", "AS", "embedding", "VECTOR", algorithm, 6),
            *("TYPE", "FLOAT32", "DIM", 3, "DISTANCE_METRIC", "COSINE"),
            *(before + "picture", "AS", "picture", "VECTOR", "FLAT", 6),
            *("TYPE", "FLOAT32", "DIM", 2, "DISTANCE_METRIC", "L2"),
            *(before + "colour", "AS", "colour", "TAG"),
            *(before + "price", "AS", "price", "NUMERIC"),
            *(before + "content", "AS", "content", "TEXT"),
        )
        for n, row in enumerate(ROWS):
            self.put(f"x {n}", theirs(n) | {"embedding": row})

    def put(self, name, values):
        """Write a document, replacing the one that was there."""
        key = self.prefix + name
        if self.kind == "json":
            plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}
            self.client.execute_command("JSON.SET", key, "$", json.dumps(plain))
            return
        flat = {
            k: v.tobytes() if isinstance(v, np.ndarray) else v
            for k, v in values.items()
            if isinstance(v, (str, bytes, int, float, np.ndarray)) and not isinstance(v, bool)
        }
        self.client.delete(key)
        self.client.hset(key, mapping=flat)

    def content(self):
        """What stands in every document, but for what hotfill notes: bytes, or JSON."""
        return {
            name: {k: v for k, v in values.items() if not k.startswith("hotfill_")}
            for name, values in self.fields().items()
        }

    def fields(self):
        """What stands in every document."""
        found = {}
        for key in self.client.scan_iter(f"{self.prefix}*"):
            if self.kind == "hash":
                values = {k.decode(): v for k, v in self.client.hgetall(key).items()}
            else:
                values = json.loads(self.client.execute_command("JSON.GET", key))
            name = key.decode().removeprefix(self.prefix)
            found[name] = values
        return found

    def nearest(self, row):
        """Search as the application does: by its own index."""
        found = self.client.execute_command(
            *("FT.SEARCH", self.index, "*=>[KNN 10 @embedding $q AS d]", "PARAMS", 2),
            *("q", row.tobytes(), "RETURN", 1, "d", "SORTBY", "d", "DIALECT", 2),
        )
        hits = found[b"results"] if isinstance(found, dict) else found
        return [hit[b"id"].decode().removeprefix(self.prefix) for hit in hits]


@pytest.fixture(params=["hash", "json"])
def shop(client, request):
    return Shop(client, request.param, graph=False)


@pytest.fixture
def graph_shop(client):
    return Shop(client, "hash", graph=True)
