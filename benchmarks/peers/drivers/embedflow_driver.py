"""embedflow: the old index gives candidates, the new model's cached vectors rank them.

`migrate` with a probe first, as its README says; then documents are materialised by `prewarm`.
There is no end at which the old index goes: at 100 % every candidate has its new vector.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import numpy as np
import psycopg

from benchmarks.peers.drivers.step import Driver, killing, main
from benchmarks.peers.lookup import Model

AGAIN = 25  # searches after which the cache is put back, so that they do not warm it


class Embedflow(Driver):
    def __init__(self, world: Path, folder: Path, dsn: str) -> None:
        super().__init__(world, folder, dsn)
        # Its probe asks for most of the gallery: it is killed by how many it has to materialise.
        self.new = Model(world, "new", die_at=float("inf"))

    # user: begin
    class Embedder:
        def __init__(self, model) -> None:
            self.embed, self.dimension = model.embed, model.dimension
            self.model_id = self.fingerprint = model.side

        def encode_queries(self, texts):
            return self.embed(texts)

        def encode_documents(self, texts, batch_size=None):
            return self.embed(texts)

        def encode_query(self, text):
            return self.embed([text])[0]

        def close(self) -> None:
            pass

    def session(self, **settings):
        from embedflow import migrate

        os.environ["EMBEDFLOW_PGVECTOR_DSN"] = self.dsn
        depth = settings.get("candidate_depth", 500)
        return migrate(
            index="pgvector",
            backend="pgvector",
            table="items",
            old_model=self.Embedder(self.old),
            new_model=self.Embedder(self.new),
            cache_path=self.folder / "cache",
            state_path=self.folder / "state.json",
            hnsw_ef_search=depth,  # pgvector's 40 would give fewer candidates than are asked for
            start_worker=False,
            **settings,
        )

    def probe(self) -> int:
        queries = [(str(row), text) for row, text in enumerate(self.world.probes)]
        with self.session(probe_queries=queries, probe_limit=50) as session:
            plan = session.plan
        self.facts |= {"diagnostic": plan.diagnostic, "candidate depth": plan.candidate_depth}
        return plan.candidate_depth

    # user: end

    @property
    def depth(self) -> int:
        path = self.folder / "depth.json"
        if not path.exists():
            path.write_text(json.dumps(self.step("probe", self.probe)))
        return json.loads(path.read_text())

    def warm(self, share: float) -> None:
        order, depth = self.world.order[: round(share * len(self.world.gallery))], self.depth
        self.new.embed = killing(self.new.embed)
        # user: begin
        with self.session(candidate_depth=depth) as session:
            self.step("prewarm", session.prewarm, [str(item) for item in order], False)
            # user: end
            cached = session.status()["cache"]["cached_target_vectors"]
            self.facts["re-embedded"] = round(cached / len(self.world.gallery), 4)

    def until(self, share: float) -> None:
        self.warm(share)

    def whole(self) -> None:
        self.warm(1.0)

    def search(self) -> Callable[[str], list[str]]:
        kept, cache = self.folder / "cache.kept", self.folder / "cache"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(cache, kept)
        session, left = self.session(candidate_depth=self.depth), AGAIN

        def search(text: str) -> list[str]:
            # user: begin
            found = session.search(text, top_k=10)
            return [hit["id"] for hit in found["results"]]
            # user: end

        def put_back() -> None:
            nonlocal session, left
            left -= 1
            if left == 0:
                session.close()
                shutil.rmtree(cache)
                shutil.copytree(kept, cache)
                session, left = self.session(candidate_depth=self.depth), AGAIN
                session.search(self.world.probes[0])  # the first of a session opens things

        self.between = put_back  # type: ignore[method-assign]
        return search

    def held(self) -> list[tuple[int, np.ndarray]]:
        with psycopg.connect(self.dsn) as connection:
            rows = connection.execute("SELECT id::text FROM items")
            there = [item for (item,) in rows]
        with self.session(candidate_depth=self.depth) as session:
            found = session.engine.cache.get(there)
        return [(int(item), np.asarray(vector, np.float32)) for item, vector in found.items()]


if __name__ == "__main__":
    main(Embedflow)
