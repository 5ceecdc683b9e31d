from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfill.errors import InputError, ShapeError
from hotfill.metrics import ann_recall

IDS = st.lists(st.integers(0, 9), unique=True, max_size=8)


@settings(deadline=None)
@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=4), st.integers(1, 9))
def test_it_is_the_share_of_the_exact_answers_found(pairs, k) -> None:
    shares = ann_recall([found for found, _ in pairs], [exact for _, exact in pairs], k)
    for share, (found, exact) in zip(shares, pairs, strict=True):
        hits = sum(1 for item in exact[:k] if item in found[:k])
        assert share == (hits / min(k, len(exact)) if exact else 1.0)


def test_arrays_of_ids_work_too() -> None:
    exact = np.array([[1, 2, 3], [4, 5, 6]])
    assert ann_recall(exact, exact, 3).tolist() == [1.0, 1.0]
    assert ann_recall(exact[::-1], exact, 2).tolist() == [0.0, 0.0]


def test_lists_for_other_queries_are_refused() -> None:
    with pytest.raises(ShapeError, match="for 2 queries, got 1"):
        ann_recall([[1]], [[1], [2]], 1)
    with pytest.raises(InputError, match="k must be >= 1"):
        ann_recall([[1]], [[1]], 0)
