"""Where an upgrade keeps what was fitted: a folder for each fit; the journal says which one counts.

A folder is written whole before the journal names it, so that a kill in between leaves the fit
before in force.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import JournalError
from hotfill.files import folder_whole
from hotfill.upgrade.order import sample_ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hotfill.ranking import Fit
    from hotfill.stores.base import Gallery
    from hotfill.types import Vectors
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.pairs import Fitting
    from hotfill.upgrade.plan import Plan


def keep_fit(folder: Path, journal: Journal, fit: Fit, *, pairs: int) -> None:
    """Save a fit and put it in force. pairs: what it was fitted on."""
    last = journal.last("fit")
    name = f"fit-{1 if last is None else int(last.body['number']) + 1}"
    with folder_whole(folder / name) as place:
        fit.save(place)
    journal.record("fit", number=int(name.removeprefix("fit-")), folder=name, pairs=pairs)


def fit_folder(folder: Path, journal: Journal) -> Path:
    """Tell the folder of the fit in force. Raises JournalError before there is one."""
    last = journal.last("fit")
    if last is None:
        raise JournalError("nothing was fitted yet; `hotfill start` does it first of all")
    return folder / str(last.body["folder"])


# Fit again while the backfill goes on: every item that has moved is a new pair, for free ---------
# A moved item has its old vector (kept for the way back) and its new one. When the pairs have
# doubled, a new fit is made beside the work, and takes the place of the one in force only if it is
# better on pairs that the new one has not seen. (The old one may have seen them: that favours it.)

MOST_PAIRS = 20_000
"""More pairs cost memory and time, and no longer make the fit better."""

_HELD_OUT = 500
_BETTER_BY = 0.005  # of the agreement, 0 to 1; less is noise


@dataclass(slots=True)
class Refit:
    """Refits in a thread of its own. on_fit: called when another fit is in force."""

    gallery: Gallery
    journal: Journal
    plan: Plan
    folder: Path
    fitting: Fitting
    on_fit: Callable[[], None]
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def after_batch(self, items: int) -> None:
        """Begin when there are twice the pairs of the last time; costs nothing otherwise."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            if self.gallery.count(self.plan.new_model) < self._wanted() + _HELD_OUT:
                return
            self._thread = threading.Thread(target=self._run, name="hotfill-refit", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Wait for a refit that is under way."""
        if self._thread is not None:
            self._thread.join()

    def _wanted(self) -> int:
        """Pairs that the next fit wants: twice those last tried; no fit when all are in use."""
        tried = self.journal.last("refit") or self.journal.last("fit")
        pairs = int(tried.body["pairs"]) if tried is not None else self.plan.fit_items
        return max(2 * pairs, 1) if pairs < MOST_PAIRS else 2**62

    def _run(self) -> None:
        wanted = min(self._wanted(), MOST_PAIRS)
        try:
            old, new = self._pairs(wanted + _HELD_OUT)
            held = slice(0, _HELD_OUT)
            current = self.fitting.load(fit_folder(self.folder, self.journal))
            fresh = self.fitting.fit(old[_HELD_OUT:], new[_HELD_OUT:])
            before = current.agreement(old[held], new[held])
            after = fresh.agreement(old[held], new[held])
        except Exception as error:  # the fit in force is still good, so the backfill goes on
            self.journal.record("refit", pairs=wanted, kept=False, error=str(error))
            return
        kept = after > before + _BETTER_BY
        self.journal.record(
            "refit", pairs=len(old) - _HELD_OUT, before=before, after=after, kept=kept
        )
        if kept:
            keep_fit(self.folder, self.journal, fresh, pairs=len(old) - _HELD_OUT)
            self.on_fit()

    def _pairs(self, size: int) -> tuple[Vectors, Vectors]:
        """Read vectors of moved items in both spaces; row i of both is the same content."""
        plan = self.plan
        ids = sample_ids(self.gallery, [plan.new_model], size, plan.seed)
        old = self.gallery.vectors(ids, plan.old_model)
        new = self.gallery.vectors(old.item_ids, plan.new_model)
        row_of = {item_id: row for row, item_id in enumerate(new.item_ids)}
        rows = [
            (row, row_of[item_id])
            for row, item_id in enumerate(old.item_ids)
            if item_id in row_of and old.versions[row] == new.versions[row_of[item_id]]
        ]
        first, second = np.array(rows, dtype=np.int64).reshape(-1, 2).T
        return old.vectors[first], new.vectors[second]
