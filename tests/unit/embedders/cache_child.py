"""A process that embeds texts through a shared cache; its server counts what is bought."""

from __future__ import annotations

import sys
from pathlib import Path

from hotfill.embedders import CachedEmbedder, HttpEmbedder, VectorCache
from hotfill.types import ModelId
from tests.unit.embedders.server import DIMENSION


def main(path: str, url: str, begin: str, end: str) -> None:
    model = ModelId("paid", "1", DIMENSION)
    inner = HttpEmbedder(url, model, batch_size=4)
    embedder = CachedEmbedder(inner, VectorCache(Path(path)))
    print("ready", flush=True)
    embedder([f"text {number}" for number in range(int(begin), int(end))])


if __name__ == "__main__":
    main(*sys.argv[1:])
