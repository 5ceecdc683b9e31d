"""The kernel map: old vectors to the new space by kernel ridge regression.

With unit-length old vectors about their mean, g', landmarks l_j (pairs' own old vectors) and

    k(g, l) = exp(-sharpness |g' - l'|^2 / m),       m = median squared distance between landmarks

the map is sum_j k(g, l_j) a_j, fitted in closed form: what a two-layer network would do, without
a training loop, and chosen by held-out pairs. Where the old space holds what the new one needs but
not along straight lines, it is far better than an affine map. [kernel ridge: textbook; landmarks
as in the Nyström method]

Two further steps make its vectors fit to stand in one index with the new model's own:

1. directions are weighed: the regression predicts p = W(y - mean), W = (C + r I)^(-w/2) as in
   `bridge`; then d = W p / |p| has as its plain inner product with a new query the weighed cosine;
2. the result is placed: level * mean direction + reach * d + a rest in the direction that new
   vectors use least, which restores unit length. Level and reach are those two numbers with which
   held-out queries see mapped and true vectors stand out alike, in their upper quantiles
   (`scoring.tail` does so for each query; here once, inside the vectors).

[both steps derived here]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from hotfill.errors import ShapeError
from hotfill.ranking.bridge import Bridge, fit_bridge
from hotfill.ranking.pairs import agreement, check_pairs, refuse_constant
from hotfill.ranking.transform import BATCH_ROWS, StampedTransform
from hotfill.vectors import checked, has_free_length, unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.ranking.transform import Facts
    from hotfill.types import ModelId, Vectors
    from hotfill.vectors import Checked


MIN_PAIRS = 50
SHARPNESSES = (0.5, 1.0, 2.0, 4.0)
PENALTIES = (0.03, 0.1, 0.3, 1.0)
WHITENING, FLOOR = 0.4, 0.3  # as in `bridge.BridgeForm`

_LANDMARKS = 2000
_PRECISION = 1e-7  # of float32
_TRIED = 1200  # landmarks with which the combinations are compared
_PAIRS_MOST = 4_000  # more pairs change little once every landmark has several
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
        turned = _about(rows, arrays["centre"])
        kernel = _kernel(turned, arrays["landmarks"], float(arrays["exponent"][0]))
        return np.asarray(kernel @ arrays["weights"], dtype=np.float32)

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


@final
@dataclass(frozen=True, slots=True)
class _Weighing:
    """The new space weighed: coordinates along its axes, times scale."""

    mean: np.ndarray
    axes: np.ndarray
    scale: np.ndarray

    def to(self, rows: Vectors) -> Vectors:
        moved = rows - self.mean.astype(np.float32)
        return np.asarray(moved @ (self.axes * self.scale).astype(np.float32))

    @property
    def back(self) -> np.ndarray:
        """W once more, from these coordinates to the new space."""
        return np.asarray((self.axes * self.scale).T)


def fit_kernel(
    old_vectors: Any,
    new_vectors: Any,
    *,
    old_model: ModelId,
    new_model: ModelId,
    sharpnesses: Sequence[float] = SHARPNESSES,
    penalties: Sequence[float] = PENALTIES,
) -> KernelMap:
    """Fit the kernel map from pairs.

    old_vectors, new_vectors: (n, dimension) in random order, row i of both is the same item,
        n >= 50. At most 4,000 are used, of which 2,000 as landmarks.
    sharpnesses, penalties: the combination whose mapped held-out items best agree with the new
        model's own neighbours (`agreement`) is used.
    Raises ShapeError (also: a new space where length has a meaning), VectorError, InputError.
    """
    old, new = check_pairs(
        old_vectors, new_vectors, source=old_model, target=new_model, least=MIN_PAIRS
    )
    old, new = old[:_PAIRS_MOST], new[:_PAIRS_MOST]
    refuse_constant(old, old_model)
    refuse_constant(new, new_model)
    held = min(_HELD_OUT_MOST, len(old) // _HELD_OUT_SHARE)
    centre = old[held:].mean(axis=0, dtype=np.float64)
    turned = _about(old, centre)
    weighing = _weigh(new[held:])
    targets = weighing.to(new)
    unit_exponent = 1.0 / _median_square(turned[held : held + _LANDMARKS])
    best: tuple[float, float, float, np.ndarray] | None = None
    tried = slice(held, held + _TRIED)
    for sharpness in sharpnesses:
        gram = _kernel(turned[tried], turned[tried], sharpness * unit_exponent)
        seen = _kernel(turned[:held], turned[tried], sharpness * unit_exponent)
        for penalty in penalties:
            mapped = _solve(gram, seen.T, penalty).T @ targets[tried]
            score = agreement(targets[:held], mapped)
            if best is None or score > best[0]:
                best = (score, sharpness, penalty, mapped)
    assert best is not None
    score, sharpness, penalty, mapped = best
    across = weighing.mean / max(float(np.linalg.norm(weighing.mean)), 1e-12)
    # The direction of least variance, made square to the mean: no query tells items apart by it.
    quiet = weighing.axes[:, 0] - across * float(weighing.axes[:, 0] @ across)
    quiet = quiet / max(float(np.linalg.norm(quiet)), 1e-12)
    level, reach = _place(new[:held], across, _directions(mapped, weighing.back, across))
    exponent = sharpness * unit_exponent
    landmarks = turned[:_LANDMARKS]
    weights = _fit_all(turned, targets, landmarks, exponent, penalty)
    arrays = {
        "centre": centre,
        "landmarks": landmarks,
        "weights": weights,
        "exponent": np.array([exponent]),
        "back": weighing.back,
        "mean": weighing.mean,
        "across": across,
        "quiet": quiet,
        "level": np.array([level]),
        "reach": np.array([reach]),
    }
    facts: Facts = {
        "method": "kernel ridge",
        "pairs": len(old),
        "landmarks": len(landmarks),
        "sharpness": float(sharpness),
        "penalty": float(penalty),
        "held_out_agreement": float(score),
    }
    return KernelMap(old_model, new_model, arrays, facts)


def _weigh(new: Vectors) -> _Weighing:
    mean = new.mean(axis=0, dtype=np.float64)
    values, axes = np.linalg.eigh(
        np.cov(new.T.astype(np.float64), bias=True).reshape(new.shape[1], -1)
    )
    values = np.maximum(values, 0.0)
    return _Weighing(mean, axes, (values + FLOOR * values.mean()) ** (-WHITENING / 2))


def _about(rows: np.ndarray, centre: np.ndarray) -> Vectors:
    return np.asarray(unit(rows - centre), dtype=np.float32)


def _kernel(rows: Vectors, landmarks: Vectors, exponent: float) -> Vectors:
    values = rows @ landmarks.T  # both of unit length: |a - b|^2 = 2 - 2 <a, b>
    values -= np.float32(1)
    values *= np.float32(2 * exponent)
    np.exp(values, out=values)
    return values


def _median_square(turned: Vectors) -> float:
    some = turned[:500]
    return max(float(np.median(2 - 2 * some @ some.T)), 1e-6)


def _solve(gram: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """Solve in the precision of gram: float32 will do to compare, not to keep."""
    from scipy.linalg import cho_factor, cho_solve

    system = gram.copy()
    system[np.diag_indices(len(gram))] += penalty + _PRECISION * np.trace(system)
    return np.asarray(cho_solve(cho_factor(system, overwrite_a=True), targets, overwrite_b=False))


def _fit_all(
    turned: Vectors, targets: np.ndarray, landmarks: Vectors, exponent: float, penalty: float
) -> np.ndarray:
    """Fit on all pairs; more pairs than landmarks are summed batch by batch (Nyström)."""
    gram = _kernel(landmarks, landmarks, exponent).astype(np.float64)
    if len(turned) == len(landmarks):
        return _solve(gram, targets, penalty)
    from scipy.linalg import solve

    squares = penalty * gram
    crossed = np.zeros((len(landmarks), targets.shape[1]))
    for start in range(0, len(turned), BATCH_ROWS):
        stretch = slice(start, start + BATCH_ROWS)
        kernel = _kernel(turned[stretch], landmarks, exponent).astype(np.float64)
        squares += kernel.T @ kernel
        crossed += kernel.T @ targets[stretch]
    # Kernel values are float32: directions below that precision are noise and must not be solved.
    squares += _PRECISION * np.trace(squares) * np.eye(len(squares))
    return np.asarray(solve(squares, crossed, assume_a="pos"))


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


# The kernel bridge: searched like a bridge, its best hits scored through the kernel map ----------
# The store is searched with a linear `bridge`; the hits read back are mapped by `kernel` and
# compared with the query in the weighted (whitened) new space,
#     exact(q, g) = < W(q - mean), p(g) > / |p(g)|,
# p the kernel regression. No stored vector is rewritten. Scoring a hit costs one row of kernel
# values, so it pays where old and new space are not joined by straight lines: far better on the
# small networks measured, a little better on image models, no better on text.


@final
class KernelBridge(StampedTransform):
    """New-model queries to vectors that search old space; see the module.

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
