"""Dead letters that still matter: an item may have been deleted or written anew since."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hotfill.stores.base import Gallery, ItemState
    from hotfill.upgrade.journal.base import DeadLetter


def still_dead(
    gallery: Gallery, letters: Iterable[DeadLetter], needed: Callable[[ItemState], bool]
) -> list[str]:
    """Name the items that are still there and still need what failed."""
    states = gallery.get([letter.item_id for letter in letters])
    return [state.item_id for state in states if state is not None and needed(state)]
