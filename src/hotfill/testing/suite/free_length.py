"""Vectors that a transform placed: longer or shorter than the model's own, and compared so."""

import numpy as np

from hotfill.testing.models import OLD, UP
from hotfill.types import ModelId

COSINE = ModelId("new", "1", 4)


def test_an_imputed_vector_is_compared_by_its_inner_product_where_the_store_can(store, rows):
    gallery = store.gallery(OLD, COSINE)
    versions = gallery.upsert(["a", "b", "c"], rows(3, OLD), space=OLD)
    query = np.array([[1, 0, 0, 0]], np.float32)
    own = np.array([[0.9, np.sqrt(1 - 0.81), 0, 0]], np.float32)
    placed = np.array([[0.96, 0.8, 0, 0], [0.3, 0.2, 0, 0]], np.float32)
    gallery.move(["a", "b"], placed, space=COSINE, expected_versions=versions[:2], origin=UP)
    gallery.move(["c"], own, space=COSINE, expected_versions=versions[2:])
    free = gallery.keeps_length(COSINE)
    if not free:
        placed /= np.linalg.norm(placed, axis=1, keepdims=True)
    expected = dict(zip("abc", np.append(placed, own, axis=0)[:, 0].tolist(), strict=True))
    for again in (False, True):
        gallery = store.again(gallery) if again else gallery
        hits = gallery.search({COSINE: query}, 3)[COSINE]
        assert hits.item_ids == (tuple(sorted(expected, key=lambda name: -expected[name])),)
        np.testing.assert_allclose(
            hits.scores[0], [expected[name] for name in hits.item_ids[0]], atol=1e-5
        )
    gallery.optimise()
    assert gallery.search({COSINE: query}, 3)[COSINE].item_ids == hits.item_ids


def test_the_models_own_vectors_have_unit_length_however_they_were_given(store, rows):
    gallery = store.gallery(OLD, COSINE)
    versions = gallery.upsert(["a"], rows(1, OLD), space=OLD)
    given = np.array([[3, 4, 0, 0]], np.float32)
    gallery.move(["a"], given, space=COSINE, expected_versions=versions)
    np.testing.assert_allclose(gallery.vectors(["a"], COSINE).vectors, given / 5, atol=1e-6)


def test_hits_tell_what_made_their_vectors(store, rows):
    gallery = store.gallery(OLD, COSINE)
    versions = gallery.upsert(["a", "b", "c"], rows(3, OLD), space=OLD)
    gallery.move(["a"], rows(1, COSINE), space=COSINE, expected_versions=versions[:1], origin=UP)
    gallery.move(["b"], rows(1, COSINE), space=COSINE, expected_versions=versions[1:2])
    found = gallery.search({OLD: rows(2, OLD), COSINE: rows(2, COSINE)}, 3, origins=True)
    made_by = {"a": UP, "b": COSINE.fingerprint, "c": OLD.fingerprint}
    for hits in found.values():
        expected = tuple(tuple(made_by[each] for each in ids) for ids in hits.item_ids)
        assert hits.origins == expected
