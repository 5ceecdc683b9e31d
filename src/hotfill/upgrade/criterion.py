"""BCT's criterion: new queries over old vectors find at least as well as old queries do.

Where a compatible model leaves old vectors in place for good, nothing else makes up for a model
that is not compatible after all. So `start` measures it before anything is written (Shen et al.,
Towards backward-compatible representation learning, CVPR 2020): by the judged canaries where there
are any, else by items as queries, of which the new model's own ten nearest count as relevant. That
favours the new model: what misses the criterion then misses it by labels, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import PlanError
from hotfill.metrics import (
    Difference,
    average_precision,
    from_matrix,
    paired_difference,
    rank_lists,
    rank_scores,
)
from hotfill.ranking.scorer import compare
from hotfill.upgrade.canaries import embedded, read_queries
from hotfill.upgrade.own_vectors import OwnItems
from hotfill.upgrade.parts import NoContents

if TYPE_CHECKING:
    from hotfill.metrics import RelevantRanks
    from hotfill.types import Vectors
    from hotfill.upgrade.plan import Plan
    from hotfill.upgrade.state import State

_ITEMS = 1000  # that are asked by, at most
_LEAST = 20  # queries; fewer tell nothing
_NEIGHBOURS = 10
_ALL_THE_SAME = (
    "begin all the same: `hotfill start --yes-below-old`, or allow_below_old = true under [upgrade]"
)
_DEPTH = 100  # hits that are looked through for what was judged


@dataclass(frozen=True, slots=True)
class MeasuredCriterion:
    """Mean average precision over the old vectors, by new and by old queries.

    difference: of the two, query by query. truth: what counted as relevant, in words.
    """

    new_over_old: float
    old_over_old: float
    difference: Difference
    queries: int
    truth: str

    @property
    def met(self) -> bool | None:
        """Whether new queries find at least as well; None where the interval holds both."""
        if self.difference.low >= 0:
            return True
        return False if self.difference.high < 0 else None

    def __str__(self) -> str:
        apart = self.difference
        return (
            f"by {self.queries} queries and {self.truth}, new queries over old vectors have map "
            f"{self.new_over_old:.3f} against {self.old_over_old:.3f} of old queries "
            f"({apart.value:+.3f}, 95 % interval {apart.low:+.3f} to {apart.high:+.3f})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "new_over_old": self.new_over_old,
            "old_over_old": self.old_over_old,
            "difference": self.difference.to_dict(),
            "queries": self.queries,
            "truth": self.truth,
            "met": self.met,
            "said": str(self),
        }


def is_asked(plan: Plan) -> bool:
    """Whether a plan relies on old vectors for good, and on the new model to search them."""
    return plan.strategy == "compatible" and plan.backfill != "all"


def items_to_ask_by(plan: Plan, items: int) -> int:
    """Tell how many items are embedded to measure the criterion."""
    return min(_ITEMS, items) if is_asked(plan) and not plan.allow_below_old else 0


def check_criterion(state: State) -> None:
    """Measure the criterion where it matters, and note it.

    Raises PlanError where it is missed or cannot be measured, unless somebody takes that.
    """
    plan = state.plan
    if not is_asked(plan) or plan.allow_below_old:
        return
    found = _by_judgements(state) or _by_items(state)
    if found is None:
        raise PlanError(
            [
                f"whether {plan.new_model} is compatible with {plan.old_model} cannot be measured: "
                f"it takes the contents of {_LEAST} items, or canary_queries with {_LEAST} "
                "judgements and an embedder of the old model's queries; nothing was written to "
                f"the store; give one of the two, or {_ALL_THE_SAME}"
            ]
        )
    if found.met is False:
        raise PlanError(
            [
                f"{plan.new_model} is not compatible: {found}; nothing was written to the store; "
                f'map the old vectors by strategy = "prefill", or {_ALL_THE_SAME}'
            ]
        )
    state.journal.record("criterion", **found.to_dict())


def _by_judgements(state: State) -> MeasuredCriterion | None:
    plan, gallery = state.plan, state.gallery
    asks_old = state.query_embedder(plan.old_model) or state.embedder("old")
    if not plan.canary_queries or asks_old is None:
        return None
    given = [each for each in read_queries(Path(plan.canary_queries)) if each.relevant]
    named = sorted({item_id for each in given for item_id in each.relevant})
    there = {each.item_id for each in gallery.get(named) if each is not None}
    asked = [(each, there.intersection(each.relevant)) for each in given]
    asked = [(each, relevant) for each, relevant in asked if relevant]
    if len(asked) < _LEAST:
        return None

    def ranked(queries: Vectors) -> RelevantRanks:
        found = gallery.search({plan.old_model: queries}, _DEPTH)[plan.old_model]
        return rank_lists(found.item_ids, [relevant for _, relevant in asked])

    contents = [each for each, _ in asked]
    new, old = (
        embedded(embedder, contents, plan, state.progress)
        for embedder in (state.embedder_of_queries(), asks_old)
    )
    return _measured(ranked(new), ranked(old), "their judgements")


def _by_items(state: State) -> MeasuredCriterion | None:
    plan, gallery = state.plan, state.gallery
    source, _ = state.backfilling
    if isinstance(source, NoContents):
        return None
    own = OwnItems(gallery, plan.old_model, state.origins_noted)
    with state.progress.counting("drawing a sample", len(gallery)) as told:
        drawn = own.draw(items_to_ask_by(plan, len(gallery)), plan.seed, told)
    pairs = state.paired(drawn)
    if len(pairs.item_ids) < _LEAST:
        return None
    own_scores = compare(pairs.new, pairs.new, plan.embedded_model)
    np.fill_diagonal(own_scores, -np.inf)
    nearest = np.argpartition(-own_scores, _NEIGHBOURS - 1, axis=1)[:, :_NEIGHBOURS]
    relevant = np.zeros(own_scores.shape, dtype=np.bool_)
    np.put_along_axis(relevant, nearest, True, axis=1)
    relevance, itself = from_matrix(relevant), np.arange(len(relevant))
    new, old = (
        rank_scores(compare(queries, pairs.old, plan.old_model), relevance, exclude=itself)
        for queries in (pairs.new, pairs.old)
    )
    return _measured(new, old, f"the new model's own first {_NEIGHBOURS}")


def _measured(new: RelevantRanks, old: RelevantRanks, truth: str) -> MeasuredCriterion:
    by_new, by_old = average_precision(new), average_precision(old)
    return MeasuredCriterion(
        float(by_new.mean()),
        float(by_old.mean()),
        paired_difference(by_new, by_old),
        len(by_new),
        truth,
    )
