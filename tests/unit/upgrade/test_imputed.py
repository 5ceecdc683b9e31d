"""`prefill`: old vectors are imputed once into the index of the new ones, and searched there."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from hotfill.errors import ConfigError, PlanError, StoreError
from hotfill.ranking import old_query_weight, one_space
from hotfill.ranking.one_space import doubts_of_rho
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
@pytest.mark.parametrize("write", range(1, 9))  # two that impute, six that embed
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
    assert not any(
        "below" in each for each in prefilled(imputing(tmp_path / "a")).status().warnings
    )
    up = prefilled(imputing(tmp_path / "b", new_embedder=Stranger(NEW), allow_below_old=True))
    status = up.status()
    assert status.rho == up.state.load_fit().one_space.rho < 0.65
    warning = status.warnings[0]
    assert f"rho {status.rho:.2f}" in warning
    assert 'queries = "both"' in warning


@pytest.mark.parametrize("strategy", ["prefill", "merge"])
def test_an_upgrade_that_may_begin_below_the_old_model_wants_to_be_told_so(tmp_path, strategy):
    def again(**changes: Any) -> Small:
        return imputing(
            tmp_path / "up",
            new_embedder=Stranger(NEW),
            strategy=strategy,
            gallery=gallery,
            source=source,
            old_embedder=Projection(OLD),
            allow_below_old=False,
            **changes,
        )

    source = contents(300)
    gallery = filled(source)
    refused = again()
    with pytest.raises(PlanError, match=r'queries = "both"(.|\n)*--yes-below-old'):
        refused.start()
    assert refused.phase is Phase.PLANNED
    assert gallery.spaces == (OLD,)
    refused.close()
    # The plan may be another now, as long as nothing was prepared by the first.
    both = again(queries="both")
    assert both.start().phase is Phase.BACKFILLED
    assert both.status().warnings == ()
    assert both.abort().phase is Phase.ABORTED
    other = imputing(
        tmp_path / "other",
        new_embedder=Stranger(NEW),
        strategy=strategy,
        source=source,
        allow_below_old=False,
    )
    assert other.start(allow_below_old=True).phase is Phase.BACKFILLED


def test_between_two_lines_judged_queries_are_asked_for():
    for rho, expected in ((0.5, 1), (0.6, 2), (0.66, 1), (0.7, 0), (0.9, 0)):
        doubts = doubts_of_rho(rho, by_items=False)
        assert len(doubts) == expected
        assert any("judged queries" in each for each in doubts) == (0.55 <= rho < 0.7)


def test_rho_is_found_by_real_queries_where_there_are_any(tmp_path):
    asked = contents(40, seed=9)
    path = tmp_path / "queries.jsonl"
    path.write_text("".join(json.dumps({"content": row.tolist()}) + "\n" for row in asked.values()))
    up = prefilled(imputing(tmp_path / "a", canary_queries=str(path)))
    one = up.state.load_fit().one_space
    assert not one.by_items
    assert up.journal.last("fit").body["rho_by_items"] is False


def both_models(up: Small, query: Any, k: int) -> list[str]:
    """Rank all items by the formula, one at a time."""
    one = up.state.load_fit().one_space
    weight = old_query_weight(one.rho)
    ids = sorted(up.source)
    new, old = Projection(NEW)([query]), Projection(OLD)([query])
    vectors = up.gallery.vectors(ids, NEW).vectors
    kept = up.gallery.vectors(ids, OLD).vectors
    made_by = [state.origin for state in up.gallery.get(ids)]
    moved = sum(origin == NEW.fingerprint for origin in made_by) / len(ids)
    line = one.scale.prepare(new).lines[one.origin]
    to_new = one.old_query_scores(new, old, moved=moved, weight=weight).lines
    scores = {}
    for row, name in enumerate(ids):
        score = vectors[row : row + 1] @ new[0]
        share = weight * (1 - moved)
        if made_by[row] != NEW.fingerprint:
            score, share = line(0, score), weight
        own = to_new(0, kept[row : row + 1] @ old[0])
        scores[name] = float((1 - share) * score[0] + share * own[0])
    return sorted(ids, key=lambda name: -scores[name])[:k]


@pytest.mark.parametrize("embedded", [0, 150])
def test_with_both_models_each_has_its_share_of_every_score(tmp_path, embedded):
    up = imputing(tmp_path, queries="both", batch_size=8, old_embedder=Projection(OLD))
    half_embedded(up) if embedded else prefilled(up)
    assert up.view.index.weight == old_query_weight(up.status().rho) > 0
    for query in contents(10, seed=5).values():
        # All hits are judged by both where as many are asked for as there are items.
        assert [*up.search(query, 300).item_ids[:10]] == both_models(up, query, 10)
    alone = up.search_vectors(queries(), NEW, 10)
    assert [each.item_ids for each in alone] != [
        each.item_ids for each in up.search(list(contents(20, seed=5).values()), 10)
    ]


def test_with_both_models_the_end_is_exactly_the_new_one(tmp_path, monkeypatch):
    monkeypatch.setattr("hotfill.upgrade.state.POLL_SECONDS", 0.0)
    up = imputing(tmp_path, queries="both", old_embedder=Projection(OLD))
    up.start()
    found = up.search(list(contents(20, seed=5).values()), 10)
    plain = up.gallery.search({NEW: queries()}, 10)[NEW]
    assert tuple(each.item_ids for each in found) == plain.item_ids


def test_the_plan_says_where_the_store_cannot_keep_the_length(tmp_path):
    class Cosine(MemoryGallery):
        @property
        def capabilities(self) -> Any:
            from dataclasses import replace

            return replace(super().capabilities, free_length=False)

    source = contents(300)
    up = imputing(tmp_path / "a", gallery=filled(source, Cosine(OLD)), source=source)
    written, note = notes_of(up)
    assert "300 items" in written
    assert "one length" in note
    assert 'strategy = "merge"' in note
    prefilled(up)
    lengths = np.linalg.norm(up.gallery.vectors(sorted(source), NEW).vectors, axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)
    assert notes_of(imputing(tmp_path / "b")) == [written]


def notes_of(up):
    """What is said of imputing; what a search costs is another matter."""
    return [note for note in up.plan().notes if "a search of the store" not in note]


def test_the_plan_counts_what_refreshes_will_write(tmp_path):
    source = contents(2500)
    notes = notes_of(imputing(tmp_path / "a", source=source, gallery=filled(source)))
    expected = sum(2500 - 250 * tenths for tenths in range(4, 10))
    assert f"up to {expected:,} vectors more" in notes[1]
    quiet = imputing(tmp_path / "b", source=source, gallery=filled(source), refresh=False)
    assert len(notes_of(quiet)) == 1


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
