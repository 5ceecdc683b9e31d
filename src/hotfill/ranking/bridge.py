"""The bridge: new queries against stored old vectors, without rewriting one of them.

Take the affine map of old vectors to the new space, A g + o (ridge), and compare there by a cosine
about a centre c, after scaling the new space by a symmetric matrix W:

    exact(q, g) = < W(q - c), W(A g + o - c) > / |W(A g + o - c)|            (|W(q - c)| left out)

The numerator is linear in g, so a query becomes one vector over old space. The length is the norm
of a (d + 1)-square matrix times (g, 1), so stored hits can be scored exactly without visiting the
new space. For the search itself the length is replaced by its best linear prediction from g, made
at the score that the query's best hits have: 1 / n(g) to first order. What the store returns is
then close to the exact order, and a few times k hits hold the exact top k.
[derived here; the idea that <q, A g + b> = <A^T q, g> + <q, b> from the plan's page]

Whitening, W = (C + r I)^(-w/2) with C the covariance of the new space, 0 <= w <= 1, gives
directions of small variance more of a say; on image models it beat the plain cosine clearly, on
text models a little of it did no harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from hotfill.errors import InputError, ShapeError
from hotfill.ranking.linear import Moments
from hotfill.ranking.pairs import check_pairs
from hotfill.ranking.transform import BATCH_ROWS, StampedTransform
from hotfill.vectors import checked, has_free_length

if TYPE_CHECKING:
    from hotfill.ranking.transform import Facts
    from hotfill.types import ModelId, Vectors
    from hotfill.vectors import Checked

MIN_PAIRS = 50
"""Fewer pairs cannot tell the directions that matter."""

_TOP = 2.5  # standard deviations above a query's mean score: about where its best hits are


@final
@dataclass(frozen=True, slots=True)
class BridgeForm:
    """Which bridge to fit.

    penalty: of the ridge map, in units of the mean variance of old directions, >= 0.
    whitening: w above, 0 (none) to 1 (full).
    floor: r above, in units of the mean variance of new directions, > 0.
    centred: whether c is the new space's mean, else zero.
    """

    penalty: float = 0.3
    whitening: float = 0.4
    floor: float = 0.3
    centred: bool = True

    def __post_init__(self) -> None:
        if not (self.penalty >= 0 and 0 <= self.whitening <= 1 and self.floor > 0):
            raise InputError(f"penalty >= 0, 0 <= whitening <= 1 and floor > 0 needed, got {self}")


@final
class Bridge(StampedTransform):
    """New-model queries to vectors that search old space; see the module.

    source: the new model. target: the old model.
    arrays: centre (new,), numerator (new, old + 1), length (old + 1, old + 1), slope (old,);
        mean (old + 1,) and covariance (old + 1, old + 1) of the gallery features.
    """

    kind: ClassVar[str] = "bridge"
    overfetch: ClassVar[int] = 4
    """How many times k hits to score exactly: 40 held .96 to 1 of the exact ten on real models, and
    .88 on the small networks of the digits."""

    def query_features(self, queries: Vectors | Checked, /) -> Vectors:
        """Features of new-model queries: float32 (q, old.dimension + 1).

        Scaled so that each query's exact scores with a typical gallery have spread 1.
        """
        given = checked(queries, self.source, what=f"queries of {self.source.name}")
        return self._features(given.compared)

    def gallery_features(self, vectors: Vectors | Checked, /) -> Vectors:
        """Features of stored old vectors: float32 (n, old.dimension + 1)."""
        given = checked(vectors, self.target, what=f"vectors of {self.target.name}")
        return _gallery_features(given.compared, self._arrays["length"])

    def confidence(self, rows: Vectors) -> Vectors:
        """Length of the mapped vector about the centre, float32 (n,); see `uncertainty`."""
        length = self._arrays["length"]
        return np.asarray(np.linalg.norm(rows @ length[:-1] + length[-1], axis=1), dtype=np.float32)

    def _features(self, rows: Vectors) -> Vectors:
        features = (rows - self._arrays["centre"]) @ self._arrays["numerator"]
        spread = np.einsum("ij,ij->i", features @ self._arrays["covariance"], features)
        return np.asarray(features / np.sqrt(np.maximum(spread, 1e-20))[:, None], dtype=np.float32)

    def _map(self, rows: Vectors) -> Vectors:
        features = self._features(rows)
        top = features @ self._arrays["mean"] + _TOP
        searching = features[:, :-1] - top[:, None] * self._arrays["slope"]
        return np.asarray(searching, dtype=np.float32)

    def _check(self) -> None:
        new, old = self.source.dimension, self.target.dimension
        expected = {
            "centre": (new,),
            "covariance": (old + 1, old + 1),
            "length": (old + 1, old + 1),
            "mean": (old + 1,),
            "numerator": (new, old + 1),
            "slope": (old,),
        }
        self._check_shapes("a bridge", expected)
        if self.target.metric == "l2" and has_free_length(self.target):
            raise ShapeError(
                f"a bridge needs an old space whose order is that of inner products; {self.target} "
                "is compared by distance and not normalised"
            )


def fit_bridge(
    new_vectors: Any,
    old_vectors: Any,
    *,
    new_model: ModelId,
    old_model: ModelId,
    form: BridgeForm | None = None,
) -> Bridge:
    """Fit a bridge of a given form from pairs.

    new_vectors, old_vectors: (n, dimension), row i of both is the same item, n >= 50.
    Raises ShapeError, VectorError (NaN, zero, constant), InputError (too few pairs).
    """
    new, old = check_pairs(
        new_vectors, old_vectors, source=new_model, target=old_model, least=MIN_PAIRS
    )
    moments = Moments(old_model.dimension, new_model.dimension, second_moments=True)
    moments.add_all(old, new)
    moments.refuse_constant(old_model, new_model)
    return bridge_of(moments, old, new_model=new_model, old_model=old_model, form=form)


def bridge_of(
    moments: Moments,
    old_sample: Vectors,
    *,
    new_model: ModelId,
    old_model: ModelId,
    form: BridgeForm | None = None,
) -> Bridge:
    """Fit from the moments of pairs (old first, with second moments of new) and old vectors.

    old_sample: float32 (n, old.dimension), some of the pairs' or others; the first 4,096 are used.

    Cheap enough to try many forms on one set of moments.
    """
    form = form or BridgeForm()
    ridge = moments.ridge(form.penalty)
    mapped = np.vstack([ridge.matrix, ridge.offset])  # (old + 1, new): (g, 1) to the new space
    centre = moments.mean_second if form.centred else np.zeros(new_model.dimension)
    mapped[-1] -= centre
    values, vectors = moments.second_axes
    scale = (values + form.floor * values.mean()) ** (-form.whitening / 2)
    scaled = (mapped @ vectors) * scale  # coordinates along the new space's axes, weighed
    numerator = (vectors * scale) @ scaled.T
    length = np.zeros((len(mapped), len(mapped)))
    # The triangle of QR has the same Gram matrix, hence the same lengths, in fewer columns.
    triangle = np.asarray(np.linalg.qr(scaled.T, mode="r"))
    length[:, : len(triangle)] = triangle.T
    sample = old_sample[:BATCH_ROWS].astype(np.float64)
    lengths = np.linalg.norm(sample @ length[:-1] + length[-1], axis=1)
    features = _gallery_features(sample, length).astype(np.float64)
    arrays = {
        "centre": centre,
        "numerator": numerator,
        "length": length,
        "slope": _slope(sample, lengths),
        "mean": features.mean(axis=0),
        "covariance": np.cov(features, rowvar=False),
    }
    facts: Facts = {
        "method": "bridge",
        "pairs": moments.count,
        "penalty": form.penalty,
        "whitening": form.whitening,
        "floor": form.floor,
        "centred": int(form.centred),
    }
    return Bridge(new_model, old_model, arrays, facts)


def _gallery_features(rows: np.ndarray, length: np.ndarray) -> Vectors:
    lengths = np.linalg.norm(rows @ length[:-1] + length[-1], axis=1, keepdims=True)
    lengths = np.maximum(lengths, 1e-12)
    return np.hstack([rows / lengths, 1.0 / lengths]).astype(np.float32)


def _slope(sample: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Predict the length from the vector: least squares, a little ridge against few rows."""
    centred = sample - sample.mean(axis=0)
    gram = centred.T @ centred
    ridge = 0.1 * np.trace(gram) / len(gram)
    return np.asarray(
        np.linalg.solve(gram + ridge * np.eye(len(gram)), centred.T @ (lengths - lengths.mean()))
    )
