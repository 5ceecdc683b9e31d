"""Samples of a live gallery: what both models see, and nothing is written."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from hotfill.errors import ConfigError, InputError
from hotfill.rehearsal.sampler import Sampler
from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade import own_vectors
from hotfill.upgrade.canaries import GivenQuery
from hotfill.upgrade.parts import GivenParts
from hotfill.upgrade.plan import Plan
from tests.unit.upgrade.small import (
    NEW,
    OLD,
    Contents,
    Projection,
    Rough,
    contents,
    half_done,
    stay_imputed,
    upgrade,
)

ITEMS = 500


@pytest.fixture(scope="module")
def source():
    return contents(ITEMS)


@pytest.fixture
def gallery(source):
    """Every item has a colour, but for each seventh."""
    found = MemoryGallery(OLD)
    colours = [{"colour": "red" if n % 3 else "blue"} if n % 7 else {} for n in range(ITEMS)]
    vectors = Projection(OLD)(list(source.values()))
    found.upsert(list(source), vectors, space=OLD, metadata=colours)
    return found


def sampler(gallery, source, **more):
    return Sampler(gallery, Plan(OLD, NEW, batch_size=64), source, Projection(NEW), **more)


def test_rows_of_both_models_are_of_the_same_items(gallery, source):
    done = []
    taken = sampler(gallery, source).take(350, on_batch=done.append)
    assert len(set(taken.item_ids)) == 350
    rows = [source[name] for name in taken.item_ids]
    np.testing.assert_allclose(taken.old, Projection(OLD)(rows), atol=1e-6)
    np.testing.assert_allclose(taken.new, Projection(NEW)(rows), atol=1e-6)
    assert (taken.queries_old, taken.labels, dict(taken.qrels)) == (None, None, {})
    assert done[-1] == 350
    assert gallery.spaces == (OLD,)


def test_the_same_seed_draws_the_same_items_and_others_are_drawn_by_another(gallery, source):
    first, second = (sampler(gallery, source).take(300).item_ids for _ in range(2))
    assert first == second
    other = Sampler(gallery, Plan(OLD, NEW, seed=1), source, Projection(NEW)).take(300)
    assert set(other.item_ids) != set(first)


def test_what_answers_a_given_query_is_in_the_sample(gallery, source):
    answers = list(source)[:5]
    asked = [
        GivenQuery(source[answers[0]], (answers[1], "deleted-long-ago")),
        GivenQuery(source[answers[2]]),
        GivenQuery(source[answers[3]], (answers[4], answers[1])),
    ]
    some = sampler(gallery, source, old_embedder=Projection(OLD))
    taken = some.take(300, queries=asked)
    assert len(taken.item_ids) == 300
    contents_asked = [each.content for each in asked]
    np.testing.assert_allclose(taken.queries_old, Projection(OLD)(contents_asked), atol=1e-6)
    np.testing.assert_allclose(taken.queries_new, Projection(NEW)(contents_asked), atol=1e-6)
    named = {
        int(query): {taken.item_ids[int(row)] for row in grades}
        for query, grades in taken.qrels.items()
    }
    assert named == {0: {answers[1]}, 2: {answers[4], answers[1]}}


def test_labels_are_the_metadata_and_items_without_are_left_out(gallery, source):
    taken = sampler(gallery, source).take(ITEMS, label_key="colour")
    assert len(taken.item_ids) == sum(bool(n % 7) for n in range(ITEMS))
    for name, label in zip(taken.item_ids, taken.labels, strict=True):
        assert gallery.get([name])[0].metadata["colour"] == label


def test_a_small_model_asks_by_items_that_leave_the_gallery(gallery, source):
    small = {OLD: Rough(OLD, "small-old"), NEW: Rough(NEW, "small-new")}
    taken = sampler(gallery, source, query_embedders=small).take(350, label_key="colour")
    assert len(taken.queries_new) == len(taken.queries_old) == len(taken.query_labels) > 30
    assert taken.queries_from_items
    plain = sampler(gallery, source, query_embedders=small).take(400)
    assert (len(plain.item_ids), len(plain.queries_new), plain.query_labels) == (400, 40, None)
    every = {tuple(np.round(small[NEW]([row])[0], 4)): name for name, row in source.items()}
    asking = [every[tuple(np.round(row, 4))] for row in taken.queries_new]
    assert not set(asking) & set(taken.item_ids)
    rows = [source[name] for name in asking]
    np.testing.assert_allclose(taken.queries_old, small[OLD](rows), atol=1e-6)
    colours = [gallery.get([name])[0].metadata["colour"] for name in asking]
    assert list(taken.query_labels) == colours


def test_items_that_have_moved_are_sampled_by_their_old_vectors(gallery, source):
    gallery.add_space(NEW)
    names = list(source)[:200]
    versions = np.array([state.version for state in gallery.get(names)])
    new = Projection(NEW)([source[name] for name in names])
    gallery.move(names, new, space=NEW, expected_versions=versions)
    taken = sampler(gallery, source).take(ITEMS)
    assert set(taken.item_ids) == set(source)
    rows = [source[name] for name in taken.item_ids]
    np.testing.assert_allclose(taken.old, Projection(OLD)(rows), atol=1e-6)


# A gallery in which items stayed imputed --------------------------------------------------------


def assert_own(taken, source):
    """Every old vector is what the old model makes of the item."""
    rows = [source[name] for name in taken.item_ids]
    np.testing.assert_allclose(taken.old, Projection(OLD)(rows), atol=1e-6)


def test_imputed_vectors_are_never_sampled(gallery, source):
    names = list(source)
    stay_imputed(gallery, names[:150])
    asked = [GivenQuery(source[names[0]], (names[1], names[160]))]
    taken = sampler(gallery, source, old_embedder=None).take(350)
    assert (taken.imputed_items, set(taken.item_ids)) == (150, set(names[150:]))
    assert_own(taken, source)
    judged = sampler(gallery, source, old_embedder=Projection(OLD)).take(300, queries=asked)
    assert names[1] not in judged.item_ids
    assert [judged.item_ids[int(row)] for row in judged.qrels["0"]] == [names[160]]


def test_too_few_own_vectors_are_refused_with_the_way_out(gallery, source):
    stay_imputed(gallery, list(source)[:201])
    new = Projection(NEW)
    with pytest.raises(InputError, match=r"299 of the items .* where 300 are needed; 201") as told:
        Sampler(gallery, Plan(OLD, NEW), source, new).take(400)
    assert "hotfill start --more" in str(told.value)
    assert new.calls == 0


def test_the_old_model_makes_the_vectors_of_a_gallery_that_has_too_few(gallery, source):
    stay_imputed(gallery, list(source)[:450])
    taken = sampler(gallery, source, old_embedder=Projection(OLD)).take(400)
    assert (len(taken.item_ids), taken.imputed_items) == (400, 450)
    assert_own(taken, source)


def test_imputed_items_that_have_moved_are_known_by_the_journal(tmp_path):
    up = upgrade(tmp_path, n=500, strategy="merge", batch_size=50)
    imputed = sorted(up.source)[::4]
    stay_imputed(up.gallery, imputed)
    half_done(up)
    assert 0 < up.gallery.count(NEW) < 500
    taken = Sampler.of(up).take(375)
    assert (taken.imputed_items, len(taken.item_ids)) == (125, 375)
    assert_own(taken, up.source)


def test_the_journal_is_opened_once_for_all_pages_of_a_sample(tmp_path, monkeypatch):
    up = upgrade(tmp_path, n=500, strategy="merge", batch_size=50)
    stay_imputed(up.gallery, sorted(up.source)[::4])
    half_done(up)
    monkeypatch.setattr(own_vectors, "pages_of", partial(own_vectors.pages_of, limit=20))
    looks, look = [], GivenParts.look
    monkeypatch.setattr(GivenParts, "look", lambda self: looks.append(self) or look(self))
    with upgrade(tmp_path, source=up.source, gallery=up.gallery) as looking:
        assert Sampler.of(looking).take(375).imputed_items == 125
    assert len(looks) == 1


def test_bad_requests_are_refused_before_anything_is_embedded(gallery, source):
    new = Projection(NEW)
    asked = [GivenQuery(source["item-00000"])]

    def taking(gallery=gallery, items=400, **words):
        return Sampler(gallery, Plan(OLD, NEW), source, new).take(items, **words)

    with pytest.raises(ConfigError, match=r"\[old\] needs an embedder"):
        taking(queries=asked)
    with pytest.raises(ConfigError, match="leave one of the two out"):
        taking(queries=asked, label_key="colour")
    with pytest.raises(ConfigError, match="but the store holds"):
        taking(MemoryGallery(NEW))
    with pytest.raises(InputError, match="299 items are too few"):
        taking(items=299)
    with pytest.raises(InputError, match="no item has 'size' in its metadata; keys there: colour"):
        taking(label_key="size")
    assert new.calls == 0


def test_items_that_cannot_be_embedded_are_left_out(gallery, source):
    broken = {float(source["item-00003"][0])}
    lacking = Contents({name: row for name, row in source.items() if name != "item-00009"})
    some = Sampler(gallery, Plan(OLD, NEW), lacking, Projection(NEW, broken))
    assert set(some.take(ITEMS).item_ids) == set(source) - {"item-00003", "item-00009"}
