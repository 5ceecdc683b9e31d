"""The ten lines of the README on every embedded store, with searches going on all the time.

Each answer is compared with plain arithmetic: a search for everything lists every item once, each
on a side by that side's own score. Nothing is wired by hand, so nothing can be forgotten.
"""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import pytest

import hotfill
from hotfill.ranking import Fit
from tests.unit.cli.models import NEW, OLD, WIDTH, contents, new_model, old_model
from tests.unit.cli.project import write_config

ITEMS = 400
SEARCHES = 2_500  # on each of four stores
QUERIES = list(np.random.default_rng(3).normal(size=(5, WIDTH)).astype(np.float32))
MODELS = {OLD: old_model(), NEW: new_model()}
SETTINGS = {"batch_size": 8, "fit_items": 150, "verify_items": 20}


class Slow:
    """The new model, slow enough for many searches to fall into the upgrade."""

    model_id = NEW

    def __init__(self) -> None:
        self.wait = threading.Event()

    def __call__(self, rows):
        self.wait.wait(0.02)
        return MODELS[NEW](rows)


@contextlib.contextmanager
def memory(folder, source):
    gallery = hotfill.MemoryGallery(OLD)
    gallery.upsert(list(source), MODELS[OLD](list(source.values())), space=OLD)
    parts = {"old": MODELS[OLD], "new": Slow(), "source": source, "folder": folder / "upgrade"}
    with gallery, hotfill.Upgrade(gallery, **parts, **SETTINGS) as up:
        yield up


def on_disk(kind):
    @contextlib.contextmanager
    def opened(folder, source):
        if kind == "qdrant-edge":
            from hotfill.stores.qdrant_edge import QdrantEdgeGallery

            made = QdrantEdgeGallery.create(folder / "gallery", OLD, exact=True)
        elif kind == "lancedb":
            from hotfill.stores.lancedb import LanceDBGallery

            made = LanceDBGallery.create(folder / "gallery", OLD, exact=True)
        else:
            from hotfill.stores.index_files import IndexFilesGallery

            made = IndexFilesGallery.create(folder / "gallery", OLD)
        with made as gallery:
            gallery.upsert(list(source), MODELS[OLD](list(source.values())), space=OLD)
        new = {"options": {"seconds_per_call": 0.02}}
        store = {"kind": kind, "exact": kind != "index-files"}
        path = write_config(folder, ITEMS, store=store, new=new, upgrade=SETTINGS)
        with hotfill.open(path) as up:
            yield up

    return opened


STORES = {
    "memory": memory,
    **{kind: on_disk(kind) for kind in ("qdrant-edge", "index-files", "lancedb")},
}


PACKAGES = {"qdrant-edge": "qdrant_edge", "index-files": "faiss", "lancedb": "lancedb"}


class Searches:
    """Searches in two threads for as long as it is wanted, and judges every answer."""

    def __init__(self, up, source) -> None:
        self.up, self.names = up, sorted(source)
        rows = [source[name] for name in self.names]
        self.vectors = {
            model: dict(zip(self.names, embed(rows), strict=True))
            for model, embed in MODELS.items()
        }
        self.done, self.faults, self.phases = 0, [], set()
        self.mapped = None
        self._stop, self._lock = threading.Event(), threading.Lock()

    def __enter__(self):
        self.threads = [threading.Thread(target=self._search) for _ in range(2)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        while self.done < SEARCHES and not self.faults and not any(error):
            self._stop.wait(0.05)
        self._stop.set()
        for thread in self.threads:
            thread.join()

    def _search(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            query = QUERIES[number % len(QUERIES)]
            try:
                found = self.up.search(query, ITEMS)
                fault = self._fault(query, found)
            except Exception as error:
                fault = repr(error)
            with self._lock:
                self.done += 1
                self.phases.add(str(found.phase))
                if fault:
                    self.faults.append(fault)
                    self._stop.set()

    def _imputed(self, hit, asked) -> bool:
        """Whether the score is that of the vector which the fit imputes for the item."""
        if hit.model != NEW:
            return False
        if self.mapped is None:
            up = Fit.load(self.up.folder / "fit-1").up
            old = self.vectors[OLD]
            self.mapped = dict(zip(old, up(np.stack(list(old.values()))), strict=True))
        return abs(float(self.mapped[hit.item_id] @ asked) - hit.raw_score) <= 1e-4

    def _fault(self, query, found) -> str:
        if sorted(found.item_ids) != self.names:
            return f"{len(found.hits)} of {ITEMS} items in {found.phase}"
        scores = [hit.score for hit in found.hits]
        if scores != sorted(scores, reverse=True):
            return f"a ranking out of order in {found.phase}"
        asked = MODELS[found.query_model]([query])[0]
        for hit in found.hits:
            if hit.model == found.query_model:
                exact = float(self.vectors[hit.model][hit.item_id] @ asked)
                if abs(exact - hit.raw_score) > 1e-4 and not self._imputed(hit, asked):
                    return f"{hit.item_id}: {hit.raw_score} instead of {exact} in {found.phase}"
        return ""


@pytest.mark.parametrize("store", STORES)
def test_searches_are_right_all_the_time_with_nothing_to_wire(store, tmp_path):
    if store in PACKAGES:
        pytest.importorskip(PACKAGES[store])
    source = contents(ITEMS)
    with STORES[store](tmp_path, source) as up, Searches(up, source) as searches:
        assert up.plan().items == ITEMS
        up.start(background=True)
        assert up.wait().phase == "backfilled"
        assert up.verify().passed
        assert up.cutover().phase == "cut_over"
        assert up.rollback().phase == "rolled_back"
    assert not searches.faults
    assert searches.done >= SEARCHES
    assert {"planned", "backfilling"} <= searches.phases
