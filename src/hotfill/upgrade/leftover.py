"""What is still to do, found in the store itself: the journal may be behind it, or be new."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from hotfill.upgrade.order import pages_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hotfill.stores.base import Gallery, ItemState
    from hotfill.types import ModelId
    from hotfill.upgrade.journal.base import DeadLetter, Journal, Stage
    from hotfill.upgrade.own_vectors import OwnVectors
    from hotfill.upgrade.plan import Plan


# What an upgrade may end with ---------------------------------------------------------------------


def ending_origins(journal: Journal, plan: Plan) -> frozenset[str]:
    """Tell the origins that vectors of the new side may have when the upgrade ends.

    The new model itself; and unless it is to embed all items, the maps of the fit in force.
    """
    own = frozenset({plan.new_model.fingerprint})
    fitted = None if plan.backfill == "all" else journal.last("fit")
    return own if fitted is None else own | {*fitted.body["origins"]}


def budget_of(journal: Journal, plan: Plan) -> int | None:
    """Tell how many items the new model may embed in all; None where it embeds all."""
    agreed = None if plan.backfill != "budget" else journal.last("budget")
    return None if agreed is None else int(agreed.body["items"])


def _has_ended(journal: Journal, plan: Plan) -> Callable[[ItemState], bool]:
    """Return what tells whether an item stands where the upgrade may leave it."""
    new, origins = plan.new_model, ending_origins(journal, plan)
    return lambda state: state.space == new and state.origin in origins


# Dead letters that still matter: an item may have been deleted or written anew since -------------


def still_dead(
    gallery: Gallery, letters: Iterable[DeadLetter], needed: Callable[[ItemState], bool]
) -> list[str]:
    """Name the items that are still there and still need what failed."""
    states = gallery.get([letter.item_id for letter in letters])
    return [state.item_id for state in states if state is not None and needed(state)]


def dead_items(
    gallery: Gallery, journal: Journal, plan: Plan, stage: Stage, *, accepted: bool = False
) -> list[str]:
    """Name the items that failed for good in a stage and still need it.

    accepted: those that somebody accepted, instead of those that hold the upgrade.
    """
    new = plan.new_model
    letters = [each for each in journal.dead_letters(accepted=accepted) if each.stage == stage]
    if stage == "revert":
        return still_dead(gallery, letters, lambda state: state.space == new)
    ended = _has_ended(journal, plan)
    return still_dead(gallery, letters, lambda state: not ended(state))


def _all_dead(gallery: Gallery, journal: Journal, plan: Plan, stage: Stage) -> set[str]:
    return {
        item_id
        for accepted in (False, True)
        for item_id in dead_items(gallery, journal, plan, stage, accepted=accepted)
    }


def resolve_letters(gallery: Gallery, journal: Journal, plan: Plan) -> None:
    """Take off the list what was deleted, written anew, or done after all."""
    letters = [
        each
        for accepted in (False, True)
        for each in journal.dead_letters(accepted=accepted)
        if each.stage == "embed"
    ]
    dead = _all_dead(gallery, journal, plan, "embed")
    if resolved := [each.item_id for each in letters if each.item_id not in dead]:
        journal.resolve(resolved)


# Items that are not where the upgrade may leave them, dead letters aside ------------------------
# Found by reading the rows, never by a count that the store keeps: what came in by a bulk load, by
# replication or by another client is in no such count.


def left_over(gallery: Gallery, journal: Journal, plan: Plan) -> int:
    """Count the items that are left over, by reading the rows of every side."""
    return sum(len(ids) for ids in left_over_ids(gallery, journal, plan))


def left_over_ids(gallery: Gallery, journal: Journal, plan: Plan) -> Iterator[list[str]]:
    """Read the ids that are left over, a page at a time; every row of every side is looked at."""
    new, origins = plan.new_model, ending_origins(journal, plan)
    dead = _all_dead(gallery, journal, plan, "embed")
    for space in gallery.spaces:
        for page in pages_of(gallery, space):
            left = [
                item
                for item, origin in zip(page.item_ids, page.origins, strict=True)
                if not (space == new and origin in origins) and item not in dead
            ]
            if left:
                yield left


def sweep(gallery: Gallery, journal: Journal, plan: Plan, stage: Stage = "embed") -> int:
    """Make batches of what is left over. Returns how many items."""
    found = left_over_ids(gallery, journal, plan)
    first = next(found, None)  # mostly there is none, and the journal need not be locked
    if first is None:
        return 0
    pages = ((ids, [0.0] * len(ids)) for ids in chain([first], found))
    return journal.add_work(stage, pages, plan.work_cut)


def imputed_by_others(
    gallery: Gallery, new_model: ModelId, origins: Sequence[str]
) -> Iterator[tuple[list[str], list[float]]]:
    """Read the items whose vector came into the new space by none of the maps in force, by pages.

    After a lost journal the maps are fitted anew, and the store still has vectors of the lost ones.
    """
    known = {new_model.fingerprint, *origins}
    own = sum(gallery.count(new_model, origin=each) for each in known)
    if gallery.count(new_model) == own:
        return
    for page in pages_of(gallery, new_model):
        others = [
            item_id
            for item_id, made_by in zip(page.item_ids, page.origins, strict=True)
            if made_by not in known
        ]
        if others:
            yield others, [0.0] * len(others)


def items_to_revert(own: OwnVectors, journal: Journal, plan: Plan, target: ModelId) -> int:
    """Make batches of what goes back from the new side to an old one, unless there are some.

    In a chain an item goes back to the newest old model of which it has a vector of its own: that
    is where it was, or where its content was written since. What has none goes to the old model,
    which embeds it. Returns how many items.
    """
    new, gallery = plan.new_model, own.gallery
    if left := journal.tally("revert").left:
        return left
    if new not in gallery.spaces:
        return 0
    dead = _all_dead(gallery, journal, plan, "revert")

    def pages() -> Iterator[tuple[Sequence[str], Iterable[float]]]:
        for page in pages_of(gallery, new):
            left = [item for item in page.item_ids if item not in dead]
            if target != plan.old_model:
                left = _newest_in(own, plan, left, target)
            yield left, [0.0] * len(left)

    return journal.add_work("revert", pages(), plan.work_cut)


def _newest_in(own: OwnVectors, plan: Plan, item_ids: Sequence[str], target: ModelId) -> list[str]:
    """Leave only items that have a vector of `target`, and of no newer old model."""
    place = plan.old_models.index(target)
    there = own.read(item_ids, target).item_ids
    newer = {
        item_id
        for model in plan.old_models[place + 1 :]
        for item_id in own.read(there, model).item_ids
    }
    return [item_id for item_id in there if item_id not in newer]
