"""Models that read whatever JSON can say, and bytes as the text that they are."""

from __future__ import annotations

import json
import zlib

import numpy as np

from hotfill.types import ModelId
from tests.unit.cli.models import NEW, OLD


class Hashed:
    """Vectors made from the text of the content as JSON."""

    def __init__(self, model_id: ModelId) -> None:
        self.model_id = model_id

    def __call__(self, contents):
        rows = [self._row(each) for each in contents]
        return np.stack(rows).astype(np.float32)

    def _row(self, content):
        plain = content.tolist() if isinstance(content, np.ndarray) else content
        plain = plain.decode(errors="replace") if isinstance(plain, bytes) else plain
        seed = zlib.crc32(json.dumps(plain, sort_keys=True).encode())
        row = np.random.default_rng(seed).normal(size=self.model_id.dimension)
        return row / np.linalg.norm(row)


def old_model() -> Hashed:
    return Hashed(OLD)


def new_model() -> Hashed:
    return Hashed(NEW)
