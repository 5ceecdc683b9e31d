"""The vectors compared: real embeddings where their folders are given, and made ones always."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class VectorSet:
    """gallery, queries: float32 unit rows. relevant: bool (q, n), or None where nobody judged."""

    name: str
    gallery: NDArray[np.float32]
    queries: NDArray[np.float32]
    relevant: NDArray[np.bool_] | None


CHAIN = {"v1_025": "v1_025_128", "v1_050": "v1_050_160", "v2_100": "v2_100_224"}


def vector_sets(
    data: Path | None, texts: Path | None, names: tuple[str, ...], *, quick: bool, seed: int
) -> Iterator[VectorSet]:
    """Load the sets whose names begin with one of `names`."""
    if texts is not None and "scifact".startswith(names):
        yield scifact(texts)
    if texts is not None and "clinc150".startswith(names) and not quick:
        yield clinc(texts)
    if data is not None and "cifar100".startswith(names):
        for version in ("v1_025",) if quick else ("v1_025", "v1_050", "v2_100"):
            yield cifar(data, version, quick=quick)
    if "clustered".startswith(names):
        yield clustered(10_000, 64, seed) if quick else clustered(200_000, 128, seed)


def cifar(data: Path, version: str, *, quick: bool = False) -> VectorSet:
    """MobileNet features of CIFAR-100: 5,000 training pictures searched by 1,000 test pictures."""
    gallery, queries, labels = chain(data, version)
    rows = np.arange(len(queries))[:: 25 if quick else 5]
    return VectorSet(
        f"cifar100 {version}", gallery, queries[rows], labels[rows][:, None] == labels[None, :]
    )


def chain(
    data: Path, version: str
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Training rows, test rows (the same labels in the same order) of one version."""
    folder = data / "cifar100" if (data / "cifar100").exists() else data
    with np.load(folder / f"embeddings_{CHAIN[version]}.npz") as file:
        return (
            unit(file["train"] * file["scale"]),
            unit(file["test"] * file["scale"]),
            file["label"].astype(np.int64),
        )


def clinc(texts: Path) -> VectorSet:
    with np.load(texts / "clinc150.npz") as file:
        rows = np.arange(len(file["queries"]))[::5]
        relevant = file["query_labels"][rows][:, None] == file["gallery_labels"][None, :]
        return VectorSet(
            "clinc150 MiniLM", unit(file["gallery"]), unit(file["queries"][rows]), relevant
        )


def scifact(texts: Path) -> VectorSet:
    with np.load(texts / "scifact.npz") as file:
        relevant = np.zeros((len(file["queries"]), len(file["gallery"])), bool)
        relevant[file["relevant"][:, 0], file["relevant"][:, 1]] = True
        return VectorSet("scifact MiniLM", unit(file["gallery"]), unit(file["queries"]), relevant)


def clustered(items: int, dimension: int, seed: int, queries: int = 500) -> VectorSet:
    """Clusters of normal vectors whose spread falls over the dimensions, as in real spectra."""
    random = np.random.default_rng(seed)
    spread = (np.arange(1, dimension + 1) ** -0.35).astype(np.float32)
    centres = random.standard_normal((max(10, items // 500), dimension), np.float32)

    def draw(count: int) -> NDArray[np.float32]:
        rows = random.standard_normal((count, dimension), np.float32)
        rows *= 0.6
        rows += centres[random.integers(0, len(centres), count)]
        rows *= spread
        return unit(rows)

    # Turned by a random rotation, so that no coordinate is special.
    turn = np.linalg.qr(random.standard_normal((dimension, dimension)))[0].astype(np.float32)
    gallery = draw(items) @ turn
    return VectorSet(f"clustered {items} x {dimension}", gallery, draw(queries) @ turn, None)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
