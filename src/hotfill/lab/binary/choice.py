"""The choice among encoders: several starts and, if asked, training; held-out queries decide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hotfill.binary.codes import CodeFormat
from hotfill.binary.index import CodeIndex
from hotfill.binary.rerank import rerank_by_floats
from hotfill.binary.scores import asymmetric_scores
from hotfill.errors import ConfigError, InputError
from hotfill.extras import need
from hotfill.lab.binary.start import fit_start, pairs_of_neighbours
from hotfill.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from hotfill.binary.encoder import BinaryEncoder
    from hotfill.lab.binary.training import TrainingPlan, TrainingProgress
    from hotfill.types import ModelId, Vectors


_BLOCK_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Agreement:
    """Shares in 0 ... 1 of the k nearest by exact float cosine that a search of codes finds.

    k: neighbours. symmetric: codes ask codes. asymmetric: float queries ask codes.
    reranked: asymmetric, then the 5 k best ranked again by the float vectors.
    bytes_per_item: of the code and its factor. float_bytes: of a float vector.
    """

    k: int
    symmetric: float
    asymmetric: float
    reranked: float
    bytes_per_item: int
    float_bytes: int


def measure_agreement(
    encoder: BinaryEncoder, gallery: Vectors, queries: Vectors, *, k: int = 10
) -> Agreement:
    """Search gallery by queries with codes and with floats, and compare.

    gallery: float32 (n, dimension), n >= k, possibly mapped from a file. queries: float32 (q,
    dimension), of the same model. Raises InputError, ShapeError, VectorError.
    """
    if len(gallery) < k or len(queries) == 0:
        raise InputError(f"expected at least {k} items and a query, got {len(gallery)} items")
    truth = nearest(gallery, queries, k)
    codes = encoder.encode(gallery)
    index = CodeIndex(codes)
    asked = encoder.queries(queries)
    wide = index.search(asked, 5 * k)
    reranked = rerank_by_floats(wide, queries, lambda items: np.asarray(gallery[items]), k)
    return Agreement(
        k=k,
        symmetric=overlap(index.search(encoder.encode(queries), k).items, truth),
        asymmetric=overlap(wide.items[:, :k], truth),
        reranked=overlap(reranked.items, truth),
        bytes_per_item=codes.code_format.row_bytes + codes.factors.itemsize,
        float_bytes=4 * encoder.source.dimension,
    )


def nearest(gallery: Vectors, queries: Vectors, k: int) -> NDArray[np.int64]:
    """Find the k nearest rows by exact cosine, int64 (q, k), best first; ties by row."""
    queries = unit(queries)
    items = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(gallery), _BLOCK_ROWS):
        rows = np.asarray(gallery[start : start + _BLOCK_ROWS], np.float32)
        rows = unit(rows)
        block = queries @ rows.T
        top = np.argpartition(-block, min(k, block.shape[1]) - 1, axis=1)[:, :k]
        items = np.concatenate([items, top + start], axis=1)
        scores = np.concatenate([scores, np.take_along_axis(block, top, axis=1)], axis=1)
        order = np.lexsort((items, -scores), axis=1)[:, :k]
        items = np.take_along_axis(items, order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
    return items


def overlap(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Mean share of each row of `truth` that stands in the row of `found`."""
    return float((found[:, :, None] == truth[:, None, :]).any(axis=1).mean())


# Fitting an encoder: several starts and, if asked, training; held-out queries decide.
# For the same bytes an item may have many dimensions of few bits or few of many, and which is
# better depends on how fast the spectrum of the vectors falls. So is it with the rotation (random
# or fitted), and with training, which does not always add to a good start. So each is tried and the
# best is kept, by the share of exact float neighbours that float queries find among codes.

_ALTERNATIONS = {"random rotation": 0, "fitted rotation": 20}
_MOST_ITEMS = 20_000
_MOST_QUERIES = 500
_MOST_TRAINED = 100_000  # the neighbours of all are found exactly: n^2 work
_K = 10


@dataclass(frozen=True, slots=True)
class Tried:
    """One encoder that was tried: its format, how it was made, and its held-out ann_recall@10."""

    code_format: CodeFormat
    how: str
    ann_recall: float


@dataclass(frozen=True, slots=True)
class ChosenEncoder:
    """The best encoder, and all that were tried, best first."""

    encoder: BinaryEncoder
    tried: tuple[Tried, ...]


def formats_for(dimension: int, bytes_per_item: int) -> tuple[CodeFormat, ...]:
    """List the formats that fill this many bytes: 1, 2 and 4 bits, at most the vector's dimensions.

    When even 4 bits for every dimension take less, that one. Raises ConfigError below 1 byte.
    """
    if bytes_per_item < 1:
        raise ConfigError(f"a code takes at least 1 byte, got {bytes_per_item}")
    fitting = [
        CodeFormat(8 * bytes_per_item // bits, bits)
        for bits in (1, 2, 4)
        if 8 * bytes_per_item // bits <= dimension
    ]
    return tuple(fitting) or (CodeFormat(dimension, 4),)


def fit_encoder(
    vectors: Vectors,
    source: ModelId,
    formats: tuple[CodeFormat, ...],
    *,
    plan: TrainingPlan | None = None,
    checkpoint: Path | str | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
    seed: int = 0,
) -> ChosenEncoder:
    """Fit encoders of some formats on vectors and keep the best.

    vectors: float32 (n, dimension) of `source`, n >= 100; a tenth (at most 500) is held out as
        queries, and at most 20,000 others are searched.
    formats: see `formats_for`, or one of your own.
    plan: also train networks on the best start by this plan (needs torch), on pairs of
        neighbours among at most 100,000 vectors; None trains none.
    checkpoint, progress: of the training, see `train_encoder`.
    Raises InputError, ShapeError, VectorError, MissingExtraError.
    """
    if len(vectors) < 100:
        raise InputError(f"fitting needs at least 100 vectors, got {len(vectors)}")
    if not formats:
        raise ConfigError("fitting needs at least one code format")
    order = np.random.default_rng(seed).permutation(len(vectors))
    asked = np.sort(order[: min(_MOST_QUERIES, len(vectors) // 10)])
    rest = np.sort(order[len(asked) :])
    training, queries = np.asarray(vectors[rest]), np.asarray(vectors[asked])
    gallery = training[:: -(-len(training) // _MOST_ITEMS)]
    truth = nearest(gallery, queries, _K)

    def judged(encoder: BinaryEncoder, how: str) -> tuple[Tried, BinaryEncoder]:
        return Tried(
            encoder.code_format, how, _ann_recall(encoder, gallery, queries, truth)
        ), encoder

    results = [
        judged(fit_start(training, source, code_format, alternations=alternations, seed=seed), how)
        for code_format in formats
        for how, alternations in _ALTERNATIONS.items()
    ]
    if plan is not None:
        train = need("hotfill.lab.binary.training", "train").train_encoder
        start = max(results, key=lambda result: result[0].ann_recall)[1]
        trained = train(
            start,
            pairs_of_neighbours(training[:: -(-len(training) // _MOST_TRAINED)], neighbours=10),
            replace(plan, seed=seed),
            checkpoint=checkpoint,
            progress=progress,
        )
        results.append(judged(trained, "trained networks"))
    # The earlier of two equals is the simpler one.
    results.sort(key=lambda result: -result[0].ann_recall)
    return ChosenEncoder(results[0][1], tuple(tried for tried, _ in results))


def _ann_recall(
    encoder: BinaryEncoder, gallery: Vectors, queries: Vectors, truth: NDArray[np.int64]
) -> float:
    codes = encoder.encode(gallery)
    scores = asymmetric_scores(
        encoder.queries(queries), codes.packed, codes.factors, codes.code_format
    )
    found = np.argpartition(-scores, _K - 1, axis=1)[:, :_K]
    return overlap(found, truth)
