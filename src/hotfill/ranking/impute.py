"""Imputation: an old vector mapped to where its new one will stand, for one index of both.

The prediction k(g) of a regression to the whitened new space, W (y - mean), is brought to unit
length, u = k(g) / |k(g)|, and placed. With a the direction of the new vectors' mean,

    d = W u - <W u, a> a,                 v = level a + reach d

so that <q, d> is, up to a factor and a shift of the query's own, the whitened cosine of query and
prediction; level and reach are those two numbers with which the median query sees mapped and true
vectors of the same reference items stand out alike. With m and u the median of a query's scores and
the rise of their upper tail above it (`calibration.Tail`), over reference items r,

    reach = median_q  u(q, true r) / u(q, d(r))
    level = median_q  (m(q, true r) - reach m(q, d(r))) / median_q <q, a>

The result is *not* of unit length (about 1.1 on real models), and must not be brought to it: that
bends every vector by an amount of its own. It is compared by the inner product, by which the
model's own vectors, of unit length, keep their order. A search over both is then one ordinary
search with the plain query. [derived and measured for this project: method notes, one space]

A store that knows only the cosine needs one more dimension, see `lengthened`.

Residuals. Pairs of which both vectors are known, the moved items above all, say where the
regression errs. For the 20 known items j nearest to g in old space (about its mean, unit length),

    c(g) = sum_j w_j r_j / sum_j w_j,    r_j = W (y_j - mean) - k(g_j),    w_j = exp(20 (cos - 1))

is added to k(g), times lambda: the slope of true on predicted residuals of at most 600 moved items,
each left out of its own c, and between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from hotfill.errors import InputError, ShapeError
from hotfill.ranking.calibration import tail
from hotfill.ranking.regression import about, regression_of
from hotfill.ranking.transform import StampedTransform
from hotfill.vectors import check_vectors, has_free_length, unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hotfill.ranking.regression import Whitening
    from hotfill.types import Vectors

NEIGHBOURS = 20
_CLOSENESS = 20.0
_JUDGED = 600  # moved items by which lambda is found
_ROWS = 64  # corrected at once: cosines with 10,000 known items, and their order, take 8 MB
PLACING_QUERIES = 200


@final
class Imputation(StampedTransform):
    """Old vectors to where their new ones will stand; see the module.

    source: the old model. target: the space of the index.
    arrays: those of a `Regression` as "regression.NAME", base (d,) and turn (d, d) that place a
        unit prediction u at base + u turn; with residuals also those of `Known` as "known.NAME".

    What it gives has a length of its own, whatever the target says.
    """

    kind: ClassVar[str] = "imputation"
    keeps_length: ClassVar[bool] = True

    def predicted(self, rows: Vectors) -> Vectors:
        """Unit predictions in the whitened space for rows as the old space compares them."""
        found = self._regression(rows)
        if self._known is not None:
            found += self._known.weight[0] * self._known.correction(rows)
        return unit(found)

    def regressed(self, rows: Vectors) -> Vectors:
        """The regression alone, without residuals and length: float32 (n, d)."""
        return self._regression(rows)

    def confidence(self, rows: Vectors) -> Vectors:
        """Length of the prediction, float32 (n,); see `fit.uncertainty`."""
        return np.asarray(np.linalg.norm(self._regression(rows), axis=1), dtype=np.float32)

    @property
    def longest(self) -> float:
        """No imputed vector is longer: |base| + the spectral norm of turn."""
        turn = self._arrays["turn"]
        return float(np.linalg.norm(self._arrays["base"]) + np.linalg.norm(turn, 2))

    def placed(self, place: Placement, known: Known | None) -> Imputation:
        """Return the same regression with other residuals, placed anew."""
        arrays = {n: a for n, a in self._arrays.items() if n.startswith("regression.")}
        return imputation(self, arrays, place, known)

    def _check(self) -> None:
        parts: dict[str, dict[str, np.ndarray]] = {"regression": {}, "known": {}}
        plain: dict[str, np.ndarray] = {}
        for name, array in self._arrays.items():
            part, _, inner = name.partition(".")
            (parts[part] if inner and part in parts else plain)[inner or name] = array
        self._regression = regression_of(parts["regression"])
        target = self.target.dimension
        got = {name: array.shape for name, array in plain.items()}
        if got != {"base": (target,), "turn": (target, target)}:
            raise ShapeError(
                f"an imputation places vectors of {target} numbers by base and turn, got {got}"
            )
        ends = self._regression(np.zeros((1, self.source.dimension), np.float32)).shape[1]
        if ends != target:
            raise ShapeError(f"the regression gives {ends} numbers, the space has {target}")
        self._known = None
        if parts["known"]:
            try:
                self._known = Known(**parts["known"])
            except TypeError as error:
                raise ShapeError(f"the known pairs lack an array: {error}") from error
        if has_free_length(self.target):
            raise ShapeError(
                f"old vectors are imputed among vectors of unit length, but length has a meaning "
                f'in {self.target}: use strategy = "merge"'
            )

    def _map(self, rows: Vectors) -> Vectors:
        return np.asarray(self.predicted(rows) @ self._arrays["turn"] + self._arrays["base"])


def imputation(
    like: StampedTransform,
    regression: Mapping[str, np.ndarray],
    place: Placement,
    known: Known | None,
) -> Imputation:
    """Build one between the spaces of another. regression: arrays as "regression.NAME"."""
    arrays = {**regression, "base": place.base, "turn": place.turn}
    if known is not None:
        arrays |= {f"known.{name}": array for name, array in known.arrays.items()}
    return Imputation(like.source, like.target, arrays, {**like.facts, **place.facts})


@final
@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where unit predictions u stand: base + u turn. base (d,), turn (d, d), float32."""

    base: Vectors
    turn: Vectors
    facts: Mapping[str, float]


def place_plain(
    whitening: Whitening, predicted: Vectors, new_reference: Vectors, queries: Vectors
) -> Placement:
    """Find level and reach for an index of the new model's own vectors; see the module.

    predicted, new_reference: (r, d), row i of both is one reference item that the regression has
        not seen: its unit prediction, and its new vector. queries: (q, d), of the new model.
    """
    middle = float(np.linalg.norm(whitening.mean))
    across = whitening.mean / max(middle, 1e-12)
    towards = whitening.matrix @ across
    turn = whitening.matrix - np.outer(towards, across)
    new_middle, new_rise = _seen(queries, new_reference)
    old_middle, old_rise = _seen(queries, predicted @ turn)
    reach = float(np.median(new_rise / old_rise))
    along = float(np.median(queries @ across))
    # A space about its mean has no direction that all queries share, and needs no level.
    shift = float(np.median(new_middle - reach * old_middle))
    level = shift / along if abs(along) > 1e-2 else 0.0
    return Placement(
        np.asarray(level * across, dtype=np.float32),
        np.asarray(reach * turn, dtype=np.float32),
        {"level": level, "reach": reach},
    )


def place_whitened(predicted: Vectors, new_reference: Vectors, queries: Vectors) -> Placement:
    """Find reach for an index of vectors of the whitened space, whose scores have middle 0."""
    _, new_rise = _seen(queries, new_reference)
    _, old_rise = _seen(queries, predicted)
    reach, dimension = float(np.median(new_rise / old_rise)), predicted.shape[1]
    turn = np.asarray(reach * np.eye(dimension), dtype=np.float32)
    return Placement(np.zeros(dimension, np.float32), turn, {"level": 0.0, "reach": reach})


def _seen(queries: Vectors, reference: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle and rise of each query's scores with the reference items."""
    return tail().background(np.asarray(queries @ reference.T, dtype=np.float32))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Items of which both vectors are known, and where the regression errs about them.

    centre (d_old,); old (n, d_old), of unit length about the centre; residual (n, d_new);
    weight (1,): lambda, from 0 to 1. All float32.
    """

    centre: Vectors
    old: Vectors
    residual: Vectors
    weight: Vectors

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The fields by name."""
        return {
            "centre": self.centre,
            "old": self.old,
            "residual": self.residual,
            "weight": self.weight,
        }

    def correction(self, rows: Vectors, own: NDArray[np.int64] | None = None) -> Vectors:
        """Return c(g) for rows as the old space compares them, float32 (n, d_new).

        own: the place of each row among the known items, which is left out of its neighbours.
        """
        found = np.empty((len(rows), self.residual.shape[1]), np.float32)
        count = min(NEIGHBOURS, len(self.old) - (own is not None))
        for start in range(0, len(rows), _ROWS):
            stretch = slice(start, start + _ROWS)
            cosines = about(rows[stretch], self.centre) @ self.old.T
            if own is not None:
                cosines[np.arange(len(cosines)), own[stretch]] = -2.0
            nearest = np.argpartition(cosines, -count, axis=1)[:, -count:]
            near = np.take_along_axis(cosines, nearest, axis=1)
            weights = np.exp(_CLOSENESS * (near - near.max(axis=1, keepdims=True)))
            weights /= weights.sum(axis=1, keepdims=True)
            found[stretch] = np.einsum("ij,ijk->ik", weights, self.residual[nearest])
        return found


def known_pairs(old: Vectors, residual: Vectors, moved: int, *, seed: int = 0) -> Known:
    """Join known pairs, and find lambda by the moved ones, which come first.

    old: (n, d_old) as the old space compares them. residual: (n, d_new). moved: how many of the
    first rows are moved items rather than pairs that the regression was fitted on.
    Raises InputError when there are fewer than 21.
    """
    if len(old) <= NEIGHBOURS or not 0 < moved <= len(old):
        raise InputError(f"{len(old)} known pairs, {moved} of them moved: at least 21 are needed")
    centre = old.mean(axis=0, dtype=np.float64).astype(np.float32)
    one = np.ones(1, np.float32)
    whole = Known(centre, about(old, centre), np.asarray(residual, np.float32), one)
    judged = np.random.default_rng(seed).permutation(moved)[:_JUDGED]
    guessed = whole.correction(old[judged], own=judged).astype(np.float64)
    squares = float(np.square(guessed).sum())
    slope = float(np.sum(guessed * whole.residual[judged])) / max(squares, 1e-30)
    return Known(centre, whole.old, whole.residual, np.array([np.clip(slope, 0, 1)], np.float32))


def lengthened(vectors: Any, longest: float) -> Vectors:
    """Give vectors one more dimension in which all of them are of unit length.

    For a store that knows only the cosine: with L the longest, v becomes
    (v, sqrt(L^2 - |v|^2)) / L, and the cosine with the query (q, 0), which `lengthened(q, None)`
    is not for, is <q, v> / (|q| L): the order of the inner product.

    vectors: (n, d), none longer than `longest`, > 0; both the model's own and imputed ones.
    Returns float32 (n, d + 1). Raises InputError when one is longer by more than a thousandth.
    """
    given = np.asarray(vectors, dtype=np.float32)
    given = check_vectors(given, given.shape[1] if given.ndim == 2 else 0)
    squares = np.square(given, dtype=np.float64).sum(axis=1)
    if not longest > 0 or (len(given) and squares.max() > (1.001 * longest) ** 2):
        raise InputError(
            f"expected vectors of length {longest:g} at most, got one of "
            f"{np.sqrt(squares.max(initial=0)):.4g}"
        )
    rest = np.sqrt(np.maximum(longest**2 - squares, 0))
    return np.asarray(np.hstack([given, rest[:, None]]) / longest, dtype=np.float32)
