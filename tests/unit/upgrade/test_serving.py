"""Searches and writes in every phase of an upgrade, against plain arithmetic."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from hotfill.errors import (
    ConfigError,
    DuplicateItemError,
    EmbedError,
    InputError,
    ModelMismatchError,
)
from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade import state
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.serving import Serving
from hotfill.upgrade.upgrade import Upgrade
from tests.unit.upgrade.small import NEW, OLD, Projection, contents, filled, half_done, upgrade

ITEMS = 300


@pytest.fixture
def parts(tmp_path):
    return served(tmp_path)


def served(folder, **changes):
    up = upgrade(
        folder, n=ITEMS, fit_items=200, old_embedder=Projection(OLD), fitting=None, **changes
    )
    return up, Serving(up.state)


def exact(model, source, content, k):
    ids = sorted(source)
    scores = Projection(model)([source[i] for i in ids]) @ Projection(model)([content])[0]
    best = np.argsort(-scores)[:k]
    return [ids[row] for row in best], scores[best]


def test_before_the_start_the_old_model_answers(parts):
    up, serving = parts
    query = contents(1, seed=3)["item-00000"]
    (result,) = serving.search([query], 5)
    ids, scores = exact(OLD, up.source, query, 5)
    assert (list(result.item_ids), result.query_model, result.phase) == (ids, OLD, Phase.PLANNED)
    np.testing.assert_allclose([hit.score for hit in result.hits], scores, atol=1e-6)


@pytest.mark.parametrize("strategy", ["merge", "prefill"])
def test_half_way_one_query_finds_items_of_both_models_each_once(tmp_path, strategy):
    up, serving = served(tmp_path, strategy=strategy)
    half_done(up)
    assert 0 < up.gallery.count(NEW, origin=NEW.fingerprint) < ITEMS
    query = contents(1, seed=3)["item-00000"]
    (result,) = serving.search([query], ITEMS)
    assert sorted(result.item_ids) == sorted(up.source)
    assert {hit.model for hit in result.hits} == ({OLD, NEW} if strategy == "merge" else {NEW})
    assert result.query_model == NEW
    scores = [hit.score for hit in result.hits]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("strategy", ["merge", "prefill"])
def test_the_new_models_own_vectors_keep_their_exact_scores_while_mixed(tmp_path, strategy):
    up, serving = served(tmp_path, strategy=strategy)
    half_done(up)
    query = contents(1, seed=3)["item-00000"]
    (result,) = serving.search([query], ITEMS)
    vector = Projection(NEW)([query])[0]
    for hit, item in zip(result.hits, up.gallery.get(result.item_ids), strict=True):
        if item.origin == NEW.fingerprint:
            expected = float(Projection(NEW)([up.source[hit.item_id]])[0] @ vector)
            assert hit.score == hit.raw_score == pytest.approx(expected, abs=1e-5)


def test_from_the_backfilled_gallery_on_answers_are_exactly_the_new_models(parts):
    up, serving = parts
    up.start()
    query = contents(1, seed=3)["item-00000"]
    ids, scores = exact(NEW, up.source, query, 7)
    for step in (lambda: None, up.verify, up.cutover, up.complete):
        step()
        (result,) = serving.search([query], 7)
        assert list(result.item_ids) == ids
        np.testing.assert_allclose([hit.score for hit in result.hits], scores, atol=1e-5)


@pytest.mark.parametrize("way_back", ["abort", "rollback"])
def test_after_the_way_back_answers_are_exactly_the_old_models(parts, way_back):
    up, serving = parts
    up.start()
    if way_back == "rollback":
        up.verify()
        up.cutover()
    getattr(up, way_back)()
    query = contents(1, seed=3)["item-00000"]
    ids, _ = exact(OLD, up.source, query, 7)
    assert list(serving.search([query], 7)[0].item_ids) == ids


def test_a_write_while_mixed_is_found_at_once_and_survives_the_way_back(parts):
    up, serving = parts
    half_done(up)
    fresh = contents(1, seed=8)["item-00000"]
    up.source["fresh"] = fresh
    serving.upsert(["fresh"], [fresh], [{"colour": "red"}])
    assert serving.search([fresh], 1)[0].hits[0].item_id == "fresh"
    assert serving.search([fresh], 3, where={"colour": "red"})[0].item_ids == ("fresh",)
    up.old_embedder = None  # the way back must not need it: the old vector was written beside
    up.abort()
    assert exact(OLD, up.source, fresh, 1)[0] == ["fresh"]
    assert serving.search([fresh], 1)[0].item_ids == ("fresh",)


def test_a_delete_is_gone_at_once_and_is_not_missed_by_verify(parts):
    up, serving = parts
    half_done(up)
    assert serving.delete(["item-00000", "no-such-item"]) == 1
    del up.source["item-00000"]
    query = contents(1, seed=3)["item-00000"]
    assert "item-00000" not in serving.search([query], ITEMS)[0].item_ids
    up.start()
    assert up.verify().passed


def test_a_query_of_the_wrong_model_is_refused(parts):
    _, serving = parts
    query = Projection(NEW)([contents(1)["item-00000"]])
    with pytest.raises(ModelMismatchError, match="expected model old@1"):
        serving.search_vectors(query, NEW, 3)


def test_k_below_one_is_refused(parts):
    _, serving = parts
    with pytest.raises(InputError, match="k must be >= 1"):
        serving.search([contents(1)["item-00000"]], 0)


def test_as_many_items_as_a_store_can_find_are_found_half_way_too(tmp_path):
    """Sides whose best hits are scored again are searched deeper than asked."""

    class Few(MemoryGallery):
        @property
        def capabilities(self):
            return replace(super().capabilities, most_hits=60)

    given = {"old_embedder": Projection(OLD), "fitting": None, "strategy": "merge"}
    source = contents(120)
    up = upgrade(tmp_path, source=source, gallery=filled(source, Few(OLD)), fit_items=110, **given)
    half_done(up)
    prepared = up.state.view.scorer.prepare(Projection(NEW)([source["item-00000"]]))
    assert prepared.depth(40) > 60
    assert len(up.search(source["item-00000"], 60).hits) == 60
    with pytest.raises(InputError, match="at most 60 items"):
        up.search(source["item-00000"], 61)


def test_without_an_embedder_of_the_phase_the_error_names_it(parts):
    up, _ = parts
    up.old_embedder = None
    with pytest.raises(ConfigError, match="an embedder of old@1"):
        up.search(contents(1)["item-00000"], 1)


def test_searches_by_four_threads_during_a_whole_upgrade_never_fail_or_lose_an_item(parts):
    up, serving = parts
    done, faults = threading.Event(), []
    query = contents(1, seed=3)["item-00000"]
    searches = []

    def search():
        while not done.is_set():
            try:
                (result,) = serving.search([query], ITEMS)
            except Exception as error:
                faults.append(repr(error))
                return
            searches.append(result.phase)
            if sorted(result.item_ids) != sorted(up.source):
                faults.append(f"{len(set(result.item_ids))} of {ITEMS} in {result.phase}")

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        up.start()
        up.verify()
        up.cutover()
        up.complete()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert faults == []
    assert Phase.BACKFILLING in searches


def test_a_delete_with_bad_ids_leaves_no_trace(parts):
    up, serving = parts
    with pytest.raises(DuplicateItemError):
        serving.delete(["item-00000", "item-00000"])
    assert up.journal.deleted(["item-00000"]) == frozenset()
    assert up.gallery.get(["item-00000"])[0] is not None


@pytest.mark.parametrize("mixed", [False, True])
def test_nothing_asked_or_written_is_no_error_and_reaches_no_embedder(parts, mixed):
    up, serving = parts
    if mixed:
        half_done(up)
    assert serving.search([], 3) == []
    serving.upsert([], [])
    assert serving.delete([]) == 0
    assert len(up.gallery) == ITEMS


def test_another_number_of_contents_than_ids_is_refused_and_nothing_written(parts):
    up, serving = parts
    with pytest.raises(InputError):
        serving.upsert(["a", "b"], [contents(1)["item-00000"]])
    assert len(up.gallery) == ITEMS


def test_a_write_that_one_of_the_models_cannot_embed_writes_nothing(parts, tmp_path):
    up, _ = parts
    half_done(up)
    row = contents(1, seed=8)["item-00000"]
    for broken in (OLD, NEW):
        up.old_embedder, up.new_embedder = [
            Projection(model, broken={float(row[0])} if model == broken else set())
            for model in (OLD, NEW)
        ]
        with pytest.raises(EmbedError):
            up.upsert(["fresh"], [row])
        assert up.gallery.get(["fresh"]) == [None]


def test_another_process_that_did_not_poll_in_time_notices_a_dropped_space(
    parts, tmp_path, monkeypatch
):
    monkeypatch.setattr(state, "POLL_SECONDS", 3600.0)  # only what it meets tells it
    up, _ = parts
    given = {"old": Projection(OLD), "new": Projection(NEW), "source": up.source}
    elsewhere = Upgrade(up.gallery, **given, folder=tmp_path)
    elsewhere.search(contents(1, seed=3)["item-00000"], 5)
    query = contents(1, seed=3)["item-00000"]
    up.start()
    up.verify()
    up.cutover()
    up.complete()  # the old space is gone: a search by the old view finds no such space
    ids, _ = exact(NEW, up.source, query, 5)
    found = elsewhere.search(query, 5)
    assert (list(found.item_ids), found.phase) == (ids, Phase.COMPLETED)


def test_an_item_written_anew_was_not_deleted_and_is_no_dead_letter(parts):
    up, serving = parts
    names = ["item-00003", "item-00005"]
    up.new_embedder = Projection(NEW, {float(up.source[name][0]) for name in names})
    assert up.start().dead_letters == 2
    serving.delete(["item-00001", names[0]])
    assert up.status().dead_letters == 1
    assert up.journal.deleted(["item-00001", names[0]]) == {"item-00001", names[0]}
    for name in ("item-00001", names[1]):
        up.source[name] = contents(1, seed=len(name))["item-00000"]
        serving.upsert([name], [up.source[name]])
    assert up.status().dead_letters == 0
    assert up.journal.deleted(["item-00001", names[0]]) == {names[0]}
    up.gallery.delete(["item-00001"])  # lost, and no longer excused
    assert up.verify().missing_ids == ("item-00001",)


@pytest.mark.parametrize("moment", ["after the write", "before the delete"])
def test_a_delete_and_a_write_at_once_never_leave_a_missing_item_unexplained(parts, moment):
    up, serving = parts
    half_done(up)
    name = "item-00001"
    serving.delete([name])
    honest = {"upsert": up.gallery.upsert, "delete": up.gallery.delete}
    meanwhile = []

    def upsert(*args, **kwargs):
        found = honest["upsert"](*args, **kwargs)
        if moment == "after the write" and not meanwhile:
            meanwhile.append(1)
            serving.delete([name])
        return found

    def delete(*args, **kwargs):
        if moment == "before the delete" and not meanwhile:
            meanwhile.append(1)
            serving.upsert([name], [up.source[name]])
        return honest["delete"](*args, **kwargs)

    up.gallery.upsert, up.gallery.delete = upsert, delete
    if moment == "after the write":
        serving.upsert([name], [up.source[name]])
    else:
        serving.delete([name])
    assert meanwhile
    assert up.gallery.get([name]) == [None]
    assert up.journal.deleted([name]) == {name}


def test_metadata_changes_in_every_phase_and_moves_keep_it(parts):
    up, serving = parts
    serving.set_metadata(["item-00000", "nobody"], [{"colour": "red"}, {"colour": "red"}])
    half_done(up)
    serving.set_metadata(["item-00001"], [{"colour": "red"}])
    up.start()
    query = contents(1, seed=3)["item-00000"]
    (found,) = serving.search([query], ITEMS, where={"colour": "red"})
    assert set(found.item_ids) == {"item-00000", "item-00001"}
    assert {hit.model for hit in found.hits} == {NEW}
    up.verify()
    up.cutover()
    serving.set_metadata(["item-00000"], [{"colour": "blue"}])
    (found,) = serving.search([query], ITEMS, where={"colour": "red"})
    assert found.item_ids == ("item-00001",)
    with pytest.raises(InputError):
        serving.set_metadata(["item-00000"], [])
