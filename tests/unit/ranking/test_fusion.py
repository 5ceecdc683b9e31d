from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError
from hotfill.ranking import SideHits, reciprocal_rank_fusion


def side(*names: str) -> SideHits:
    scores = np.arange(len(names), 0, -1).astype(np.float32)
    return SideHits(names, scores, scores)


def test_sides_take_turns_whatever_their_scores() -> None:
    hits = reciprocal_rank_fusion([side("b", "c"), side("a", "d", "e")], 10)
    assert hits.item_ids == ("a", "b", "c", "d", "e")
    np.testing.assert_allclose(hits.scores, [1 / 61, 1 / 61, 1 / 62, 1 / 62, 1 / 63])


def test_a_constant_that_divides_by_zero_is_refused() -> None:
    with pytest.raises(InputError, match="above -1"):
        reciprocal_rank_fusion([side("a")], 1, constant=-1)
