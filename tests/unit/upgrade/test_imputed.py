"""`prefill`: old vectors are imputed once into the index of the new ones, and searched there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hotfill.errors import ConfigError, StoreError
from hotfill.ranking import one_space
from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId
from hotfill.upgrade.phases import Phase
from tests.unit.upgrade.small import (
    NEW,
    OLD,
    Projection,
    Small,
    assert_reembedded,
    contents,
    filled,
    half_done,
    upgrade,
)


def imputing(folder: Any, n: int = 300, **changes: Any) -> Small:
    """An upgrade that fits as hotfill does."""
    given = {"strategy": "prefill", "fit_items": n, "fitting": None, "batch_size": 50}
    return upgrade(folder, n=n, **{**given, **changes})


def prefilled(up: Small) -> Small:
    """Run an upgrade until all old vectors are imputed and none is re-embedded."""
    embedder = up.new_embedder

    class Stopping:
        model_id = embedder.model_id

        def __call__(self, rows: Any) -> Any:
            if up.journal.phase is Phase.BACKFILLING:
                up.stop()
                raise StoreError("no more today")
            return embedder(rows)

    up.new_embedder = Stopping()
    up.start()
    up.new_embedder = embedder
    return up


def origins(gallery: Any) -> set[str]:
    return set(gallery.scan(NEW, limit=10_000).origins)


def queries(n: int = 20) -> Any:
    return Projection(NEW)(list(contents(n, seed=5).values()))


def test_imputed_vectors_are_stored_where_they_were_placed(tmp_path):
    up = prefilled(imputing(tmp_path))
    fit = up.state.load_fit()
    assert (up.gallery.count(OLD), up.gallery.count(NEW)) == (0, 300)
    assert origins(up.gallery) == {fit.up.fingerprint}
    ids = sorted(up.source)
    old, new = up.gallery.vectors(ids, OLD), up.gallery.vectors(ids, NEW)
    np.testing.assert_allclose(new.vectors, fit.up(old.vectors), atol=1e-6)
    assert np.ptp(np.linalg.norm(new.vectors, axis=1)) > 1e-3


def test_a_search_of_a_prefilled_gallery_is_one_search_with_the_plain_query(tmp_path):
    up = prefilled(imputing(tmp_path, ranking="raw"))
    found = up.search_vectors(queries(), NEW, 10)
    plain = up.gallery.search({NEW: queries()}, 10)[NEW]
    assert tuple(each.item_ids for each in found) == plain.item_ids


def test_a_prefilled_backfill_ends_with_the_models_own_vectors(tmp_path):
    up = prefilled(imputing(tmp_path))
    assert up.start().phase is Phase.BACKFILLED
    assert_reembedded(up.gallery, up.source)


def test_after_a_lost_journal_vectors_of_the_lost_fit_are_imputed_anew(tmp_path):
    first = prefilled(imputing(tmp_path / "first"))
    lost = first.state.load_fit().up.fingerprint
    again = imputing(
        tmp_path / "again", gallery=first.gallery, source=first.source, fit_items=200, seed=1
    )
    prefilled(again)
    now = again.state.load_fit().up.fingerprint
    assert now != lost
    assert origins(again.gallery) == {now}
    assert again.start().phase is Phase.BACKFILLED
    assert_reembedded(again.gallery, again.source)


class Cut(MemoryGallery):
    """Ends a process at one of its writes, before or after it."""

    writes_left = -1
    after = False

    def _move(self, *args: Any) -> Any:
        self.writes_left -= 1
        if self.writes_left == 0 and not self.after:
            raise StoreError("cut")
        moved = super()._move(*args)
        if self.writes_left == 0:
            raise StoreError("cut")
        return moved


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", range(1, 13))
def test_no_cut_leaves_vectors_of_two_fits(tmp_path, write, after):
    source = contents(300)
    gallery = filled(source, Cut(OLD))
    first = imputing(tmp_path, gallery=gallery, source=source)
    gallery.writes_left, gallery.after = write, after
    with pytest.raises(StoreError, match="cut"):
        first.start()
    first.close()
    again = imputing(tmp_path, gallery=gallery, source=source)
    made = {again.state.load_fit().up.fingerprint, NEW.fingerprint}
    assert origins(gallery) <= made
    found = again.search_vectors(queries(3), NEW, 300)
    assert all(sorted(each.item_ids) == sorted(source) for each in found)
    assert again.start().phase is Phase.BACKFILLED
    assert_reembedded(gallery, source)


class Stranger(Projection):
    """A model that sees what the old one does not."""

    def __call__(self, rows: Any) -> Any:
        return super().__call__(np.sin(9 * np.asarray(rows)))


def test_status_warns_where_the_map_loses_what_the_old_model_knows_of_queries(tmp_path):
    assert prefilled(imputing(tmp_path / "a")).status().warnings == ()
    up = prefilled(imputing(tmp_path / "b", new_embedder=Stranger(NEW)))
    status = up.status()
    assert status.rho == up.state.load_fit().one_space.rho < 0.65
    (warning,) = status.warnings
    assert f"rho {status.rho:.2f}" in warning
    assert 'queries = "both"' in warning


def test_the_plan_says_where_the_store_cannot_keep_the_length(tmp_path):
    class Cosine(MemoryGallery):
        @property
        def capabilities(self) -> Any:
            from dataclasses import replace

            return replace(super().capabilities, free_length=False)

    source = contents(300)
    up = imputing(tmp_path / "a", gallery=filled(source, Cosine(OLD)), source=source)
    written, note = up.plan().notes
    assert "300 items" in written
    assert "one length" in note
    assert 'strategy = "merge"' in note
    prefilled(up)
    lengths = np.linalg.norm(up.gallery.vectors(sorted(source), NEW).vectors, axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)
    assert imputing(tmp_path / "b").plan().notes == (written,)


def test_the_plan_counts_what_refreshes_will_write(tmp_path):
    source = contents(2500)
    notes = imputing(tmp_path / "a", source=source, gallery=filled(source)).plan().notes
    expected = sum(2500 - 250 * tenths for tenths in range(4, 10))
    assert f"up to {expected:,} vectors more" in notes[1]
    quiet = imputing(tmp_path / "b", source=source, gallery=filled(source), refresh=False)
    assert len(quiet.plan().notes) == 1


@pytest.mark.parametrize(
    ("space", "why"),
    [
        (ModelId("new", "1", 6, metric="l2"), "distance"),
        (ModelId("new", "1", 6, metric="dot", normalised=False), "length"),
    ],
)
def test_a_space_in_which_nothing_can_be_placed_is_refused_with_the_line_to_write(
    tmp_path, space, why
):
    model = Projection(space)
    (blocker,) = imputing(tmp_path / "a", new_embedder=model).plan().blockers
    assert why in blocker
    assert 'strategy = "merge"' in blocker
    assert imputing(tmp_path / "b", new_embedder=model, strategy="merge").plan().blockers == ()


@pytest.mark.parametrize("asked", ["auto", "raw", "calibrated"])
def test_the_ranking_is_chosen_by_the_fit_unless_somebody_names_it(tmp_path, asked):
    up = half_embedded(imputing(tmp_path, ranking=asked, batch_size=8))
    one = up.state.load_fit().one_space
    chosen = one.ranking if asked == "auto" else asked
    assert up.status().ranking == up.journal.last("fit").body["ranking"] == chosen
    assert (up.view.index is not None) == (chosen == "calibrated")


def test_the_fit_decides_for_the_ranking_that_found_more(tmp_path, monkeypatch):
    monkeypatch.setattr(one_space, "_WORTH_IT", -1.0)
    up = half_embedded(imputing(tmp_path, batch_size=8))
    assert up.status().ranking == "calibrated"
    assert up.view.index is not None


def test_a_prefilled_upgrade_is_not_fitted_again(tmp_path):
    with pytest.raises(ConfigError, match="refit"):
        imputing(tmp_path, refit=True).start()


def half_embedded(up: Small) -> Small:
    """Run an upgrade until all old vectors are imputed and about half are re-embedded."""
    half_done(up)
    assert 0 < up.gallery.count(NEW, origin=NEW.fingerprint) < len(up.source)
    return up


def test_calibrated_hits_are_ranked_on_the_scale_of_the_models_own_vectors(tmp_path):
    up = half_embedded(imputing(tmp_path, ranking="calibrated", batch_size=8))
    found = up.search_vectors(queries(), NEW, 10)
    one = up.state.load_fit().one_space
    ids = sorted(up.source)
    vectors = up.gallery.vectors(ids, NEW).vectors
    made_by = [state.origin for state in up.gallery.get(ids)]
    background = one.scale.prepare(queries())
    for number, (query, hits) in enumerate(zip(queries(), found, strict=True)):
        raw = vectors @ query
        near = np.argsort(-raw)[: 10 * one.overfetch]
        scores = background.scores(number, raw[near], [made_by[row] for row in near])
        expected = [ids[near[row]] for row in np.argsort(-scores)[:10]]
        assert list(hits.item_ids) == expected
    raw_order = up.gallery.search({NEW: queries()}, 10)[NEW].item_ids
    assert raw_order != tuple(hits.item_ids for hits in found)


def test_calibrated_searches_find_vectors_of_another_fit_by_the_plain_search(tmp_path):
    up = half_embedded(imputing(tmp_path, ranking="calibrated", batch_size=8))
    (state,) = up.gallery.get(["item-00003"])
    vector = up.gallery.vectors(["item-00003"], OLD).vectors
    up.gallery.upsert(["item-00003"], vector, space=OLD)
    (state,) = up.gallery.get(["item-00003"])
    made = up.state.load_fit().up(vector)
    up.gallery.move(
        ["item-00003"], made, space=NEW, expected_versions=np.array([state.version]), origin="lost"
    )
    found = up.search_vectors(queries(), NEW, 300)
    plain = up.gallery.search({NEW: queries()}, 300)[NEW]
    assert tuple(each.item_ids for each in found) == plain.item_ids


def test_calibrated_ranking_is_for_imputed_vectors_only(tmp_path):
    with pytest.raises(ConfigError, match="calibrated"):
        imputing(tmp_path, strategy="merge", ranking="calibrated").start()
