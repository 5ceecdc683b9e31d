"""The first step of an upgrade: agree on its plan, fit what maps queries, choose the canaries.

Nothing is written to the store before all of that is done, so that an upgrade that cannot be
prepared leaves no trace there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotfill.errors import ConfigError, PlanError
from hotfill.upgrade.fitting.chain import chain_pairs, sample_of_all_sides
from hotfill.upgrade.fitting.kept import keep_fit
from hotfill.upgrade.fitting.pairs import paired_vectors
from hotfill.upgrade.guard.canaries import draw_canaries, keep_canaries
from hotfill.upgrade.guard.gate import change_gate
from hotfill.upgrade.plan import BINDING, Plan
from hotfill.upgrade.work.sample import sample_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hotfill.stores.base import Gallery
    from hotfill.types import Vectors
    from hotfill.upgrade.engine import Upgrade
    from hotfill.upgrade.fitting.base import Fit
    from hotfill.upgrade.journal.base import Journal


def agree_on_plan(gallery: Gallery, journal: Journal, plan: Plan, by: str) -> None:
    """Write a fresh upgrade's plan down; compare a begun one's with what it began with.

    by: who gives the command; noted where the gate was changed. Raises PlanError.
    """
    known = journal.last("plan")
    if known is None:
        plan.check()
        if plan.old_model not in gallery.spaces:
            held = ", ".join(str(space) for space in gallery.spaces) or "nothing stamped"
            raise PlanError([f"the plan's old model is {plan.old_model}; the store: {held}"])
        check_no_strangers(gallery, plan)
        if plan.older_models:
            _check_no_mapped_vectors(gallery, plan)
        journal.record("plan", **plan.decisions())
        return
    mine, began = plan.decisions(), Plan.from_dict(known.body).decisions()
    changed = sorted(key for key in BINDING if mine[key] != began[key])
    if changed:
        raise PlanError(
            [
                f"this upgrade began with another plan ({', '.join(changed)} differ); "
                "put the old values back, or abort it and begin again"
            ]
        )
    change_gate(journal, plan.gate, by)


def check_no_strangers(gallery: Gallery, plan: Plan) -> None:
    """Raise PlanError when items are searched by a model that the plan does not know."""
    for space in gallery.spaces:
        if space not in (*plan.old_models, plan.new_model) and (count := gallery.count(space)):
            raise PlanError(
                [
                    f"{count} items are searched by {space}, of which this upgrade knows nothing: "
                    "finish or abort the other upgrade first, or let this one supersede it"
                ]
            )


def _check_no_mapped_vectors(gallery: Gallery, plan: Plan) -> None:
    """Refuse vectors that a transform made: back on their side they would pass for a model's."""
    for space in plan.old_models:
        made = gallery.count(space, origin=space.fingerprint)
        if mapped := gallery.count(space) - made:
            raise PlanError(
                [
                    f"{mapped} items are searched by vectors that were mapped to {space}, not "
                    "embedded by it (prefill): finish or abort that upgrade first"
                ]
            )


def prepare(upgrade: Upgrade) -> bool:
    """Fit, choose canaries, and make room in the store. False when asked to stop meanwhile."""
    plan, gallery, journal = upgrade.plan, upgrade.gallery, upgrade.journal
    journal.record("started")
    fitted_on, pairs, make_fit = (_pairs_of_chain if plan.older_models else _pairs)(upgrade)
    if upgrade.stop.is_set():
        return False
    fit = make_fit()
    if plan.guarded:
        _choose_canaries(upgrade, fitted_on)
    keep_fit(upgrade.folder, journal, fit, pairs=pairs)
    gallery.add_space(plan.new_model)
    return True


def _pairs(upgrade: Upgrade) -> tuple[list[str], int, Callable[[], Fit]]:
    """Sample items and their pairs: ids, how many pairs, and what fits them."""
    plan, gallery = upgrade.plan, upgrade.gallery
    size = 0 if plan.strategy == "compatible" else plan.fit_items
    # All sides: after a lost journal some items have moved, and keep an old vector.
    sample = sample_ids(gallery, gallery.spaces, size, plan.seed)
    found = paired_vectors(
        gallery,
        sample,
        plan.old_model,
        upgrade.source,
        upgrade.new_embedder,
        plan.batch_size,
        stop=upgrade.stop,
    )
    return sample, len(found.item_ids), lambda: upgrade.fitting.fit(found.old, found.new)


def _pairs_of_chain(upgrade: Upgrade) -> tuple[list[str], int, Callable[[], Fit]]:
    fit_chain = upgrade.fitting.fit_chain
    if fit_chain is None:
        raise ConfigError("this fitting knows one old side only, and the plan has several")
    sample = sample_of_all_sides(upgrade.gallery, upgrade.plan)
    pairs = chain_pairs(
        upgrade.gallery,
        upgrade.plan,
        sample,
        upgrade.source,
        upgrade.new_embedder,
        upgrade.old_embedder,
        upgrade.stop,
    )
    return sample, len(pairs.new), lambda: fit_chain(pairs)


def _choose_canaries(upgrade: Upgrade, fitted_on: Sequence[str]) -> None:
    plan, gallery = upgrade.plan, upgrade.gallery

    def search_old_side(queries: Vectors, k: int) -> Sequence[Sequence[str]]:
        if upgrade.search_before is not None:
            return upgrade.search_before(queries, k)
        if plan.older_models:  # it alone is not what anybody searched
            return [()] * len(queries)
        return gallery.search({plan.old_model: queries}, k)[plan.old_model].item_ids

    canaries = draw_canaries(
        gallery,
        plan,
        upgrade.source,
        upgrade.new_embedder,
        upgrade.old_embedder,
        search_old_side,
        fitted_on,
        upgrade.query_embedders,
    )
    keep_canaries(upgrade.folder, upgrade.journal, canaries)
