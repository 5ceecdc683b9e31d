"""Fitting an encoder: several starts and, if asked, training; held-out queries decide.

For the same bytes an item may have many dimensions of few bits or few of many, and which is better
depends on how fast the spectrum of the vectors falls. So is it with the rotation (random or
fitted), and with training, which does not always add to a good start. So each is tried and the
best is kept, by the share of exact float neighbours that float queries find among codes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hotfill.binary.codes import CodeFormat
from hotfill.binary.scores import asymmetric_scores
from hotfill.errors import ConfigError, InputError
from hotfill.extras import need
from hotfill.lab.binary.agreement import nearest, overlap
from hotfill.lab.binary.pairs import pairs_of_neighbours
from hotfill.lab.binary.start import fit_start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from hotfill.binary.encoder import BinaryEncoder
    from hotfill.lab.binary.training import TrainingPlan, TrainingProgress
    from hotfill.types import ModelId, Vectors

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
class Fit:
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
) -> Fit:
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
    return Fit(results[0][1], tuple(tried for tried, _ in results))


def _ann_recall(
    encoder: BinaryEncoder, gallery: Vectors, queries: Vectors, truth: NDArray[np.int64]
) -> float:
    codes = encoder.encode(gallery)
    scores = asymmetric_scores(
        encoder.queries(queries), codes.packed, codes.factors, codes.code_format
    )
    found = np.argpartition(-scores, _K - 1, axis=1)[:, :_K]
    return overlap(found, truth)
