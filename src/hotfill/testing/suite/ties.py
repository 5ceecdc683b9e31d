"""Results do not hang on rounding: equal scores are ordered by a stated rule, at the cut too."""

import numpy as np
import pytest

from hotfill.testing.models import NEW, NEWEST, OLD, UP

CONTENTS = 12
COPIES = 4  # of each content, under other ids


def filled(store, model, seed):
    """A gallery whose items come in equal fours, written in some order; and the contents."""
    contents = np.random.default_rng(3).normal(size=(CONTENTS, model.dimension)).astype(np.float32)
    names = [f"{copy}-{content:02}" for content in range(CONTENTS) for copy in range(COPIES)]
    rows = np.repeat(contents, COPIES, axis=0)
    order = np.random.default_rng(seed).permutation(len(names))
    gallery = store.gallery(model)
    gallery.upsert([names[i] for i in order], rows[order], space=model)
    return gallery, contents


def exact(query, contents, metric):
    query, contents = query.astype(np.float64), contents.astype(np.float64)
    if metric == "l2":
        return -np.linalg.norm(contents - query, axis=1)
    scores = contents @ query
    if metric == "cosine":
        scores /= np.linalg.norm(query) * np.linalg.norm(contents, axis=1)
    return scores


@pytest.mark.parametrize("model", [OLD, NEW, NEWEST], ids=["cosine", "l2", "dot"])
@pytest.mark.parametrize("k", [1, 6, 40])
def test_equal_items_come_in_the_order_of_their_ids_however_they_were_written(store, model, k):
    queries = np.random.default_rng(4).normal(size=(3, model.dimension)).astype(np.float32)
    for seed in (1, 2):
        gallery, contents = filled(store, model, seed)
        hits = gallery.search({model: queries}, k)[model]
        for query, found, scores in zip(queries, hits.item_ids, hits.scores, strict=True):
            best = np.argsort(-exact(query, contents, model.metric))
            expected = [f"{copy}-{content:02}" for content in best for copy in range(COPIES)]
            assert list(found) == expected[:k]
            assert (np.diff(scores) <= 0).all()


def test_among_equals_the_models_own_vector_comes_before_one_that_a_transform_made(store, rows):
    gallery, vector = store.gallery(OLD, NEW), rows(1, NEW)
    names = ["d", "b", "a", "c"]
    versions = gallery.upsert(names, rows(4, OLD), space=OLD)
    same = np.repeat(vector, 2, axis=0)
    gallery.move(["a", "c"], same, space=NEW, expected_versions=versions[2:], origin=UP)
    gallery.move(["d", "b"], same, space=NEW, expected_versions=versions[:2])
    hits = gallery.search({NEW: vector}, 4)[NEW]
    assert hits.item_ids == (("b", "d", "a", "c"),)
    assert gallery.search({NEW: vector}, 2)[NEW].item_ids == (("b", "d"),)


def test_a_filter_does_not_change_the_order_of_equals(store, rows):
    gallery, vector = store.gallery(OLD), rows(1, OLD)
    names = [f"{i:02}" for i in range(30)]
    shuffled = np.random.default_rng(0).permutation(names).tolist()
    gallery.upsert(
        shuffled,
        np.repeat(vector, 30, axis=0),
        space=OLD,
        metadata=[{"even": int(name) % 2 == 0} for name in shuffled],
    )
    hits = gallery.search({OLD: vector}, 5, where={"even": True})[OLD]
    assert hits.item_ids == (("00", "02", "04", "06", "08"),)
