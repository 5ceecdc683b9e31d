"""What is still to do, found in the store itself: the journal may be behind it, or be new."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotfill.upgrade.dead import still_dead
from hotfill.upgrade.order import pages_of
from hotfill.upgrade.stages import is_redone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hotfill.stores.base import Gallery
    from hotfill.upgrade.journal import Journal, Stage
    from hotfill.upgrade.plan import Plan


def dead_items(gallery: Gallery, journal: Journal, plan: Plan, stage: Stage) -> list[str]:
    """Name the items that failed for good in a stage and still need it."""
    new = plan.new_model
    letters = [each for each in journal.dead_letters() if each.stage == stage]
    if stage == "revert":
        return still_dead(gallery, letters, lambda state: state.space == new)
    return still_dead(gallery, letters, lambda state: not is_redone(state, new))


def left_over(gallery: Gallery, journal: Journal, plan: Plan) -> int:
    """Count items that the new model has not embedded, dead letters aside."""
    new = plan.new_model
    done = gallery.count(new, origin=new.fingerprint)
    return len(gallery) - done - len(dead_items(gallery, journal, plan, "embed"))


def sweep(gallery: Gallery, journal: Journal, plan: Plan) -> int:
    """Make batches of what is left over. Returns how many items."""
    if left_over(gallery, journal, plan) <= 0:
        return 0
    new = plan.new_model
    dead = set(dead_items(gallery, journal, plan, "embed"))

    def pages() -> Iterator[tuple[Sequence[str], Iterable[float]]]:
        for space in gallery.spaces:
            for page in pages_of(gallery, space):
                left = [
                    item
                    for item, origin in zip(page.item_ids, page.origins, strict=True)
                    if (space, origin) != (new, new.fingerprint) and item not in dead
                ]
                yield left, [0.0] * len(left)

    return journal.add_work("embed", pages(), plan.batch_size)


def items_to_revert(gallery: Gallery, journal: Journal, plan: Plan) -> int:
    """Make batches of what is on the new side, unless there are some. Returns how many items."""
    new = plan.new_model
    if left := journal.tally("revert").left:
        return left
    if new not in gallery.spaces:
        return 0
    dead = set(dead_items(gallery, journal, plan, "revert"))

    def pages() -> Iterator[tuple[Sequence[str], Iterable[float]]]:
        for page in pages_of(gallery, new):
            left = [item for item in page.item_ids if item not in dead]
            yield left, [0.0] * len(left)

    return journal.add_work("revert", pages(), plan.batch_size)
