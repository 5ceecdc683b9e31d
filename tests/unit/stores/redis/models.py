"""Spaces and documents of the tests."""

import numpy as np

from hotfill.types import ModelId

OLD = ModelId("old", "1", 3, normalised=False)
NEW = ModelId("new", "1", 2, metric="l2", normalised=False)
ROWS = np.array([[2, 0, 0], [0, 3, 0], [0, 0, 4], [1, 1, 0]], dtype=np.float32)
NEW_ROWS = np.array([[1, 0], [0, 1], [1, 1], [2, 2]], dtype=np.float32)
NAMES = [f"x {n}" for n in range(4)]


def theirs(n):
    """What an application keeps with a vector; a hash has only those that are texts and numbers."""
    return {
        "colour": ["red", "Red", "light blue", "a{b}|c-d"][n],
        "price": [1, 2.5, -3, 12345678901234567][n],
        "content": f'text {n} it\'s "quoted" @ {{1|2}}',
        "picture": np.array([n, 1], dtype=np.float32),
        "_private": f"theirs {n}",
        "version": "theirs",
        "tags": ["x", {"y": 1}],
        "metadata": {"source": f"file{n % 2}.txt", "page": n, "loc": {"from": n}, "none": None},
        "literal.dot": f"d{n}",
        "new": n % 2 == 0,
    }
