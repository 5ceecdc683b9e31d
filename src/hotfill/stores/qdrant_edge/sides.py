"""How many items each side holds, kept exactly, and no item on two sides."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hotfill.stores.qdrant_edge.shard import Shard
    from hotfill.types import ModelId


class Sides:
    """Counts of the items searched in each space.

    counts: never zero for a side that may hold an item, so a search that finds the count zero
        before and after it looked elsewhere has missed nothing. It is replaced, not changed:
        searches read it without the gallery's lock. All methods need that lock.
    """

    def __init__(self) -> None:
        self.counts: Mapping[ModelId, int] = {}
        self._torn = True  # whether a write may have stopped half-way: then look, do not trust

    def settle(self, shard: Shard, spaces: Sequence[ModelId]) -> None:
        """Bring every item to one side and count, if a write may have stopped half-way.

        The newer space wins. That completes half a move forward and undoes half a move back;
        the move was not acknowledged, so either is right, and the vector that goes is kept:
        a move writes it to the retired ones before it starts.
        """
        if not self._torn:
            return
        for older, newer in combinations(spaces, 2):
            while both := shard.in_both(older.fingerprint, newer.fingerprint):
                shard.remove_vectors(both, older.fingerprint)
        self.counts = {space: shard.count(space.fingerprint) for space in spaces}
        self._torn = False

    def distrust(self) -> None:
        """Let the next `settle` look again."""
        self._torn = True

    @contextmanager
    def changing(
        self, *, arriving: Mapping[ModelId, int], leaving: Iterable[ModelId]
    ) -> Iterator[None]:
        """Keep the counts around a write: up before it, down after it, distrusted if it fails."""
        self._torn = True
        self._add(arriving, 1)
        yield
        self._add(Counter(leaving), -1)
        self._torn = False

    def of(self, shard: Shard, item_ids: Sequence[str]) -> dict[str, ModelId]:
        """Tell where existing items are searched."""
        filled = [space for space, count in self.counts.items() if count]
        if len(filled) == 1:
            return dict.fromkeys(item_ids, filled[0])
        return {
            item_id: space
            for space in filled
            for item_id in shard.searched_among(item_ids, space.fingerprint)
        }

    def _add(self, changes: Mapping[ModelId, int], sign: int) -> None:
        self.counts = {
            space: count + sign * changes.get(space, 0) for space, count in self.counts.items()
        }
