"""A world in which moved items teach much, and the steps by which imputed vectors are refreshed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hotfill.ranking import Fit
from hotfill.upgrade import refit
from hotfill.upgrade.phases import Phase
from tests.unit.upgrade.small import NEW, Projection, contents, filled, upgrade

ITEMS = 2400
QUERIES = list(contents(12, seed=5).values())


class Curved(Projection):
    """A model of which a map of 200 pairs knows little, so that moved items teach it much."""

    def __call__(self, rows):
        return super().__call__(np.sin(2 * np.asarray(rows)))


def refreshing(folder, gallery=None, source=None, **changes):
    source = source or contents(ITEMS)
    gallery = gallery if gallery is not None else filled(source)
    given = {"fit_items": 300, "fitting": None, "batch_size": 50, "refresh_share": 1000.0}
    given["new_embedder"] = Curved(NEW)
    return upgrade(folder, gallery=gallery, source=source, **{**given, **changes})


def run_until(up, embedded):
    """Run an upgrade until so many items are re-embedded by this run."""
    embedder, left = up.new_embedder, embedded

    class Stopping:
        model_id = embedder.model_id

        def __call__(self, rows):
            nonlocal left
            if up.phase is Phase.BACKFILLING:
                left -= len(rows)
                if left <= 0:
                    up.stop()
            return embedder(rows)

    up.new_embedder = Stopping()
    up.start()
    up.new_embedder = embedder
    assert waiting(up.gallery), "some are to wait"


def fits_of(folder):
    """All fits that are kept, by the origin of what they imputed."""
    fits = [Fit.load(path) for path in sorted(Path(folder).glob("fit-*"))]
    return {fit.up.fingerprint: fit.one_space for fit in fits}


def waiting(gallery):
    """Ids and origins of the items that are still imputed."""
    page = gallery.scan(NEW, limit=10_000)
    return {
        item_id: origin
        for item_id, origin in zip(page.item_ids, page.origins, strict=True)
        if origin != NEW.fingerprint
    }


def assert_ranked_by_origin(up, k=20):
    """Each hit has the score that its own fit gives it; a slow oracle over all items."""
    fits = fits_of(up.folder)
    ids = sorted(up.source)
    vectors = up.gallery.vectors(ids, NEW).vectors
    made_by = [state.origin for state in up.gallery.get(ids)]
    assert {*made_by} <= {NEW.fingerprint, *fits}
    queries = up.new_embedder(QUERIES)
    found = up.search_vectors(queries, NEW, k)
    overfetch = next(iter(fits.values())).overfetch
    for query, result in zip(queries, found, strict=True):
        raw = vectors @ query
        near = np.argsort(-raw)[: k * overfetch]
        scores = {}
        for row in near:
            if made_by[row] == NEW.fingerprint:
                scores[ids[row]] = raw[row]
            else:
                one = fits[made_by[row]]
                line = one.scale.prepare(query[None]).lines[one.origin]
                scores[ids[row]] = line(0, raw[row : row + 1])[0]
        expected = sorted(scores, key=lambda name: -scores[name])[:k]
        np.testing.assert_allclose(
            [hit.score for hit in result.hits], [scores[name] for name in expected], atol=1e-5
        )
    everything = up.search_vectors(queries[:1], NEW, ITEMS)[0]
    assert sorted(everything.item_ids) == ids


class Steps:
    """Ends a process at one of the steps of its refreshes, before or after it. end: how."""

    def __init__(self, at, end):
        self.at, self.end, self.count, self.on = at, end, 0, False

    def counted(self, function):
        def call(*args, **named):
            self.step()
            made = function(*args, **named)
            self.step()
            return made

        return call

    def step(self):
        if self.on:
            self.count += 1
            if self.count == self.at:
                self.end()

    def watch(self, up, monkeypatch):
        """Count what a refresh writes: its fit, the journal's lines and batches, the store."""
        monkeypatch.setattr(refit.Refreshing, "make", self.from_here(refit.Refreshing.make))
        monkeypatch.setattr(refit.Refreshing, "finish", self.until_here(refit.Refreshing.finish))
        for name in ("record", "add_work", "drop_work", "finish", "lease"):
            monkeypatch.setattr(up.journal, name, self.counted(getattr(up.journal, name)))
        monkeypatch.setattr(up.gallery, "_move", self.counted(up.gallery._move))
        monkeypatch.setattr(Fit, "save", self.counted(Fit.save))

    def from_here(self, make):
        def call(refresh):
            self.on = True
            return make(refresh)

        return call

    def until_here(self, finish):
        def call(refresh, **facts):
            finish(refresh, **facts)
            self.on = False

        return call
