"""One writer at a time, and what a killed one left half done.

Chroma has no transactions over collections and no conditional writes. But of two that make a
collection of the same name only one succeeds. So whoever writes makes a small collection, the
*turn*, and drops it at the end. It names the holder and the items that are being written: when the
holder is killed, the next one repairs just these.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.errors import StoreBusyError
from hotfill.stores.holder import has_ended, new_holder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chromadb.api.models.Collection import Collection

    from hotfill.stores.chroma.client import ChromaClient

GONE_AFTER_SECONDS = 120.0  # of the same turn, as one who waits sees it
_OWN_SECONDS = GONE_AFTER_SECONDS / 2  # then the holder itself writes no more
_PATIENCE_SECONDS = 2 * GONE_AFTER_SECONDS
_POLL_SECONDS = 0.01
_HOLDER, _ITEMS = "holder", "items"


class Turn:
    """The right to write to a gallery. Callers hold the gallery's lock.

    repair: brings items to one side each; called with those that a killed writer may have left.
    """

    def __init__(
        self, client: ChromaClient, gallery: str, repair: Callable[[Sequence[str]], object]
    ) -> None:
        """Take nothing yet."""
        self._client, self._repair = client, repair
        self._name = f"{gallery}.hotfill.turn"
        self._holder = new_holder()
        self._since = 0.0
        self._held = False
        self._torn = False  # whether a turn of our own may be left to be repaired

    def repair_left(self) -> None:
        """Repair what killed writers left. For whoever opens the gallery."""
        names = [name for name in self._client.names() if name.startswith(self._name)]
        if names:
            with self.holding([], others=names):
                pass

    @contextmanager
    def holding(self, item_ids: Sequence[str], *, others: Sequence[str] = ()) -> Iterator[None]:
        """Be the only process that writes. item_ids: whose rows may be left on two sides.

        others: names of turns that were taken away from dead holders.
        Raises StoreBusyError when others do not end, StoreErrors.
        """
        made, left, away = self._take(item_ids)
        # Where repairing fails, too, the turn stays for the next one, of this process or another.
        self._torn = self._held = True
        try:
            for name in others:
                there = self._client.named(name) if name != self._name else None
                if there is not None:
                    left += _items(there)
                    away.append(name)
            if left:
                self._repair(left)
            for name in away:
                self._client.drop(name)
            try:
                yield
            except BaseException:
                if item_ids:
                    self._repair(item_ids)
                self._give(made)
                self._torn = False
                raise
            self._give(made)
            self._torn = False
        finally:
            self._held = False

    @contextmanager
    def crossing(self, item_ids: Sequence[str]) -> Iterator[None]:
        """Write items that change sides: in an embedded engine only these need a turn."""
        if self._client.embedded and item_ids and not self._held:
            with self.holding(item_ids):
                yield
        else:
            yield

    @contextmanager
    def writing(self, item_ids: Sequence[str]) -> Iterator[None]:
        """Write items: on a server always in turn, embedded only to repair what failed before."""
        if not self._client.embedded or self._torn:
            with self.holding(item_ids):
                yield
        else:
            yield

    def check(self) -> None:
        """Raise StoreBusyError if others may take this turn for that of a dead process."""
        shared = self._held and not self._client.embedded
        if shared and time.monotonic() - self._since > _OWN_SECONDS:
            raise StoreBusyError(
                f"this process stood still, or wrote one batch, for over {_OWN_SECONDS:.0f} s, and "
                "another may write by now: try again, or with smaller batches",
                retryable=True,
            )

    def _take(self, item_ids: Sequence[str]) -> tuple[Collection, list[str], list[str]]:
        """Make the turn; return it, what dead holders of it left, and the names of theirs."""
        left: list[str] = []
        away: list[str] = []
        began = time.monotonic()
        seen, seen_at = "", began
        while True:
            self._since = time.monotonic()
            listed = json.dumps([*item_ids, *left])
            made = self._client.create(self._name, {_HOLDER: self._holder, _ITEMS: listed})
            if made is not None:
                return made, left, away
            there = self._client.named(self._name)
            now = time.monotonic()
            if there is None:
                continue
            if str(there.id) != seen:
                seen, seen_at = str(there.id), now
            if self._is_over(there) or now - seen_at > GONE_AFTER_SECONDS:
                # Out of the way, under a name that tells what it was: of two that do this at once,
                # only one can make the next turn.
                left += _items(there)
                away.append(self._away(there))
            elif now - began > _PATIENCE_SECONDS:
                raise StoreBusyError(
                    f"others write to {self._name.removesuffix('.hotfill.turn')!r} all the time",
                    retryable=True,
                )
            else:
                time.sleep(_POLL_SECONDS)

    def _is_over(self, there: Collection) -> bool:
        holder = (there.metadata or {}).get(_HOLDER, "")
        if self._client.embedded or holder == self._holder:
            return True  # nobody else may have the folder; a turn of our own that failed
        return bool(has_ended(holder))

    def _give(self, made: Collection) -> None:
        """Drop the turn, and no other's, should this one have been taken away."""
        self._client.drop(self._name if self._client.embedded else self._away(made))

    def _away(self, there: Collection) -> str:
        name = f"{self._name}.{there.id}"
        self._client.rename(there, name)
        return name


def _items(turn: Collection) -> list[str]:
    return list(json.loads((turn.metadata or {}).get(_ITEMS, "[]")))
