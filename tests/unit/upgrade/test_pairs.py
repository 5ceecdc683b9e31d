"""Items embedded by both models; what cannot be embedded is left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfill import retry as retrying
from hotfill.errors import EmbedError, ShapeError
from hotfill.upgrade.pairs import paired_vectors
from tests.unit.upgrade.small import NEW, OLD, Contents, Projection, contents, filled


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(retrying, "RETRY_SECONDS", (0.0, 0.0))


def pairs(gallery, ids, source, embedder, batch_size=7):
    found = paired_vectors(gallery, ids, OLD, source, embedder, batch_size)
    assert len(found.item_ids) == len(found.old) == len(found.new)
    assert set(found.item_ids) <= set(ids)
    return found.old, found.new


def test_rows_of_both_sides_are_of_the_same_items():
    source = contents(30)
    ids = sorted(source)[3:25]
    old, new = pairs(filled(source), ids, source, Projection(NEW))
    rows = [source[name] for name in ids]
    np.testing.assert_allclose(old, Projection(OLD)(rows), atol=1e-6)
    np.testing.assert_allclose(new, Projection(NEW)(rows), atol=1e-6)


def test_items_without_content_or_without_an_old_vector_are_left_out():
    source = contents(10)
    gallery = filled(source)
    ids = [*sorted(source), "never-there"]
    gallery.delete(["item-00004"])
    known = Contents({name: row for name, row in source.items() if name != "item-00002"})
    old, new = pairs(gallery, ids, known, Projection(NEW))
    kept = [name for name in sorted(source) if name not in ("item-00002", "item-00004")]
    np.testing.assert_allclose(new, Projection(NEW)([source[name] for name in kept]), atol=1e-6)
    assert len(old) == 8


def test_nothing_to_pair_gives_empty_arrays_of_the_right_width():
    old, new = pairs(filled(contents(3)), [], contents(3), Projection(NEW))
    assert (old.shape, new.shape) == ((0, 4), (0, 6))


@given(broken=st.sets(st.integers(0, 19), max_size=12), named=st.booleans(), nan=st.booleans())
@settings(deadline=None)
def test_items_that_cannot_be_embedded_are_left_out_and_the_others_kept(broken, named, nan):
    source = contents(20)
    ids = sorted(source)
    bad = {float(source[ids[i]][0]) for i in broken}
    embedder = Faulty(bad, named, nan)
    old, new = pairs(filled(source), ids, source, embedder, batch_size=20)
    kept = [name for i, name in enumerate(ids) if i not in broken]
    np.testing.assert_allclose(new, Projection(NEW)([source[name] for name in kept]), atol=1e-6)
    np.testing.assert_allclose(old, Projection(OLD)([source[name] for name in kept]), atol=1e-6)


class Faulty:
    """Fails for some contents: by an error that names them or not, or by NaN."""

    model_id = NEW

    def __init__(self, bad, named, nan):
        self.bad, self.named, self.nan = bad, named, nan

    def __call__(self, rows):
        wrong = [i for i, row in enumerate(rows) if float(row[0]) in self.bad]
        if wrong and not self.nan:
            if self.named:
                raise EmbedError("cannot read", rows=wrong, retryable=False)
            raise RuntimeError("cannot read something")
        vectors = Projection(NEW)(rows)
        vectors[wrong] = np.nan
        return vectors


def test_an_embedder_that_fails_for_everything_is_told_by_its_own_error():
    source = contents(20)
    bad = {float(row[0]) for row in source.values()}
    with pytest.raises(RuntimeError, match="cannot read something"):
        pairs(filled(source), sorted(source), source, Faulty(bad, named=False, nan=False))


def test_an_outage_is_no_items_fault():
    calls = []

    def down(rows):
        calls.append(len(rows))
        raise EmbedError("the endpoint is down", retryable=True)

    source = contents(20)
    with pytest.raises(EmbedError, match="endpoint is down"):
        pairs(filled(source), sorted(source), source, _calling(down))
    assert calls == [7, 7, 7]  # tried again, not narrowed down


def test_another_dimension_is_told_at_once():
    source = contents(20)
    with pytest.raises(ShapeError, match=r"expected shape \(n, 6\)"):
        pairs(
            filled(source),
            sorted(source),
            source,
            _calling(lambda rows: np.ones((len(rows), 5), np.float32)),
        )


def _calling(function):
    function.model_id = NEW
    return function
