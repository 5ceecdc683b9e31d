"""Fit again while the backfill goes on: every moved item is a new pair, for free.

A moved item has its old vector (kept for the way back) and its new one. When the pairs have
doubled, a new fit is made in a thread of its own, and takes the place of the one in force only if
it is better on pairs that the new one has not seen. (The old one may have seen them: that favours
it.)
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from hotfill.upgrade.order import sample_ids

if TYPE_CHECKING:
    from hotfill.types import Vectors
    from hotfill.upgrade.state import State

MOST_PAIRS = 20_000
"""More pairs cost memory and time, and no longer make the fit better."""

_HELD_OUT = 500
_BETTER_BY = 0.005  # of the agreement, 0 to 1; less is noise


class Refit:
    """Refits in a thread of its own, one fit at a time."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def after_batch(self, items: int) -> None:
        """Begin when there are twice the pairs of the last time; costs nothing otherwise."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            if self._state.gallery.count(self._state.plan.new_model) < self._wanted() + _HELD_OUT:
                return
            self._thread = threading.Thread(target=self._run, name="hotfill-refit", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Wait for a refit that is under way."""
        if self._thread is not None:
            self._thread.join()

    def _wanted(self) -> int:
        """Pairs that the next fit wants: twice those last tried; no fit when all are in use."""
        tried = self._state.journal.last("refit") or self._state.journal.last("fit")
        pairs = int(tried.body["pairs"]) if tried is not None else self._state.plan.fit_items
        return max(2 * pairs, 1) if pairs < MOST_PAIRS else 2**62

    def _run(self) -> None:
        wanted = min(self._wanted(), MOST_PAIRS)
        try:
            old, new = self._pairs(wanted + _HELD_OUT)
            held = slice(0, _HELD_OUT)
            current = self._state.load_fit()
            fresh = self._state.fitting.fit(old[_HELD_OUT:], new[_HELD_OUT:])
            before = current.agreement(old[held], new[held])
            after = fresh.agreement(old[held], new[held])
        except Exception as error:  # the fit in force is still good, so the backfill goes on
            self._state.journal.record("refit", pairs=wanted, kept=False, error=str(error))
            return
        kept = after > before + _BETTER_BY
        self._state.journal.record(
            "refit", pairs=len(old) - _HELD_OUT, before=before, after=after, kept=kept
        )
        if kept:
            self._state.keep_fit(fresh, pairs=len(old) - _HELD_OUT)

    def _pairs(self, size: int) -> tuple[Vectors, Vectors]:
        """Read vectors of moved items in both spaces; row i of both is the same content."""
        plan = self._state.plan
        ids = sample_ids(self._state.gallery, [plan.new_model], size, plan.seed)
        old = self._state.gallery.vectors(ids, plan.old_model)
        new = self._state.gallery.vectors(old.item_ids, plan.new_model)
        row_of = {item_id: row for row, item_id in enumerate(new.item_ids)}
        rows = [
            (row, row_of[item_id])
            for row, item_id in enumerate(old.item_ids)
            if item_id in row_of and old.versions[row] == new.versions[row_of[item_id]]
        ]
        first, second = np.array(rows, dtype=np.int64).reshape(-1, 2).T
        return old.vectors[first], new.vectors[second]
