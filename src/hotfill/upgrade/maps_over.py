"""Maps of imputed vectors: that of the old model's own vectors, or one fitted on imputed ones.

In a gallery that stayed imputed, the next upgrade maps what an earlier map has made. The map that
is fitted on the old model's own vectors serves these, too: then maps compose. Or one is fitted anew
on imputed vectors and the new model's own of the same contents: it knows where the earlier map
errs, and mostly has fewer pairs. Both are tried on pairs that neither was fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hotfill.ranking.fit import MIN_PAIRS
from hotfill.ranking.one_space import IMPUTED_BY, fit_one_space
from hotfill.ranking.pairs import neighbours_kept

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.ranking import Fit, OneSpace
    from hotfill.upgrade.plan import Plan
    from hotfill.upgrade.state import State

_CALIBRATED_BY = 200  # items of an origin that are embedded to calibrate its vectors by
MOST_DRAWN_OF_SOME = 64  # times the pairs wanted, where a source need not know all items
_BETTER_BY = 0.005  # of the neighbours kept, 0 to 1; less is noise


@dataclass(frozen=True, slots=True)
class ChosenMap:
    """Which map carries vectors of one origin, and why.

    composed, anew: the share of held-out items' ten nearest that each keeps, 0 to 1; None where
    there were too few pairs to try. held_out: how many there were.
    """

    map: Literal["composed", "anew"] = "composed"
    composed: float | None = None
    anew: float | None = None
    held_out: int = 0

    def __str__(self) -> str:
        if self.composed is None or self.anew is None:
            return f"maps compose: fewer than {MIN_PAIRS} pairs of such vectors to fit one anew"
        both = {"composed": self.composed, "anew": self.anew}
        other: Literal["composed", "anew"] = "anew" if self.map == "composed" else "composed"
        named = {"composed": "composed maps", "anew": "a map fitted anew on such vectors"}
        return (
            f"{named[self.map]}: kept {both[self.map]:.3f} of the ten nearest of {self.held_out} "
            f"held-out items, {named[other]} {both[other]:.3f}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "map": self.map,
            "why": str(self),
            "composed": self.composed,
            "anew": self.anew,
            "held_out": self.held_out,
        }


def items_to_pair(plan: Plan, imputed: int) -> int:
    """Tell how many imputed items are embedded to fit and to calibrate their maps by.

    As many as own ones, where they may stay imputed. imputed: how many there are.
    """
    return min(imputed, _CALIBRATED_BY if plan.backfill == "all" else plan.fit_items)


def pair_imputed(state: State) -> set[str]:
    """Embed some items that are found by imputed vectors, of each origin; name them all."""
    plan, gallery = state.plan, state.gallery
    paired: set[str] = set()
    counts = {
        origin: gallery.count(plan.old_model, origin=origin)
        for origin in state.imputed_before
        if origin
    }
    imputed = sum(counts.values())
    for origin, count in counts.items():
        share = round(items_to_pair(plan, imputed) * count / max(imputed, 1))
        wanted = max(_CALIBRATED_BY, share)
        # A source that need not know all is asked for more; what it knows is embedded.
        most = wanted if plan.backfill == "all" else MOST_DRAWN_OF_SOME * wanted
        drawn = state.drawn([plan.old_model], most, made_by=origin)
        np.random.default_rng(plan.seed).shuffle(drawn)
        found = state.paired(drawn, enough=wanted)
        state.pairs_over[origin] = (found.old[:wanted], found.new[:wanted])
        paired.update(found.item_ids)
    return paired


def with_maps_over(state: State, fit: Fit) -> tuple[Fit, Mapping[str, Mapping[str, Any]]]:
    """Give a fit the maps of imputed vectors that serve better than its own.

    Returns the choices by origin as well, as plain values. Where the old model embedded items again
    to fit on, some of them may be held out here: that favours the composed maps.
    """
    plan, one = state.plan, fit.one_space
    if one is None or one.finish is not None or not state.imputed_before:
        return fit, {}
    over: dict[str, OneSpace] = {}
    chosen: dict[str, ChosenMap] = {}
    for origin in state.imputed_before:
        old, new = state.pairs_over.get(origin, ((), ()))
        chosen[origin] = ChosenMap()
        if len(old) < MIN_PAIRS:
            continue
        with state.progress.counting("fitting a map of imputed vectors"):
            anew = fit_one_space(
                old,
                new,
                plan.old_model,
                plan.embedded_model,
                map=IMPUTED_BY[plan.transform],
                queries=state.real_queries,
                stored_as=state.stored_as,
                seed=plan.seed,
            )
            chosen[origin] = _choice(one, anew)
        if chosen[origin].map == "anew":
            over[origin] = anew
    return replace(fit, over=over), {origin: each.to_dict() for origin, each in chosen.items()}


def _choice(composed: OneSpace, anew: OneSpace) -> ChosenMap:
    """Try both on the reference items of the second, as an index is searched."""
    true = anew.references.own
    kept = [
        neighbours_kept(true, np.asarray(true @ one.impute(anew.old_reference).T))
        for one in (composed, anew)
    ]
    better = kept[1] > kept[0] + _BETTER_BY
    return ChosenMap("anew" if better else "composed", kept[0], kept[1], len(true))
