"""Carry a limit on the score over to the new model, whose scores mean something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError
from hotfill.rehearsal.backfill_evaluation import chunks
from hotfill.rehearsal.sample import cosines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.metrics import Relevance
    from hotfill.rehearsal.mixed_gallery import MixedGallery, Scores
    from hotfill.rehearsal.sample import Sample

_BINS = 20_000  # of cosines from -1 to 1: the limit is found to 0.0001


@dataclass(frozen=True, slots=True)
class Passed:
    """What a limit lets through. hits: mean number a query.

    precision: share of those that are relevant. recall: share of what is relevant among them.
    None without labels or judgements, and precision where nothing passes.
    """

    hits: float
    precision: float | None = None
    recall: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Return plain values."""
        return {"hits": self.hits, "precision": self.precision, "recall": self.recall}


@dataclass(frozen=True, slots=True)
class CarriedThreshold:
    """A limit on the old model's cosine, and the new model's that lets as many hits through.

    before: what `old` lets through with the old model. stages: what `new` does, at each share of
    the gallery done, in the recommended way and order; the last is the new model alone.
    """

    old: float
    new: float
    before: Passed
    shares: tuple[float, ...]
    stages: tuple[Passed, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "old": self.old,
            "new": self.new,
            "before": self.before.to_dict(),
            "stages": [
                {"share": share, **passed.to_dict()}
                for share, passed in zip(self.shares, self.stages, strict=True)
            ],
        }


def carry_threshold(
    limit: float,
    sample: Sample,
    gallery: MixedGallery,
    order: NDArray[np.int64],
    shares: Sequence[float],
    relevance: Relevance | None,
) -> CarriedThreshold:
    """Find the new limit, and count what passes on the way.

    limit: of the old model's cosine. gallery, order: the way that is taken.
    relevance: labels or judgements of the sample's queries, or None.
    Memory holds the scores of one chunk of queries.
    Raises InputError when no hit of the old model reaches the limit.
    """
    queries, items = len(sample.queries), len(sample.gallery)
    before = _Counter(relevance)
    highest, seen = -1.0, np.zeros(_BINS, dtype=np.int64)
    for rows in chunks(queries, items):
        old = cosines(sample.old.queries.read(rows), sample.old.gallery)
        new = cosines(sample.new.queries.read(rows), sample.new.gallery)
        before.add(old, limit, rows)
        highest = max(highest, float(old.max()))
        seen += np.histogram(new, bins=_BINS, range=(-1.0, 1.0))[0]
    if before.hits == 0:
        raise InputError(
            f"threshold: no score of the old model reaches {limit:g}; the highest in the sample is "
            f"{highest:.3f} (cosines, from -1 to 1)"
        )
    carried = _limit_for(before.hits, seen)
    stages = [_Counter(relevance) for _ in shares]
    for rows in chunks(queries, items):
        sides = gallery.sides(rows)
        for share, counter in zip(shares, stages, strict=True):
            moved = np.zeros(items, dtype=np.bool_)
            moved[order[: int(share * items)]] = True
            counter.add(gallery.merge(*sides, moved), carried, rows)
    return CarriedThreshold(
        old=limit,
        new=carried,
        before=before.passed(queries),
        shares=tuple(shares),
        stages=tuple(counter.passed(queries) for counter in stages),
    )


def _limit_for(hits: int, seen: NDArray[np.int64]) -> float:
    """The edge of a bin above which the number of scores is nearest to that of hits."""
    above = np.append(np.cumsum(seen[::-1])[::-1], 0)
    edges = np.linspace(-1.0, 1.0, _BINS + 1)
    return round(float(edges[np.argmin(np.abs(above - hits))]), 4)


class _Counter:
    """Counts what passes a limit, and what of it is relevant."""

    def __init__(self, relevance: Relevance | None) -> None:
        self.hits = 0
        self._relevance = relevance
        self._right = self._wanted = 0

    def add(self, scores: Scores, limit: float, rows: slice) -> None:
        """Count for some queries."""
        self.hits += int(np.count_nonzero(scores >= limit))
        if self._relevance is None:
            return
        for row, query in enumerate(range(len(self._relevance))[rows]):
            columns, _ = self._relevance.of(query)
            self._right += int(np.count_nonzero(scores[row, columns] >= limit))
            self._wanted += len(columns)

    def passed(self, queries: int) -> Passed:
        """Give the means."""
        if self._relevance is None:
            return Passed(self.hits / queries)
        return Passed(
            self.hits / queries,
            self._right / self.hits if self.hits else None,
            self._right / self._wanted if self._wanted else None,
        )
