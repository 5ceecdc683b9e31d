from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.errors import ShapeError
from hotfill.metrics import negative_flips


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_a_flip_is_right_before_and_wrong_now(pairs) -> None:
    before, after = (np.array(column) for column in zip(*pairs, strict=True))
    flips = negative_flips(before, after)
    assert flips.tolist() == [was and not now for was, now in pairs]


def test_other_shapes_and_types_are_refused() -> None:
    right = np.array([True, False])
    for wrong in (np.array([True]), np.array([1, 0]), np.array([[True, False]])):
        with pytest.raises(ShapeError, match="negative flips"):
            negative_flips(right, wrong)
