"""Searches against an exact oracle, and filters."""

import numpy as np
import pytest

from hotfill.stores import Range
from hotfill.testing.models import NEW, NEWEST, OLD
from hotfill.types import ModelId


def scores_of(query, vectors, metric):
    """Compare one query with each vector, slowly and in double precision."""
    query, vectors = query.astype(np.float64), vectors.astype(np.float64)
    if metric == "l2":
        return -np.sqrt(((vectors - query) ** 2).sum(axis=1))
    scores = vectors @ query
    if metric == "cosine":
        scores /= np.linalg.norm(query) * np.linalg.norm(vectors, axis=1)
    return scores


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_results_and_scores_equal_those_of_exhaustive_search(store, metric):
    model = ModelId("m", "1", 7, metric=metric, normalised=False)
    random = np.random.default_rng(1)
    vectors, queries = random.normal(size=(60, 7)) * 3, random.normal(size=(4, 7)) * 3
    names = [f"item{i}" for i in range(60)]
    gallery = store.gallery(model)
    gallery.upsert(names, vectors, space=model)
    hits = gallery.search({model: queries}, 9)[model]
    assert len(hits.item_ids) == len(hits.scores) == 4
    for query, found, scores in zip(queries, hits.item_ids, hits.scores, strict=True):
        expected = scores_of(query, vectors, metric)
        best = np.argsort(-expected)[:9]
        assert list(found) == [names[i] for i in best]
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected[best], rtol=1e-4, atol=1e-5)


def test_both_sides_are_searched_exactly_in_the_middle_of_a_move(store, rows):
    gallery, old, new = store.gallery(OLD, NEW), rows(40, OLD), rows(40, NEW)
    names = [f"item{i}" for i in range(40)]
    versions = gallery.upsert(names, old, space=OLD)
    gallery.move(names[::2], new[::2], space=NEW, expected_versions=versions[::2])
    queries = {OLD: rows(3, OLD), NEW: rows(3, NEW)}
    hits = store.again(gallery).search(queries, 6)
    for space, vectors, there in ((OLD, old, range(1, 40, 2)), (NEW, new, range(0, 40, 2))):
        for row, query in enumerate(queries[space]):
            expected = scores_of(query, vectors, space.metric)
            best = sorted(there, key=lambda i, s=expected: -s[i])[:6]
            assert list(hits[space].item_ids[row]) == [names[i] for i in best]
            np.testing.assert_allclose(
                hits[space].scores[row], expected[best], rtol=1e-4, atol=1e-5
            )


def test_asking_for_more_than_there_is_gives_what_there_is(store, rows):
    gallery = store.gallery(OLD, NEW, NEWEST)
    versions = gallery.upsert(["a", "b", "c"], rows(3, OLD), space=OLD)
    gallery.move(["c"], rows(1, NEW), space=NEW, expected_versions=versions[2:])
    hits = gallery.search({space: rows(2, space) for space in gallery.spaces}, 1000)
    assert [sorted(found) for found in hits[OLD].item_ids] == [["a", "b"]] * 2
    assert [len(scores) for scores in hits[OLD].scores] == [2, 2]
    assert hits[NEW].item_ids == (("c",), ("c",))
    assert hits[NEWEST].item_ids == ((), ())
    assert [scores.dtype for scores in hits[NEWEST].scores] == [np.float32] * 2


def test_only_the_sides_asked_for_are_searched(store, rows):
    gallery = store.gallery(OLD, NEW)
    gallery.upsert(["a"], rows(1, OLD), space=OLD)
    assert set(gallery.search({OLD: rows(1, OLD)}, 1)) == {OLD}
    assert set(gallery.search({NEW: rows(1, NEW)}, 1)) == {NEW}


PEOPLE = {
    "ann": {"age": 30, "city": "Ulm", "member": True},
    "bob": {"age": 41.5, "city": "Graz", "member": False},
    "cem": {"age": 30.0, "city": "Ulm"},
    "dan": {"city": "ulm", "age": "30"},
    "eve": {"member": 1, "a.b": "x", "age": -2},
    "fay": {},
}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, ["ann", "bob", "cem", "dan", "eve", "fay"]),
        ({"city": "Ulm"}, ["ann", "cem"]),
        ({"city": ["Ulm", "Graz"]}, ["ann", "bob", "cem"]),
        ({"city": ("ulm", 5, True)}, ["dan"]),
        ({"city": []}, []),
        ({"age": 30}, ["ann", "cem"]),
        ({"age": 30.0}, ["ann", "cem"]),
        ({"age": "30"}, ["dan"]),
        ({"age": [41.5, "30", -2]}, ["bob", "dan", "eve"]),
        ({"age": Range(at_least=30)}, ["ann", "bob", "cem"]),
        ({"age": Range(at_most=30)}, ["ann", "cem", "eve"]),
        ({"age": Range(at_least=30.5, at_most=41.5)}, ["bob"]),
        ({"age": Range()}, ["ann", "bob", "cem", "eve"]),
        ({"member": True}, ["ann"]),
        ({"member": False}, ["bob"]),
        ({"member": 1}, ["eve"]),
        ({"member": Range(at_least=0)}, ["eve"]),
        ({"city": "Ulm", "member": True}, ["ann"]),
        ({"a.b": "x"}, ["eve"]),
        ({"no such key": "x"}, []),
    ],
)
def test_filters_mean_the_same_in_every_store(store, rows, where, expected):
    gallery = store.gallery(OLD, NEW)
    versions = gallery.upsert(list(PEOPLE), rows(6, OLD), space=OLD, metadata=list(PEOPLE.values()))
    gallery.move(["bob", "cem"], rows(2, NEW), space=NEW, expected_versions=versions[1:3])
    hits = gallery.search({OLD: rows(1, OLD), NEW: rows(1, NEW)}, 10, where=where)
    assert sorted(hits[OLD].item_ids[0] + hits[NEW].item_ids[0]) == expected
    assert set(hits[NEW].item_ids[0]) <= {"bob", "cem"}


def test_large_whole_numbers_are_told_apart(store, rows):
    gallery = store.gallery(OLD)
    gallery.upsert(["a", "b"], rows(2, OLD), space=OLD, metadata=[{"n": 2**62}, {"n": 2**62 + 1}])
    hits = gallery.search({OLD: rows(1, OLD)}, 5, where={"n": 2**62 + 1})
    assert hits[OLD].item_ids == (("b",),)
