"""The ways through an upgrade, each as a mixed gallery to be measured.

| strategy      | query on the old side          | stored old vectors | encodings of a query |
|---------------|--------------------------------|--------------------|----------------------|
| `naive_merge` | old model's                    | untouched          | 2                    |
| `rrf`         | old model's, ranks fused       | untouched          | 2                    |
| `merge`       | new model's, carried down; or  | untouched          | 1                    |
|               | old model's, calibrated; or    | untouched          | 2                    |
|               | half-way between both (SLERP); | untouched          | 2                    |
|               | or both, scores added up       | untouched          | 2                    |
| `prefill`     | new model's                    | rewritten by `up`  | 1                    |
| `compatible`  | new model's                    | untouched          | 1                    |
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hotfill.ranking.bridge import Bridge
from hotfill.ranking.kernel import KernelBridge
from hotfill.ranking.scorer import OLD_QUERY_WEIGHT
from hotfill.rehearsal.fitting import fit_calibration
from hotfill.rehearsal.mapped_gallery import MappedGallery
from hotfill.rehearsal.mixed_gallery import MixedGallery, Scores, Sides
from hotfill.rehearsal.sample import cosines
from hotfill.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.rehearsal.fitting import Fitted, Pairs
    from hotfill.rehearsal.sample import Sample
    from hotfill.types import Vectors

    OldSide: TypeAlias = Callable[[slice], Scores]
    """For some queries, calibrated scores of all items as old ones."""

TWO_ENCODERS, SLERP = "two encoders", "slerp"
OWN_QUERY = "own query and kernel bridge"
"""Ways to merge that embed each query by both models; their names stand among the transforms."""

RANK_CONSTANT = 60.0  # Cormack, Clarke, Büttcher 2009


def two_encoders(sample: Sample, pairs: Pairs, *, calibration: str) -> MixedGallery:
    """Distance rank merge of two complete systems. Uncalibrated, it is SEO's untrained baseline."""

    return MixedGallery(
        strategy="naive_merge" if calibration == "none" else "merge",
        transform="none" if calibration == "none" else TWO_ENCODERS,
        calibration=calibration,
        sides=_sides(sample, _own_view(sample, pairs, calibration)),
        query_encodings=2,
    )


def with_own_query(
    merged: MixedGallery, sample: Sample, pairs: Pairs, *, share: float = OLD_QUERY_WEIGHT
) -> MixedGallery:
    """Beside a query carried down, what the old model's own query says: a share of each old score.

    merged: of `merge_down`. It is what the scorer serves for a side with an `old_query_weight`.
    """
    own = _own_view(sample, pairs, merged.calibration)

    def sides(rows: slice) -> tuple[Scores, Scores]:
        old, new = merged.sides(rows)
        return (1 - share) * old + share * own(rows), new

    name = f"own query and {merged.transform}"
    return replace(merged, transform=name, sides=sides, query_encodings=2)


def slerp(sample: Sample, pairs: Pairs, fitted: Fitted, *, calibration: str) -> MixedGallery:
    """Old query and carried new query, half-way between the two along the sphere, as a baseline.

    fitted: a rotation of new queries to the old space. Source: Ricci, Biondi, Pernici (section 6.2
    of the method notes), who tune the share of the way; half-way was as good there.
    """

    def between(old: Vectors, new: Vectors) -> Vectors:
        return interpolated(old, fitted.transform(new), 0.5)

    def old_side(rows: slice) -> tuple[Scores, Scores]:
        queries = between(sample.old.queries.read(rows), sample.new.queries.read(rows))
        return cosines(queries, sample.old.gallery), queries @ pairs.old_reference.T

    within = between(pairs.old_reference, pairs.new_reference) @ pairs.old_reference.T
    return MixedGallery(
        strategy="merge",
        transform=SLERP,
        calibration=calibration,
        sides=_sides(sample, _calibrated(sample, pairs, old_side, within, calibration)),
        query_encodings=2,
        fit_seconds=fitted.seconds,
    )


def interpolated(first: Vectors, second: Vectors, share: float) -> Vectors:
    """Go a share of the way from rows of unit length to others, along the great circle."""
    other = unit(second)
    cosine = np.clip(np.einsum("ij,ij->i", first, other), -1 + 1e-6, 1 - 1e-6)
    angle = np.arccos(cosine)[:, None]
    mixed = np.sin((1 - share) * angle) * first + np.sin(share * angle) * other
    return np.asarray(mixed / np.sin(angle), dtype=np.float32)


def rank_fusion(sample: Sample) -> MixedGallery:
    """Reciprocal rank fusion of two complete systems, as a baseline."""

    def sides(rows: slice) -> tuple[Scores, Scores]:
        return (
            cosines(sample.old.queries.read(rows), sample.old.gallery),
            cosines(sample.new.queries.read(rows), sample.new.gallery),
        )

    return MixedGallery("rrf", "none", "ranks", sides, merge=fuse_ranks, query_encodings=2)


def merge_down(sample: Sample, pairs: Pairs, fitted: Fitted, *, calibration: str) -> MixedGallery:
    """New queries carried down to the old side: SEO's reverse query transform, or a bridge.

    A `Bridge` is measured by its exact scores, as the scorer refines its best hits.
    """
    down, gallery = fitted.transform, sample.old.gallery
    carried: Callable[[Vectors], Vectors]
    if isinstance(down, Bridge | KernelBridge):
        carried, reference = down.query_features, down.gallery_features(pairs.old_reference)
        scores = MappedGallery(gallery, down.gallery_features).scores
    else:
        carried, reference = down, pairs.old_reference
        scores = partial(cosines, gallery=gallery)

    def old_side(rows: slice) -> tuple[Scores, Scores]:
        queries = carried(sample.new.queries.read(rows))
        return scores(queries), queries @ reference.T

    within = carried(pairs.new_reference) @ reference.T
    return MixedGallery(
        strategy="merge",
        transform=fitted.name,
        calibration=calibration,
        sides=_sides(sample, _calibrated(sample, pairs, old_side, within, calibration)),
        fit_seconds=fitted.seconds,
    )


def merge_up(
    sample: Sample, pairs: Pairs, fitted: Fitted, *, strategy: str, calibration: str
) -> MixedGallery:
    """New queries against old vectors carried up into the new space.

    strategy: "prefill" (the vectors are rewritten before backfilling) or "compatible" (nothing is,
    the transform being the identity).
    """
    written = MappedGallery(sample.old.gallery, fitted.transform)
    reference = fitted.transform(pairs.old_reference)

    def old_side(rows: slice) -> tuple[Scores, Scores]:
        queries = sample.new.queries.read(rows)
        return written.scores(queries), queries @ reference.T

    within = pairs.new_reference @ reference.T
    return MixedGallery(
        strategy=strategy,
        transform=fitted.name,
        calibration=calibration,
        sides=_sides(sample, _calibrated(sample, pairs, old_side, within, calibration)),
        vectors_rewritten=len(sample.old.gallery) if strategy == "prefill" else 0,
        fit_seconds=fitted.seconds,
    )


def fuse_ranks(old: Scores, new: Scores, moved: NDArray[np.bool_]) -> Scores:
    """Score each item by 1 / (60 + its rank within its side); equal ranks tie."""
    fused = np.empty(old.shape, dtype=np.float64)
    for side, columns in ((old, np.flatnonzero(~moved)), (new, np.flatnonzero(moved))):
        ranks = np.empty((len(side), len(columns)))
        order = np.argsort(-side[:, columns], axis=1)
        np.put_along_axis(ranks, order, np.arange(1.0, len(columns) + 1)[None, :], axis=1)
        fused[:, columns] = 1.0 / (RANK_CONSTANT + ranks)
    return fused


def _own_view(sample: Sample, pairs: Pairs, calibration: str) -> OldSide:
    """The old side as the old model itself sees it."""

    def old_side(rows: slice) -> tuple[Scores, Scores]:
        queries = sample.old.queries.read(rows)
        return cosines(queries, sample.old.gallery), queries @ pairs.old_reference.T

    within = pairs.old_reference @ pairs.old_reference.T
    return _calibrated(sample, pairs, old_side, within, calibration)


def _calibrated(
    sample: Sample,
    pairs: Pairs,
    old_side: Callable[[slice], tuple[Scores, Scores]],
    within: Scores,
    name: str,
) -> OldSide:
    """Bring the scores of the old side to the scale of the new one.

    old_side: scores (q, n) with the gallery and (q, r) with the reference items. within: scores of
    the reference items as queries, (r, r).
    """
    calibration = fit_calibration(name, within, pairs.new_reference @ pairs.new_reference.T)

    def calibrated(rows: slice) -> Scores:
        old, old_reference = old_side(rows)
        new_reference = sample.new.queries.read(rows) @ pairs.new_reference.T
        prepared = calibration.prepare(old_reference, new_reference)
        for row in range(len(old)):
            old[row] = prepared(row, old[row])
        return old

    return calibrated


def _sides(sample: Sample, old_side: OldSide) -> Sides:
    """Score both sides, the new one as it is."""

    def sides(rows: slice) -> tuple[Scores, Scores]:
        return old_side(rows), cosines(sample.new.queries.read(rows), sample.new.gallery)

    return sides
