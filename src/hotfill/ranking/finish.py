"""The finish: a space of its own in which an upgrade may end, instead of the new model's plain one.

What the new vector shares with what the old one knew is predicted from the new vector alone, by a
regression p fitted on pairs to k(g), the prediction from the old vector (by a regression that has
not seen the pair). With w(y) = W (y - mean) of unit length, a moved item stands at

    T(y) = unit( w(y) + unit(p(y)) ),        score(q, y) = < w(q), T(y) >

T needs no old vector: it serves new items too, and after `complete`. On 11 of 13 pairs of models it
ended 1 % to 17 % of mAP above the plain new model, on the two whose models hardly agree below it;
the first hit gains less often. So it is a choice, with a `ModelId` of its own.
[derived and measured for this project: method notes, one space]
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, final

import numpy as np

from hotfill.errors import ConfigError, ShapeError
from hotfill.ranking.regression import (
    Whitening,
    fit_kernel_regression,
    fit_linear,
    regression_of,
)
from hotfill.ranking.transform import Affine, StampedTransform
from hotfill.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.types import Embedder, ModelId, Transform, Vectors

FinishForm: TypeAlias = Literal["linear", "kernel"]

_LINEAR_PENALTY = 1.0
_KERNEL_SHARPNESS, _KERNEL_PENALTY = 1.0, 0.3


@final
class Finish(StampedTransform):
    """Vectors of the new model to the space of the finish; see the module.

    source: the new model. target: that model with this finish.
    arrays: mean (d,) and matrix (d, d) of the whitening, those of a `Regression` as
        "regression.NAME".
    """

    kind: ClassVar[str] = "finish"

    @property
    def queries(self) -> Affine:
        """What brings queries of the new model to the space of the finish: w(q)."""
        return query_map(self.whitening, self.source, self.target)

    @property
    def whitening(self) -> Whitening:
        """Of the new space."""
        return Whitening(self._arrays["mean"], self._arrays["matrix"])

    def _check(self) -> None:
        dimension = self.source.dimension
        if self.target.dimension != dimension or self.target.metric != "cosine":
            raise ShapeError(f"a finish of {self.source} keeps its dimension, by the cosine")
        rest = {name: array.shape for name, array in self._arrays.items() if "." not in name}
        if rest != {"mean": (dimension,), "matrix": (dimension, dimension)}:
            raise ShapeError(f"a finish of {dimension} numbers has mean and matrix, got {rest}")
        self._regression = regression_of(
            {
                name.removeprefix("regression."): array
                for name, array in self._arrays.items()
                if "." in name
            }
        )

    def _map(self, rows: Vectors) -> Vectors:
        return np.asarray(unit(self.whitening(rows)) + unit(self._regression(rows)))


def fit_finish(
    new_vectors: Vectors,
    predicted: Vectors,
    whitening: Whitening,
    new_model: ModelId,
    *,
    form: FinishForm = "linear",
) -> Finish:
    """Fit the finish of a new model.

    new_vectors: float32 (n, d) as the space compares them, in random order. predicted: (n, d), the
        whitened new vectors predicted from the old ones, by a regression that has not seen the row.
    form: of p. A linear one is a matrix; a kernel costs 2,000 kernel values an item.
    Raises ConfigError for another form.
    """
    if form == "linear":
        arrays = fit_linear(new_vectors, predicted, _LINEAR_PENALTY).arrays
    elif form == "kernel":
        arrays = fit_kernel_regression(
            new_vectors, predicted, sharpness=_KERNEL_SHARPNESS, penalty=_KERNEL_PENALTY
        ).arrays
    else:
        raise ConfigError(f'finish form: expected "linear" or "kernel", got {form!r}')
    whole = {f"regression.{name}": array for name, array in arrays.items()}
    whole |= {"mean": whitening.mean, "matrix": whitening.matrix}
    digest = hashlib.sha256()
    for name in sorted(whole):
        digest.update(name.encode() + np.ascontiguousarray(whole[name], np.float32).tobytes())
    finished = replace(
        new_model,
        revision=f"{new_model.revision}+agreement.{digest.hexdigest()[:12]}",
        metric="cosine",
        normalised=True,
    )
    facts = {"method": "agreement finish", "form": form, "pairs": len(new_vectors)}
    return Finish(new_model, finished, whole, facts)


def query_map(whitening: Whitening, new_model: ModelId, finished: ModelId) -> Affine:
    """Return w(q) as a transform: an affine map, of unit length because its target is cosine."""
    arrays = {"matrix": whitening.matrix, "offset": -whitening.mean @ whitening.matrix}
    return Affine(new_model, finished, arrays, {"method": "whitening"})


@final
@dataclass(frozen=True, slots=True, eq=False)
class FinishedEmbedder:
    """An embedder whose vectors are mapped on: items by a `Finish`, queries by its `queries`."""

    embedder: Embedder
    transform: Transform

    @property
    def model_id(self) -> ModelId:
        """The space of the finish."""
        return self.transform.target

    def __call__(self, contents: Sequence[Any], /) -> Vectors:
        """Embed contents: float32 (n, dimension), of unit length."""
        return self.transform(self.embedder(contents))
