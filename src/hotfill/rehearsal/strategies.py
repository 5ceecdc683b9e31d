"""The ways through an upgrade, each as a mixed gallery to be measured.

| strategy      | query on the old side                     | stored old vectors | encodings |
|---------------|-------------------------------------------|--------------------|-----------|
| `naive_merge` | old model's, scores as they come          | untouched          | 2         |
| `merge`       | new model's, carried down and calibrated; | untouched          | 1         |
|               | with `queries = "both"` also the old's    | untouched          | 2         |
| `prefill`     | new model's; raw, or calibrated by origin | imputed by `up`    | 1         |
|               | with `queries = "both"` also the old's    | imputed by `up`    | 2         |
| `compatible`  | new model's                               | untouched          | 1         |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from tempfile import TemporaryFile
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias, final

import numpy as np

from hotfill.errors import ConfigError
from hotfill.ranking import Bridge, KernelBridge, fit_one_space, identity
from hotfill.ranking.one_space import IMPUTED_BY, REFERENCES, RHO_UNSURE, old_query_weight
from hotfill.ranking.scorer import OLD_QUERY_WEIGHT
from hotfill.rehearsal.maps import Fitted, fit_calibration
from hotfill.rehearsal.mixed_gallery import MixedGallery, Scores, Sides
from hotfill.rehearsal.sample import cosines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hotfill.rehearsal.maps import Direction, Maps, SplitPairs
    from hotfill.rehearsal.sample import Sample, SampleSide
    from hotfill.types import Vectors

OldSide: TypeAlias = Callable[[slice], Scores]
"""For some queries, calibrated scores of all items as old ones."""

STRATEGIES = ("naive_merge", "merge", "prefill", "compatible")
TRANSFORMS = ("bridge", "kernel_bridge")
QUERIES = ("new", "both")


def ways(
    sample: Sample,
    pairs: SplitPairs,
    fitted: Callable[[str, Direction], Fitted],
    imputed_by: Callable[[str], ImputedGallery],
    *,
    strategies: Sequence[str],
    transforms: Sequence[str],
    queries: Sequence[str],
    maps: Maps,
) -> Iterator[MixedGallery]:
    """Make a mixed gallery of every strategy, with each of the transforms that it takes.

    `merge` takes maps that go down, with tail calibration, for queries of the new model or of both;
    `prefill` takes maps that go up. Those of a plan are measured as `start` serves them, placed and
    ranked raw (calibration "none") and by origin ("tail"); others give vectors of unit length, raw.
    With queries of both models they are measured where rho is not clearly enough (below 0.70), or
    no other queries are asked for: elsewhere the old model's queries take from what they could add.
    """
    if "naive_merge" in strategies:
        yield naive_merge(sample)
    for name in transforms:
        if "down" in maps[name] and "merge" in strategies:
            merged = merge_down(sample, pairs, fitted(name, "down"), calibration="tail")
            if "new" in queries:
                yield merged
            if "both" in queries:
                yield with_old_queries(merged, sample, pairs)
        if "up" in maps[name] and "prefill" in strategies:
            if name in IMPUTED_BY:
                yield from imputed(sample, imputed_by(name), queries)
            else:
                up = fitted(name, "up")
                yield merge_up(sample, pairs, up, strategy="prefill", calibration="none")
    if "compatible" in strategies and sample.old.model.dimension == sample.new.model.dimension:
        same = Fitted("identity", identity(sample.old.model, sample.new.model), 0.0)
        yield merge_up(sample, pairs, same, strategy="compatible", calibration="none")


def naive_merge(sample: Sample) -> MixedGallery:
    """Distance rank merge of two complete systems, uncalibrated: SEO's untrained baseline."""

    def old_side(rows: slice) -> Scores:
        return cosines(sample.old.queries.read(rows), sample.old.gallery)

    return MixedGallery("naive_merge", "none", "none", both_sides(sample, old_side), queries="both")


def with_old_queries(
    merged: MixedGallery,
    sample: Sample,
    pairs: SplitPairs,
    *,
    weight: float = OLD_QUERY_WEIGHT,
) -> MixedGallery:
    """Let the query embedded by the old model decide a share of each old item's score.

    merged: of `merge_down`. It is what the scorer serves for a side with an `old_query_weight`.
    """
    by_old = old_side_alone(sample, pairs, merged.calibration)

    def sides(rows: slice) -> tuple[Scores, Scores]:
        old, new = merged.sides(rows)
        return (1 - weight) * old + weight * by_old(rows), new

    return replace(merged, sides=sides, queries="both")


def merge_down(
    sample: Sample, pairs: SplitPairs, fitted: Fitted, *, calibration: str
) -> MixedGallery:
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
        sides=both_sides(sample, calibrated_side(sample, pairs, old_side, within, calibration)),
        fit_seconds=fitted.seconds,
    )


def merge_up(
    sample: Sample, pairs: SplitPairs, fitted: Fitted, *, strategy: str, calibration: str
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
        sides=both_sides(sample, calibrated_side(sample, pairs, old_side, within, calibration)),
        vectors_rewritten=len(sample.old.gallery) if strategy == "prefill" else 0,
        fit_seconds=fitted.seconds,
    )


@final
class ImputedGallery:
    """Old vectors imputed into the index of the new ones, fitted on pairs as `start` fits them.

    name: one of `IMPUTED_BY`.
    """

    def __init__(self, sample: Sample, pairs: SplitPairs, name: str) -> None:
        began = perf_counter()
        self.name = name
        self.one = fit_one_space(
            *paired(pairs),
            sample.old.model,
            sample.new.model,
            queries=real_queries(sample),
            map=IMPUTED_BY[name],
        )
        self.seconds = perf_counter() - began
        self._written = MappedGallery(sample.old.gallery, self.one.impute)

    def scores(self, queries: Vectors) -> Scores:
        """Inner products of queries of the new model (q, d) with all imputed vectors: (q, n)."""
        return self._written.scores(queries)


def imputed(
    sample: Sample, gallery: ImputedGallery, asked: Sequence[str] = ("new",)
) -> Iterator[MixedGallery]:
    """Old vectors imputed into the new index, ranked raw and calibrated.

    asked: of `QUERIES`, see `ways`. All items are ranked: the calibrated ranking has no overfetch
    here, and the old model's queries judge every item.
    """
    one = gallery.one

    def raw(rows: slice) -> Scores:
        return gallery.scores(sample.new.queries.read(rows))

    def calibrated(rows: slice) -> Scores:
        line = one.scale.prepare(sample.new.queries.read(rows)).lines[one.origin]
        return np.stack([line(row, scores) for row, scores in enumerate(raw(rows))])

    def by_old(rows: slice) -> Scores:
        asked = sample.old.queries.read(rows)
        lines = one.old_query_scores(sample.new.queries.read(rows), asked, moved=0.0).lines
        scores = cosines(asked, sample.old.gallery)
        return np.stack([lines(row, each) for row, each in enumerate(scores)])

    served = partial(
        MixedGallery,
        strategy="prefill",
        transform=gallery.name,
        vectors_rewritten=len(sample.old.gallery),
        fit_seconds=gallery.seconds,
    )
    if "new" in asked:
        yield served(calibration="none", sides=both_sides(sample, raw))
        yield served(calibration="tail", sides=both_sides(sample, calibrated))
    if "both" in asked and (one.rho < RHO_UNSURE[1] or "new" not in asked):
        sides = both_sides(sample, calibrated)
        yield served(
            calibration="tail",
            sides=lambda rows: (*sides(rows), by_old(rows)),
            merge=partial(judged_by_both, weight=old_query_weight(one.rho)),
            queries="both",
        )


def judged_by_both(
    imputed: Scores, own: Scores, by_old: Scores, moved: NDArray[np.bool_], *, weight: float
) -> Scores:
    """Give the old model's queries their share of every item's score, as `OldQueryScores` does.

    weight: of an item that has not moved; of one that has, it falls to nothing at the end.
    """
    share = np.where(moved, weight * (1 - moved.mean()), weight).astype(np.float32)
    return (1 - share) * np.where(moved, own, imputed) + share * by_old


def paired(pairs: SplitPairs) -> tuple[Vectors, Vectors]:
    """Return all pairs, (n, d_old) and (n, d_new): one index holds back reference items itself."""
    return (
        np.vstack([pairs.old_reference, pairs.old_fit]),
        np.vstack([pairs.new_reference, pairs.new_fit]),
    )


def real_queries(sample: Sample) -> Vectors | None:
    """Return some real queries of the new model; None where items stand in for them."""
    if not sample.has_queries:
        return None
    return sample.new.queries.read(slice(0, REFERENCES))


def old_side_alone(sample: Sample, pairs: SplitPairs, calibration: str) -> OldSide:
    """Score the old side by the old model's own queries, brought to the scale of the new side."""

    def old_side(rows: slice) -> tuple[Scores, Scores]:
        queries = sample.old.queries.read(rows)
        return cosines(queries, sample.old.gallery), queries @ pairs.old_reference.T

    within = pairs.old_reference @ pairs.old_reference.T
    return calibrated_side(sample, pairs, old_side, within, calibration)


def calibrated_side(
    sample: Sample,
    pairs: SplitPairs,
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


def both_sides(sample: Sample, old_side: OldSide) -> Sides:
    """Score both sides, the new one by plain cosines."""

    def sides(rows: slice) -> tuple[Scores, Scores]:
        return old_side(rows), cosines(sample.new.queries.read(rows), sample.new.gallery)

    return sides


@final
class MappedGallery:
    """Vectors of a gallery after a map, float32, in a temporary file that has no name.

    A map that costs a kernel row per vector is thus paid for once, and the file's pages are the
    system's to drop, so that memory does not grow with the gallery. The map is applied when scores
    are asked for the first time.
    """

    def __init__(self, gallery: SampleSide, mapping: Callable[[Vectors], Vectors]) -> None:
        self._gallery = gallery
        self._mapping = mapping
        self._mapped: Vectors | None = None

    def scores(self, queries: Vectors) -> Vectors:
        """Inner products of queries (q, d) with all mapped vectors (n, d): float32 (q, n)."""
        mapped = self._read()
        scores = np.empty((len(queries), len(mapped)), dtype=np.float32)
        for span in self._gallery.spans():
            scores[:, span] = queries @ mapped[span].T
        return scores

    def _read(self) -> Vectors:
        if self._mapped is None:
            with TemporaryFile(prefix="hotfill-rehearse-") as file:
                dimension = 0
                for _, block in self._gallery.blocks():
                    rows = np.ascontiguousarray(self._mapping(block), dtype=np.float32)
                    dimension = rows.shape[1]
                    # Written, not mapped: a full disk is then an error instead of a dead process.
                    file.write(rows.data)
                file.flush()
                shape = len(self._gallery), dimension
                self._mapped = np.memmap(file, dtype=np.float32, mode="r", shape=shape)
        return self._mapped


def check_names(what: str, given: Sequence[str], possible: Sequence[str]) -> None:
    """Raise ConfigError unless names were given and all of them are known."""
    if isinstance(given, str) or not given:
        raise ConfigError(f"expected a list of one {what} or more, of {', '.join(possible)}")
    for name in given:
        if name not in possible:
            raise ConfigError(f"unknown {what} {name!r}; expected some of {', '.join(possible)}")
