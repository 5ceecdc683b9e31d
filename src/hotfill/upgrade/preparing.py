"""The first step of an upgrade: agree on its plan, fit what maps queries, choose the canaries.

Nothing is written to the store before all of that is done, so that an upgrade that cannot be
prepared leaves no trace there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotfill.errors import PlanError
from hotfill.upgrade.canaries import draw_canaries, keep_canaries
from hotfill.upgrade.fits import keep_fit
from hotfill.upgrade.guard import change_gate
from hotfill.upgrade.plan import BINDING, Plan
from hotfill.upgrade.sample import paired_vectors, sample_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.stores.base import Gallery
    from hotfill.types import Vectors
    from hotfill.upgrade.engine import Upgrade
    from hotfill.upgrade.journal import Journal


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


def prepare(upgrade: Upgrade) -> bool:
    """Fit, choose canaries, and make room in the store. False when asked to stop meanwhile."""
    plan, gallery, journal = upgrade.plan, upgrade.gallery, upgrade.journal
    journal.record("started")
    size = 0 if plan.strategy == "compatible" else plan.fit_items
    # All sides: after a lost journal some items have moved, and keep an old vector.
    fitted_on = sample_ids(gallery, gallery.spaces, size, plan.seed)
    old, new = paired_vectors(
        gallery,
        fitted_on,
        plan.old_model,
        upgrade.source,
        upgrade.new_embedder,
        plan.batch_size,
        stop=upgrade.stop,
    )
    if upgrade.stop.is_set():
        return False
    fit = upgrade.fitting.fit(old, new)
    if plan.guarded:
        _choose_canaries(upgrade, fitted_on)
    keep_fit(upgrade.folder, journal, fit, pairs=len(old))
    gallery.add_space(plan.new_model)
    return True


def _choose_canaries(upgrade: Upgrade, fitted_on: Sequence[str]) -> None:
    plan, gallery = upgrade.plan, upgrade.gallery

    def search_old_side(queries: Vectors, k: int) -> Sequence[Sequence[str]]:
        return gallery.search({plan.old_model: queries}, k)[plan.old_model].item_ids

    canaries = draw_canaries(
        gallery,
        plan,
        upgrade.source,
        upgrade.new_embedder,
        upgrade.old_embedder,
        search_old_side,
        fitted_on,
    )
    keep_canaries(upgrade.folder, upgrade.journal, canaries)
