from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError
from hotfill.ranking import lengthened


def test_the_cosine_of_lengthened_vectors_keeps_the_order_of_the_inner_product() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 7)) * rng.uniform(0.5, 1.5, size=(200, 1))
    longest = float(np.linalg.norm(rows, axis=1).max())
    stored = lengthened(rows, longest)
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-6)
    for query in rng.normal(size=(5, 7)):
        asked = np.append(query, 0) / np.linalg.norm(query)
        np.testing.assert_allclose(
            stored @ asked, rows @ query / (np.linalg.norm(query) * longest), atol=1e-6
        )


def test_a_vector_longer_than_the_longest_is_refused() -> None:
    with pytest.raises(InputError, match="length 1 at most, got one of 2"):
        lengthened(np.array([[2.0, 0.0]]), 1.0)
