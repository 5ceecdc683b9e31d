"""The kernel map: old vectors to the new space by kernel ridge regression (see `regression`).

The regression predicts p = W (y - mean), the whitened new vector. Two further steps make its
vectors fit to stand in one index with the new model's own, at unit length:

1. d = W p / |p| has as its plain inner product with a new query the whitened cosine;
2. the result is placed: level * mean direction + reach * d + a rest in the direction that new
   vectors use least, which restores unit length. Level and reach are those two numbers with which
   held-out queries see mapped and true vectors stand out alike, in their upper quantiles.

`impute.Imputation` does not need the second step's rest, and ranks better, where the index compares
by the inner product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from hotfill.errors import ShapeError
from hotfill.ranking.bridge import Bridge, fit_bridge
from hotfill.ranking.pairs import check_pairs, refuse_constant
from hotfill.ranking.regression import (
    LANDMARKS,
    PAIRS_MOST,
    PENALTIES,
    SHARPNESSES,
    KernelRegression,
    choose_kernel,
    fit_kernel_regression,
    fit_whitening,
)
from hotfill.ranking.transform import StampedTransform
from hotfill.vectors import checked, has_free_length, unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.ranking.transform import Facts
    from hotfill.types import ModelId, Vectors
    from hotfill.vectors import Checked


MIN_PAIRS = 50

_HELD_OUT_MOST = 500
_HELD_OUT_SHARE = 5  # one in five
_QUANTILES = (0.90, 0.95, 0.97, 0.98, 0.99)
_PLACING_QUERIES = 200


@final
class KernelMap(StampedTransform):
    """Old vectors to the new space; see the module.

    arrays: centre (source,), landmarks (m, source), weights (m, target), exponent (1,),
        back (target, target), mean, across and quiet (target,), level and reach (1,).
    """

    kind: ClassVar[str] = "kernel"

    def _check(self) -> None:
        count = len(self._arrays.get("landmarks", ()))
        source, target = self.source.dimension, self.target.dimension
        expected = {
            "across": (target,),
            "back": (target, target),
            "centre": (source,),
            "exponent": (1,),
            "landmarks": (count, source),
            "level": (1,),
            "mean": (target,),
            "quiet": (target,),
            "reach": (1,),
            "weights": (count, target),
        }
        self._check_shapes("a kernel map", expected)
        if has_free_length(self.target):
            raise ShapeError(
                f"a kernel map gives vectors of unit length, but length has a meaning in "
                f"{self.target}; use ridge"
            )

    def weighed(self, rows: Vectors) -> Vectors:
        """Map rows as their space compares them to unit vectors of the whitened new space."""
        return unit(self._predict(rows))

    def confidence(self, rows: Vectors) -> Vectors:
        """Length of the prediction, float32 (n,), for rows as their space compares them."""
        return np.asarray(np.linalg.norm(self._predict(rows), axis=1), dtype=np.float32)

    def _predict(self, rows: Vectors) -> Vectors:
        arrays = self._arrays
        return KernelRegression(
            arrays["centre"], arrays["landmarks"], arrays["weights"], arrays["exponent"]
        )(rows)

    def weighed_queries(self, queries: Vectors) -> Vectors:
        """Bring vectors of the new model to the weighed new space, of unit length."""
        return unit((queries - self._arrays["mean"]) @ self._arrays["back"].T)

    def _map(self, rows: Vectors) -> Vectors:
        arrays = self._arrays
        directions = _directions(self.weighed(rows), arrays["back"], arrays["across"])
        level, reach = float(arrays["level"][0]), float(arrays["reach"][0])
        placed = level * arrays["across"] + reach * directions
        rest = np.sqrt(np.maximum(1.0 - np.square(placed).sum(axis=1), 0.0))
        return np.asarray(placed + rest[:, None] * arrays["quiet"], dtype=np.float32)


def fit_kernel(
    old_vectors: Any,
    new_vectors: Any,
    *,
    old_model: ModelId,
    new_model: ModelId,
    sharpnesses: Sequence[float] = SHARPNESSES,
    penalties: Sequence[float] = PENALTIES,
    landmarks: int = LANDMARKS,
) -> KernelMap:
    """Fit the kernel map from pairs.

    old_vectors, new_vectors: (n, dimension) in random order, row i of both is the same item,
        n >= 50. At most 4,000 are used.
    sharpnesses, penalties: the combination whose mapped held-out items best agree with the new
        model's own neighbours (`agreement`) is used.
    landmarks: how many pairs kernels stand on, at most: an item costs one value of each.
    Raises ShapeError (also: a new space where length has a meaning), VectorError, InputError.
    """
    old, new = check_pairs(
        old_vectors, new_vectors, source=old_model, target=new_model, least=MIN_PAIRS
    )
    old, new = old[:PAIRS_MOST], new[:PAIRS_MOST]
    refuse_constant(old, old_model)
    refuse_constant(new, new_model)
    held = min(_HELD_OUT_MOST, len(old) // _HELD_OUT_SHARE)
    whitening = fit_whitening(new[held:])
    targets = whitening(new)
    sharpness, penalty, score = choose_kernel(old, targets, sharpnesses, penalties)
    judged = fit_kernel_regression(old[held:], targets[held:], sharpness=sharpness, penalty=penalty)
    across = whitening.mean / max(float(np.linalg.norm(whitening.mean)), 1e-12)
    # The direction of least variance, made square to the mean: no query tells items apart by it.
    quiet = np.linalg.eigh(whitening.matrix)[1][:, -1]
    quiet = quiet - across * float(quiet @ across)
    quiet = quiet / max(float(np.linalg.norm(quiet)), 1e-12)
    level, reach = _place(
        new[:held], across, _directions(judged(old[:held]), whitening.matrix, across)
    )
    regression = fit_kernel_regression(
        old, targets, sharpness=sharpness, penalty=penalty, landmarks=landmarks
    )
    arrays = {
        **regression.arrays,
        "back": whitening.matrix,
        "mean": whitening.mean,
        "across": across,
        "quiet": quiet,
        "level": np.array([level]),
        "reach": np.array([reach]),
    }
    facts: Facts = {
        "method": "kernel ridge",
        "pairs": len(old),
        "landmarks": len(regression.landmarks),
        "sharpness": sharpness,
        "penalty": penalty,
        "held_out_agreement": score,
    }
    return KernelMap(old_model, new_model, arrays, facts)


def _directions(weighed: np.ndarray, back: np.ndarray, across: np.ndarray) -> np.ndarray:
    """W p / |p| without its part along the mean."""
    directions = unit(weighed) @ back
    return np.asarray(directions - np.outer(directions @ across, across))


def _place(new: Vectors, across: np.ndarray, directions: np.ndarray) -> tuple[float, float]:
    """Find level and reach from held-out new vectors and the mapped directions of the same items.

    Where both cannot be had at unit length, the pair whose upper quantiles are nearest is taken.
    """
    queries = slice(0, _PLACING_QUERIES)
    wanted = _upper(new[queries] @ new.T)
    along, aside = (new[queries] @ across)[:, None], new[queries] @ directions.T
    squares = np.square(directions).sum(axis=1)
    mean_level = float(np.mean(new @ across))
    typical = float(np.sqrt((1 - mean_level**2) / np.mean(squares)))
    best = (np.inf, mean_level, typical)
    for level in mean_level * np.linspace(0.7, 1.2, 6):
        for reach in typical * np.linspace(0.4, 1.6, 7):
            lengths = np.sqrt(np.maximum(level**2 + reach**2 * squares, 1.0))
            seen = _upper((level * along + reach * aside) / lengths)
            misfit = float(np.mean(np.square(seen - wanted)))
            best = min(best, (misfit, float(level), float(reach)))
    return best[1], best[2]


def _upper(scores: np.ndarray) -> np.ndarray:
    """Each query's upper quantiles, its own item (same row) left out."""
    others = scores.astype(np.float32)
    np.fill_diagonal(others, -np.inf)
    return np.asarray(np.quantile(others, _QUANTILES, axis=1, method="lower"))


@final
class KernelBridge(StampedTransform):
    """New-model queries to vectors that search old space; hits are scored through the kernel map.

    The store is searched with a linear `Bridge`; the hits read back are mapped by `kernel` and
    compared with the query in the whitened new space,

        exact(q, g) = < W(q - mean), p(g) > / |p(g)|,        p the kernel regression.

    No stored vector is rewritten. Scoring a hit costs one row of kernel values, so it pays where
    old and new space are not joined by straight lines: far better on the small networks measured,
    a little better on image models, no better on text.

    source: the new model. target: the old model.
    arrays: those of a `Bridge` as "bridge.NAME", of a `KernelMap` as "kernel.NAME".
    """

    kind: ClassVar[str] = "kernel_bridge"
    overfetch: ClassVar[int] = 10
    """How many times k hits to score exactly: 100 held 0.94 to 1 of the exact ten."""

    @property
    def kernel(self) -> KernelMap:
        """The map of old vectors to the new space within, for `prefill`."""
        return self._kernel

    def query_features(self, queries: Vectors | Checked, /) -> Vectors:
        """Features of new-model queries, the weighed query: float32 (q, new.dimension)."""
        given = checked(queries, self.source, what=f"queries of {self.source.name}")
        return self._kernel.weighed_queries(given.compared)

    def gallery_features(self, vectors: Vectors | Checked, /) -> Vectors:
        """Features of stored old vectors, mapped and weighed: float32 (n, new.dimension)."""
        given = checked(vectors, self.target, what=f"vectors of {self.target.name}")
        return self._kernel.weighed(given.compared)

    def confidence(self, rows: Vectors) -> Vectors:
        """Length of the kernel's prediction, float32 (n,); see `uncertainty`."""
        return self._kernel.confidence(rows)

    def _check(self) -> None:
        parts: dict[str, dict[str, np.ndarray]] = {"bridge": {}, "kernel": {}}
        for name, array in self._arrays.items():
            part, _, inner = name.partition(".")
            if part not in parts:
                raise ShapeError(f"a kernel bridge has no array {name!r}")
            parts[part][inner] = array
        self._bridge = Bridge(self.source, self.target, parts["bridge"])
        facts = {**self._facts, "method": "kernel ridge"}
        self._kernel = KernelMap(self.target, self.source, parts["kernel"], facts)

    def _map(self, rows: Vectors) -> Vectors:
        return self._bridge(rows)


def fit_kernel_bridge(
    new_vectors: Any, old_vectors: Any, *, new_model: ModelId, old_model: ModelId
) -> KernelBridge:
    """Fit from pairs: row i of both is the same item, in random order, n >= 50.

    Raises ShapeError, VectorError (NaN, zero, constant), InputError (too few pairs).
    """
    bridge = fit_bridge(new_vectors, old_vectors, new_model=new_model, old_model=old_model)
    kernel = fit_kernel(old_vectors, new_vectors, old_model=old_model, new_model=new_model)
    arrays = {f"bridge.{name}": array for name, array in bridge.arrays.items()}
    arrays |= {f"kernel.{name}": array for name, array in kernel.arrays.items()}
    return KernelBridge(new_model, old_model, arrays, {**kernel.facts, "method": "kernel bridge"})
