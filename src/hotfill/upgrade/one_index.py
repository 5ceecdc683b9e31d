"""Rank the hits of one index by what made their vectors: searches and the guard do it alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, final

import numpy as np

from hotfill.ranking.common_scale import CommonScale
from hotfill.ranking.one_space import OneSpace, old_query_weight
from hotfill.ranking.rank_merge import RankedHits
from hotfill.ranking.scorer import compare
from hotfill.tracing import span
from hotfill.vectors import checked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotfill.ranking import Background
    from hotfill.ranking.kept_origin import KeptOrigin
    from hotfill.stores.base import Gallery, Hits, Where
    from hotfill.types import ModelId, Vectors
    from hotfill.vectors import Checked

_JUDGED_BY_BOTH = 100
"""Hits that the old model's own query judges as well, at least: what it alone would find must be
among the first of the new one's."""


@final
@dataclass(frozen=True, eq=False)
class OneIndex:
    """How an index with imputed vectors is searched, where its plain order is not enough. Frozen.

    fits: whose imputed vectors may stand in it, the one in force last: several while vectors are
        refreshed, and in a gallery of several origins.
    weight: what the old model's own query has of an imputed item's score, 0 to 1; None where it is
        not asked.
    """

    fits: tuple[OneSpace | KeptOrigin, ...]
    weight: float | None = None

    @cached_property
    def model(self) -> ModelId:
        """The space of the index."""
        return self.fits[-1].index_model

    @cached_property
    def scale(self) -> CommonScale:
        """The scale that all hits are brought to."""
        return CommonScale(
            self.model.fingerprint,
            {fit.origin: fit.references for fit in self.fits if fit.references is not None},
        )

    @cached_property
    def _known(self) -> frozenset[str]:
        """What may have made a vector that stands there."""
        return frozenset({self.model.fingerprint, *self.scale.imputed})

    @cached_property
    def _overfetch(self) -> int:
        return max(fit.overfetch for fit in self.fits)

    @property
    def asks_old_model(self) -> bool:
        """Whether queries embedded by the old model count."""
        return bool(self.weight)

    def search(
        self,
        gallery: Gallery,
        queries: Vectors | Checked,
        k: int,
        *,
        where: Where | None = None,
        old_queries: Vectors | Checked | None = None,
        moved: float = 0.0,
    ) -> list[RankedHits]:
        """Find the k best items of each query (q, d). Sides are 1 for the model's own vectors.

        old_queries: the same queries by the old model, (q, d_old); without them the new model's
            have to do.
        moved: the share of the gallery that has moved, 0 to 1; see `OldQueryScores`.
        """
        ready = checked(queries, self.model, what="queries")
        asked = old_queries if self.asks_old_model else None
        deep = k * self._overfetch
        if asked is not None:
            deep = max(deep, _JUDGED_BY_BOTH)
        most = gallery.capabilities.most_hits
        hits = gallery.search(
            {self.model: ready}, max(k, min(deep, most or deep)), where=where, origins=True
        )[self.model]
        origins = hits.origins or ()
        made_by = {*chain(*origins)}
        if not made_by <= self._known:
            # `start` is about to impute these vectors anew; a scale for them there is not.
            return _as_found(hits, self.model.fingerprint, k)
        with span("rank"):
            background = self.scale.prepare(ready.compared, made_by)
            if asked is None:
                return background.rank(hits, origins, k)
            return self._by_both(gallery, background, hits, ready, asked, moved, k)

    def _by_both(
        self,
        gallery: Gallery,
        background: Background,
        hits: Hits,
        queries: Checked,
        old_queries: Vectors | Checked,
        moved: float,
        k: int,
    ) -> list[RankedHits]:
        """Let the old model's queries judge the hits by their old vectors, searched or kept."""
        newest = self.fits[-1]
        assert isinstance(newest, OneSpace)  # what is kept of a fit does not ask the old model
        old_model, own = newest.old_model, self.model.fingerprint
        asked = checked(old_queries, old_model, what="queries of the old model").compared
        blending = newest.old_query_scores(queries.compared, asked, moved=moved, weight=self.weight)
        names = sorted(set(chain(*hits.item_ids)))
        found = gallery.vectors(names, old_model)
        row_of: Mapping[str, int] = {name: row for row, name in enumerate(found.item_ids)}
        ranked = []
        for query, (item_ids, raw, made_by) in enumerate(
            zip(hits.item_ids, hits.scores, hits.origins or (), strict=True)
        ):
            scores = background.scores(query, raw, made_by)
            # An item that was written without an old vector has the new model's word only.
            known = [place for place, name in enumerate(item_ids) if name in row_of]
            if known:
                rows = found.vectors[[row_of[item_ids[place]] for place in known]]
                scores[known] = blending.blend(
                    query,
                    scores[known],
                    compare(asked[query : query + 1], rows, old_model)[0],
                    [made_by[place] == own for place in known],
                )
            ranked.append(_best(item_ids, scores, raw, made_by, own, k))
        return ranked


def one_index(
    fits: Sequence[OneSpace | KeptOrigin], *, calibrated: bool, both: bool, weight: float | None
) -> OneIndex | None:
    """Return how to rank by origin; None where the plain order of the index is the ranking.

    both: whether the old model embeds each query too. weight: its share, by default found by rho.
    """
    if not fits or not (calibrated or both):
        return None
    if not both:
        return OneIndex(tuple(fits))
    if weight is None:
        newest = fits[-1]
        weight = old_query_weight(newest.rho) if isinstance(newest, OneSpace) else 0.0
    return OneIndex(tuple(fits), weight)


def _as_found(hits: Hits, own: str, k: int) -> list[RankedHits]:
    return [
        RankedHits(
            item_ids[:k],
            scores[:k],
            scores[:k],
            np.array([each == own for each in made_by[:k]], np.int64),
        )
        for item_ids, scores, made_by in zip(
            hits.item_ids, hits.scores, hits.origins or (), strict=True
        )
    ]


def _best(
    item_ids: Sequence[str],
    scores: Vectors,
    raw: Vectors,
    made_by: Sequence[str],
    own: str,
    k: int,
) -> RankedHits:
    order = np.argsort(-scores, kind="stable")[:k]
    return RankedHits(
        tuple(item_ids[place] for place in order),
        scores[order],
        np.asarray(raw)[order],
        np.array([made_by[place] == own for place in order], np.int64),
    )
