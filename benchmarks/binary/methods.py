"""Ways to make vectors small and search them: ours and those of FAISS, at equal bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import faiss
import numpy as np
from usearch.index import Index

from hotfill.binary import CodeFormat, CodeIndex
from hotfill.lab.binary import fit_encoder, fit_start, formats_for
from hotfill.types import ModelId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from hotfill.lab.binary.training import TrainingPlan

    Rows = NDArray[np.float32]
    Search = Callable[[Rows, int], NDArray[np.int64]]

_MOST_TRAINING_ROWS = 50_000


@dataclass(frozen=True)
class Built:
    """A method ready to search. bytes_per_item: what it keeps of a vector, ids left out."""

    method: str
    bytes_per_item: float
    search: Search
    note: str = ""


def methods(
    gallery: Rows, bytes_per_item: int, plan: TrainingPlan | None, seed: int
) -> Iterator[Built]:
    dimension = gallery.shape[1]
    source = ModelId("benchmark", "1", dimension)
    bits = 8 * bytes_per_item // dimension
    plain = fit_start(gallery, source, CodeFormat(dimension, bits), alternations=0, seed=seed)
    yield from _ours("grid, random rotation", plain, gallery)
    fit = fit_encoder(gallery, source, formats_for(dimension, bytes_per_item), seed=seed)
    yield from _ours("grid, fitted", fit.encoder, gallery, fit.tried[0].how)
    if plan is not None:
        fit = fit_encoder(gallery, source, (fit.encoder.code_format,), plan=plan, seed=seed)
        trained = next(tried for tried in fit.tried if tried.how == "trained networks")
        note = f"held out: trained {trained.ann_recall:.4f}, best {fit.tried[0].ann_recall:.4f}"
        yield from _ours("grid, fitted + trained", fit.encoder, gallery, note)
    yield _faiss("PQ fast-scan", f"PQ{2 * bytes_per_item}x4fs", gallery, bytes_per_item)
    if dimension <= 512:
        yield _opq(gallery, bytes_per_item)
    yield _rabitq(gallery, bits)
    if bits == 1:
        yield _signs("sign codes, float query", gallery, np.eye(dimension, dtype=np.float32))
        yield _itq(gallery)
    if bits == 4:
        yield _faiss("scalar quantiser 4 bits", "SQ4", gallery, bytes_per_item)


def float_methods(gallery: Rows) -> Iterator[Built]:
    """What has no budget: for scale."""
    dimension = gallery.shape[1]
    yield _faiss("float flat", "Flat", gallery, 4 * dimension)
    yield _faiss("scalar quantiser 8 bits", "SQ8", gallery, dimension)
    yield _faiss("HNSW32 float", "HNSW32", gallery, 4 * dimension + 2 * 32 * 4)
    yield _usearch("usearch i8", gallery, "i8", dimension)
    yield _usearch("usearch b1", gallery, "b1", dimension / 8)


def _ours(name: str, encoder, gallery: Rows, note: str = "") -> Iterator[Built]:
    codes = encoder.encode(gallery)
    index = CodeIndex(codes)
    size = codes.code_format.row_bytes + codes.factors.itemsize
    note = f"{codes.code_format.dimension} x {codes.code_format.bits} bits; {note}".rstrip("; ")

    def asymmetric(queries: Rows, k: int) -> NDArray[np.int64]:
        return index.search(encoder.queries(queries), k).items

    def symmetric(queries: Rows, k: int) -> NDArray[np.int64]:
        return index.search(encoder.encode(queries), k).items

    yield Built(f"{name}, float query", size, asymmetric, note)
    yield Built(f"{name}, code query", size, symmetric, note)


def _faiss(name: str, factory: str, gallery: Rows, size: float) -> Built:
    index = faiss.index_factory(gallery.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(gallery[:_MOST_TRAINING_ROWS])
    index.add(gallery)
    return Built(name, size, lambda queries, k: index.search(queries, k)[1])


def _opq(gallery: Rows, size: int) -> Built:
    """A rotation fitted to a 4-bit product quantiser, ten alternations on 10,000 rows."""
    dimension, parts = gallery.shape[1], 2 * size
    rotation = faiss.OPQMatrix(dimension, parts)
    quantiser = faiss.ProductQuantizer(dimension, parts, 4)
    rotation.pq, rotation.niter, rotation.max_train_points = quantiser, 10, 10_000
    inner = faiss.IndexPQFastScan(dimension, parts, 4, faiss.METRIC_INNER_PRODUCT)
    index = faiss.IndexPreTransform(rotation, inner)
    index.train(gallery[:_MOST_TRAINING_ROWS])
    index.add(gallery)
    keep = (rotation, quantiser, inner)
    return Built("OPQ + PQ fast-scan", size, partial(_with, keep, index))


def _rabitq(gallery: Rows, bits: int) -> Built:
    dimension = gallery.shape[1]
    inner = faiss.IndexRaBitQFastScan(dimension, faiss.METRIC_INNER_PRODUCT, 32, bits)
    rotation = faiss.RandomRotationMatrix(dimension, dimension)
    index = faiss.IndexPreTransform(rotation, inner)
    index.train(gallery[:_MOST_TRAINING_ROWS])
    index.add(gallery)
    size = inner.code_size if bits > 1 else dimension / 8 + 8
    keep = (rotation, inner)
    return Built("RaBitQ fast-scan", size, partial(_with, keep, index))


def _with(keep: object, index, queries: Rows, k: int) -> NDArray[np.int64]:
    del keep  # FAISS does not own the parts
    return index.search(queries, k)[1]


def _usearch(name: str, gallery: Rows, dtype: str, size: float) -> Built:
    """usearch's own small numbers, compared exhaustively; b1 is the sign of each coordinate."""
    bits = dtype == "b1"
    # The graph is not walked, so it is made as small as it can be.
    index = Index(
        ndim=gallery.shape[1],
        metric="hamming" if bits else "cos",
        dtype=dtype,
        connectivity=2,
        expansion_add=1,
    )

    def ready(rows: Rows) -> Rows:
        return np.packbits(rows > 0, axis=1) if bits else rows

    index.add(np.arange(len(gallery)), ready(gallery), threads=1)

    def search(queries: Rows, k: int) -> NDArray[np.int64]:
        keys = index.search(ready(queries), k, exact=True, threads=1).keys
        return keys.reshape(len(queries), -1).astype(np.int64)

    return Built(name, size, search)


def _signs(name: str, gallery: Rows, rotation: Rows) -> Built:
    """One bit a dimension, scored by <rotated query, signs>."""
    signs = np.where(gallery @ rotation > 0, np.float32(1), np.float32(-1))
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(signs)
    return Built(
        name, gallery.shape[1] / 8, lambda queries, k: index.search(queries @ rotation, k)[1]
    )


def _itq(gallery: Rows) -> Built:
    dimension = gallery.shape[1]
    itq = faiss.ITQMatrix(dimension)
    mean = gallery.mean(axis=0)
    itq.train(np.ascontiguousarray(gallery[:_MOST_TRAINING_ROWS] - mean))
    signs = np.where(itq.apply(gallery - mean) > 0, np.float32(1), np.float32(-1))
    index = faiss.IndexFlatIP(dimension)
    index.add(signs)
    return Built(
        "ITQ, float query", dimension / 8, lambda queries, k: index.search(itq.apply(queries), k)[1]
    )
