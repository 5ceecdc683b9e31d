"""Spaces of the tests."""

import numpy as np

from hotfill.types import ModelId

OLD = ModelId("old", "1", 3)
NEW = ModelId("new", "1", 2, metric="l2", normalised=False)
ROWS = np.array([[2, 0, 0], [0, 3, 0], [0, 0, 4], [1, 1, 0]], dtype=np.float32)
NEW_ROWS = np.array([[1, 0], [0, 1], [1, 1], [2, 2]], dtype=np.float32)
NAMES = ["a", "b", "c", "d"]
