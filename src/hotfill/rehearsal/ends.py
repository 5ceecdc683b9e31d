"""What one index is fitted to, before it is begun: rho, and the two ends that it may have.

Rho says whether the map keeps enough of what the old model knows of queries; the ends are the plain
new model, and the agreement end, a space of its own (see `ranking.finish`). The second is better in
average precision on most pairs and worse at the first hit on some, and where both models disagree
it is worse in both. So nobody is sent there without labels or judgements.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from hotfill.ranking import fit_one_space
from hotfill.ranking.one_space import IMPUTED_BY, doubts_of_rho
from hotfill.rehearsal.backfill_evaluation import evaluate_side
from hotfill.rehearsal.recommendation import CONFIDENCE
from hotfill.rehearsal.results import Ends
from hotfill.rehearsal.strategies import MappedGallery, paired, real_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hotfill.metrics import Relevance
    from hotfill.ranking.one_space import FinishName
    from hotfill.rehearsal.backfill_evaluation import PerQuery
    from hotfill.rehearsal.maps import SplitPairs
    from hotfill.rehearsal.mixed_gallery import Scores
    from hotfill.rehearsal.results import Recommendation
    from hotfill.rehearsal.sample import Sample


def measure_ends(
    sample: Sample,
    pairs: SplitPairs,
    transforms: Sequence[str],
    *,
    plain: PerQuery,
    relevance: Relevance,
    recommended: Recommendation,
) -> Ends | None:
    """Measure rho and the agreement end; None where no map imputes.

    plain: the new model alone, by `relevance`. recommended: the way; it goes to the agreement end
    where that is measurably better in average precision and at the first hit, by a truth that the
    recommendation was allowed to look at.
    """
    named = [name for name in transforms if name in IMPUTED_BY]
    if not named:
        return None
    name = recommended.transform if recommended.transform in named else named[-1]
    one = fit_one_space(
        *paired(pairs),
        sample.old.model,
        sample.new.model,
        queries=real_queries(sample),
        map=IMPUTED_BY[name],
        finish="agreement",
    )
    ended = MappedGallery(sample.new.gallery, one.own)

    def scores(rows: slice) -> Scores:
        return ended.scores(one.searching(sample.new.queries.read(rows)))

    agreement = evaluate_side(scores, relevance)
    finish, why = _chosen(plain, agreement, recommended)
    return Ends(
        rho=one.rho,
        by_items=one.by_items,
        by_contents=sample.queries_from_items,
        doubts=doubts_of_rho(one.rho, by_items=one.by_items, judged=recommended.labels_used),
        plain=plain.mean,
        agreement=agreement.mean,
        finish=finish,
        why=why,
    )


def _chosen(
    plain: PerQuery, agreement: PerQuery, recommended: Recommendation
) -> tuple[FinishName, str]:
    if not recommended.labels_used:
        return "plain", (
            "Only labels or judgements can tell which of the two is better, so the plain one is "
            "recommended."
        )
    differences = (
        agreement.average_precision - plain.average_precision,
        agreement.right.astype(np.float64) - plain.right,
    )
    told = " and ".join(
        f"{each.mean():+.3f} (standard error {_error(each):.3f}) in {what}"
        for each, what in zip(differences, ("map", "hit rate"), strict=True)
    )
    if not all(each.mean() > CONFIDENCE * _error(each) for each in differences):
        return (
            "plain",
            f"It is not measurably better in both, {told}: the plain one is recommended.",
        )
    if recommended.strategy != "prefill" or recommended.queries == "both":
        return "plain", f"It is better, {told}, but the way recommended cannot end there."
    return "agreement", f"It is measurably better, {told}: end there."


def _error(differences: NDArray[np.float64]) -> float:
    return float(differences.std() / sqrt(len(differences)))
