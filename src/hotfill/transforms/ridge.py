"""Ridge regression: the affine map with the least squared error, kept small by a penalty.

Minimises, over pairs (x, y) and with both sides centred,

    mean |x W - y|^2 + penalty * v * |W|^2,        v = mean squared length of x per dimension

in closed form [derived]. The penalty is thus free of units: 1 weighs one average direction of x
as much as the prior. The normal equations are sums over pairs, so a million pairs pass through in
batches, and only matrices of the two dimensions stay in memory, in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError
from hotfill.transforms.affine import Affine
from hotfill.transforms.base import BATCH_ROWS, has_free_length
from hotfill.transforms.moments import Moments
from hotfill.transforms.pairs import check_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotfill.transforms.base import Facts
    from hotfill.types import ModelId, Vectors

PENALTIES = tuple(float(10.0 ** (step / 2)) for step in range(-10, 5))
"""The grid tried when no penalty is given: 1e-5 to 100, half a decade apart."""

MIN_PAIRS = 20
"""With fewer pairs there is nothing to choose a penalty by."""

_HELD_OUT_EVERY = 5  # each fifth pair judges the penalty ...
_HELD_OUT_MOST = 2000  # ... until there are this many, enough to tell neighbouring penalties apart


def fit_ridge(
    source_vectors: Any,
    target_vectors: Any,
    *,
    source: ModelId,
    target: ModelId,
    penalties: Sequence[float] = PENALTIES,
) -> Affine:
    """Fit the affine map from pairs in memory; see the module for the equation.

    source_vectors, target_vectors: (n, dimension), row i of both is the same item, n >= 20.
    penalties: >= 0; the one with the best held-out agreement is used. One value is used as it is.
    Works in both directions: old to new (`up`) and new to old (`down`).
    Raises ShapeError, VectorError, InputError (too few pairs, a bad penalty).
    """
    first, second = check_pairs(
        source_vectors, target_vectors, source=source, target=target, least=MIN_PAIRS
    )
    batches = (
        (first[start : start + BATCH_ROWS], second[start : start + BATCH_ROWS])
        for start in range(0, len(first), BATCH_ROWS)
    )
    return fit_ridge_batches(batches, source=source, target=target, penalties=penalties)


def fit_ridge_batches(
    batches: Iterable[tuple[Any, Any]],
    *,
    source: ModelId,
    target: ModelId,
    penalties: Sequence[float] = PENALTIES,
) -> Affine:
    """Fit as `fit_ridge`, from batches of pairs that need not fit into memory together.

    Rows should come in no particular order: every fifth row, up to 2,000 from the start, is held
    out to choose the penalty, and rejoins the others for the final fit.
    """
    if not penalties or any(not (np.isfinite(p) and p >= 0) for p in penalties):
        raise InputError(f"penalties must be finite and >= 0, at least one; got {list(penalties)}")
    sums = Moments(source.dimension, target.dimension)
    held_out_sums = Moments(source.dimension, target.dimension)
    held_source: list[Vectors] = []
    held_target: list[Vectors] = []
    seen = held = 0
    for source_batch, target_batch in batches:
        first, second = check_pairs(source_batch, target_batch, source=source, target=target)
        out = (np.arange(seen, seen + len(first)) + 1) % _HELD_OUT_EVERY == 0
        out &= held + np.cumsum(out) <= _HELD_OUT_MOST
        seen += len(first)
        held += int(out.sum())
        sums.add(first[~out], second[~out])
        if out.any():
            held_out_sums.add(first[out], second[out])
            held_source.append(first[out])
            held_target.append(second[out])
    if seen < MIN_PAIRS:
        raise InputError(f"{seen} pairs are too few: at least {MIN_PAIRS} are needed")
    sums.refuse_constant(source, target)
    judged_source, judged_target = np.concatenate(held_source), np.concatenate(held_target)
    agreements = [
        _agreement(judged_source @ fitted.matrix + fitted.offset, judged_target, target)
        for fitted in map(sums.ridge, penalties)
    ]
    best = int(np.argmax(agreements))
    sums.join(held_out_sums)
    final = sums.ridge(penalties[best])
    facts: Facts = {
        "method": "ridge",
        "pairs": seen,
        "penalty": float(penalties[best]),
        "held_out_agreement": float(agreements[best]),
    }
    return Affine(source, target, {"matrix": final.matrix, "offset": final.offset}, facts)


def _agreement(mapped: np.ndarray, true: Vectors, target: ModelId) -> float:
    """Mean cosine where the space compares by it; else the share of variance explained."""
    if has_free_length(target):
        spread = float(np.square(true - true.mean(axis=0)).sum())
        return 1.0 - float(np.square(mapped - true).sum()) / max(spread, 1e-30)
    lengths = np.linalg.norm(mapped, axis=1) * np.linalg.norm(true, axis=1)
    return float(np.mean(np.einsum("ij,ij->i", mapped, true) / np.maximum(lengths, 1e-30)))
