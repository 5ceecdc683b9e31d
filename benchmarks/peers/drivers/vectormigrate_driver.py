"""vectormigrate: its orchestrator over its in-memory store, the only one that it drives.

While both namespaces are filled, searches are `dual_read_search`, rank fusion of the two. Its maps
between models want equal dimensions, so they do not apply here. The vectors end with the process:
each step fills the old namespace again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import numpy as np

from benchmarks.peers.drivers.step import Driver, main

CASES = 50  # of its gate


class Vectormigrate(Driver):
    plain_every = 10

    # user: begin
    class Embedder:
        def __init__(self, model, abi) -> None:
            self.abi, self.model = abi, model

        def embed(self, texts) -> np.ndarray:
            return self.model.embed(texts).astype(np.float64)

    def begin(self, registry: str = "registry.sqlite") -> None:
        from vectormigrate import (
            Document,
            EmbeddingABI,
            InMemoryVectorBackend,
            MigrationOrchestrator,
            MigrationPlan,
            SQLiteRegistry,
        )

        self.registry = SQLiteRegistry(self.folder / registry)
        self.orchestrator = MigrationOrchestrator(self.registry, InMemoryVectorBackend())
        old, new = (
            self.registry.get_abi(f"ours/{side}@1#v1")  # one made anew would be refused
            or self.orchestrator.register_abi(EmbeddingABI(side, "ours", "1", model.dimension))
            for side, model in (("old", self.old), ("new", self.new))
        )
        self.old_embedder = self.Embedder(self.old, old)
        self.new_embedder = self.Embedder(self.new, new)
        texts = self.world.gallery
        self.documents = [Document(str(item), texts[item]) for item in self.world.order]
        open_plans = [plan for plan in self.registry.list_plans() if plan.alias_name == "active"]
        if open_plans:
            self.plan_id = open_plans[-1].plan_id
        else:
            plan = MigrationPlan(old.abi_id, new.abi_id, "active")
            self.plan_id = self.orchestrator.create_plan(plan).plan_id
            self.orchestrator.provision_plan(self.plan_id)
            self.orchestrator.enable_dual_write(self.plan_id)
        self.orchestrator.vector_backend.create_namespace(old.abi_id, old)
        self.orchestrator.vector_backend.create_namespace(new.abi_id, new)
        self.orchestrator.vector_backend.set_alias("active", old.abi_id)
        self.orchestrator.index_documents(old.abi_id, self.documents, self.old_embedder)

    def finish(self) -> None:
        from vectormigrate import QueryCase

        told = zip(self.world.probes, self.world.relevant_to_probes, strict=True)
        cases = [
            QueryCase(str(row), text, {str(item): 1.0 for item in relevant})
            for row, (text, relevant) in enumerate(told)
        ][:CASES]
        models = (self.old_embedder, self.new_embedder)
        shown = self.orchestrator.evaluate_plan(self.plan_id, cases, *models, top_k=10)
        self.facts["gate passed"] = shown.passes
        self.orchestrator.cutover(self.plan_id)

    # user: end

    def backfill(self, share: float) -> None:
        part = self.documents[: round(share * len(self.documents))]
        try:
            self.orchestrator.backfill(self.plan_id, part, self.new_embedder)
        except ValueError as error:  # the plan of a run that was killed
            self.facts["backfill of the same plan again"] = str(error)
            self.orchestrator.enable_dual_write(self.plan_id)
            self.orchestrator.backfill(self.plan_id, part, self.new_embedder)

    @property
    def share(self) -> Path:
        return self.folder / "share.json"  # ours: what the next process has to make again

    def until(self, share: float) -> None:
        self.share.write_text(json.dumps(share))
        self.facts["re-embedded"] = share

    def whole(self) -> None:
        self.step("the old namespace", self.begin)
        self.facts["plan at the beginning"] = self.registry.require_plan(self.plan_id).state.value
        self.step("backfill", self.backfill, 1.0)
        self.step("evaluate, cutover", self.finish)
        self.share.write_text("1.0")
        stored = self.orchestrator.vector_backend._namespaces[self.new_embedder.abi.abi_id]
        np.savez(
            self.folder / "held.npz",
            items=[int(item) for item in stored],
            vectors=[each.vector for each in stored.values()],
        )

    def search(self) -> Callable[[str], list[str]]:
        share = json.loads(self.share.read_text()) if self.share.exists() else None
        if share is None:
            self.begin()
        else:
            (self.folder / "search.sqlite").unlink(missing_ok=True)
            self.begin("search.sqlite")
        if share:
            self.backfill(share)
        if share == 1.0:
            self.finish()
        both = (self.old_embedder, self.new_embedder)

        def search(text: str) -> list[str]:
            # user: begin
            if share == 1.0:
                hits = self.orchestrator.search_namespace("active", text, both[1], top_k=10)
            else:
                hits = self.orchestrator.dual_read_search(self.plan_id, text, *both, top_k=10)
            return [hit.doc_id for hit in hits]
            # user: end

        return search

    def plain(self) -> Callable[[str], object]:
        """Its own store with one namespace, of the new vectors."""
        from vectormigrate import InMemoryVectorBackend

        store, abi = InMemoryVectorBackend(), self.new_embedder.abi
        store.create_namespace("plain", abi)
        texts = [document.text for document in self.documents]
        store.upsert("plain", self.documents, self.new.embed(texts).astype(np.float64))
        return lambda text: store.search("plain", self.new([text])[0].astype(np.float64), top_k=10)

    def held(self) -> list[tuple[int, np.ndarray]]:
        kept = np.load(self.folder / "held.npz")
        return [*zip(kept["items"].tolist(), kept["vectors"].astype(np.float32), strict=True)]


if __name__ == "__main__":
    main(Vectormigrate)
