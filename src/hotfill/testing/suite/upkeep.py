"""What operators and the engine ask of every store apart from items: counts, claims, rehearsals."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError
from hotfill.testing.models import NEW, OLD


def test_a_recount_says_what_the_count_says(store, rows):
    gallery = store.gallery(OLD, NEW)
    versions = gallery.upsert(["a", "b", "c"], rows(3, OLD), space=OLD)
    gallery.move(["a", "b"], rows(2, NEW), space=NEW, expected_versions=versions[:2])
    gallery.delete(["b"])
    assert gallery.recount() == {OLD: 1, NEW: 1}
    assert (gallery.count(OLD), gallery.count(NEW)) == (1, 1)
    assert (gallery.count_rows(OLD), gallery.count_rows(NEW)) == (1, 1)


def test_whoever_has_a_gallery_may_claim_it_again_and_give_it_back(store):
    gallery = store.gallery(OLD)
    for owner in ("first", "second"):
        gallery.claim(owner)
        gallery.claim(owner)
        gallery.release(owner)
    with pytest.raises(InputError, match="non-empty"):
        gallery.claim("")


def test_a_gallery_of_hotfills_own_passes_its_rehearsal_and_is_as_before(store, rows):
    gallery = store.gallery(OLD)
    vectors = rows(3, OLD)
    versions = gallery.upsert(["a", "b", "c"], vectors, space=OLD)
    assert gallery.rehearse_writes(NEW) == []
    assert gallery.rehearse_writes() == []
    assert gallery.remarks(NEW) == []
    assert gallery.spaces == (OLD,)
    found = gallery.vectors(["a", "b", "c"], OLD)
    np.testing.assert_array_equal(found.versions, versions)
    assert gallery.count(OLD) == 3
