"""Learn from moved items while the backfill goes on: every one is a new pair, for free.

A moved item has its old vector (kept for the way back) and its new one. There are two ways.

Refresh, for `prefill`: whenever another tenth has moved, imputed vectors that still wait are made
anew, corrected by the mean residual of the nearest moved items (`OneSpace.refreshed`). The steps:
the fit is written whole and named by the journal; the vectors of the fit before are rewritten, in
batches of the journal; the journal says that it is done. A kill between any two leaves vectors of
two fits in the index, each of which tells its own by its origin, and `start` goes on with the rest.
A refresh that would take more than `Plan.refresh_share` of the embedding still ahead is left out,
judged by what imputing took before, and by what building the index again takes where one is built
while items move: vectors that are written anew leave it. The first is judged by the imputing at the
start, which is quicker: no residuals are looked up in it.

Refit, for `merge`: when the pairs have doubled, a new fit is made in a thread of its own, and takes
the place of the one in force only if it is better on pairs that the new one has not seen. (The old
one may have seen them: that favours it.)
"""

from __future__ import annotations

import logging
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from hotfill.ranking.one_space import KNOWN_MOST, RESIDUALS_FROM
from hotfill.upgrade.indexes import seconds_to_index
from hotfill.upgrade.order import sample_ids
from hotfill.upgrade.pace import TooDear

if TYPE_CHECKING:
    from hotfill.stores.base import Gallery
    from hotfill.types import Vectors
    from hotfill.upgrade.own_vectors import NotedOrigins
    from hotfill.upgrade.plan import Plan
    from hotfill.upgrade.state import State

_log = logging.getLogger("hotfill.upgrade")

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
            state = self._state
            old, new = moved_pairs(
                state.gallery, state.plan, wanted + _HELD_OUT, state.origins_noted
            )
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


def moved_pairs(
    gallery: Gallery, plan: Plan, size: int, noted: NotedOrigins = lambda item_ids: {}
) -> tuple[Vectors, Vectors]:
    """Draw re-embedded items: old (n, d_old), new (n, d_new), row i of both is the same content.

    noted: tells which old vectors had been imputed; these are left out.
    """
    new_model = plan.new_model
    ids = sample_ids(gallery, [new_model], size, plan.seed, made_by=new_model.fingerprint)
    old = gallery.vectors(ids, plan.old_model)
    new = gallery.vectors(old.item_ids, new_model)
    row_of = {item_id: row for row, item_id in enumerate(new.item_ids)}
    imputed = {item_id: version for item_id, (version, _) in noted(old.item_ids).items()}
    rows = [
        (row, row_of[item_id])
        for row, (item_id, version) in enumerate(
            zip(old.item_ids, old.versions.tolist(), strict=True)
        )
        if item_id in row_of
        and version == new.versions[row_of[item_id]]
        and version != imputed.get(item_id)
    ]
    first, second = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    return old.vectors[first], new.vectors[second]


# Refresh -----------------------------------------------------------------------------------------

TENTHS = 10

_LEAST_WEIGHT = 0.05
"""Lambda below which residuals say too little of other items for a rewrite of all of them."""

_LOOKS = 100  # times a backfill that the journal is asked how much has moved


class Refreshing:
    """Says when imputed vectors are due for a refresh, and makes the fit that they get.

    It is judged between batches, by what the journal counts; `after_batch` costs nothing mostly.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._since = self._step = 0
        self._due = 0  # tenths moved, once a refresh is due
        self._began: tuple[int, float] | None = None  # items done and seconds worked, at first

    def after_batch(self, items: int) -> None:
        """Count what was done, and look whether another tenth has moved since the last refresh.

        One that would take too much of the time that embedding still takes is left out.
        """
        with self._lock:
            self._since += items
            if self._due or self._since < self._step:
                return
            self._since = 0
            tally = self._state.journal.tally("embed")
            self._step = max(tally.total // _LOOKS, 1)
            done, worked = tally.moved + tally.skipped, self._state.progress.working_seconds
            if self._began is None:
                self._began = done, worked
            tenths = TENTHS * done // max(tally.total, 1)
            if tally.moved < RESIDUALS_FROM or not self._done() < tenths < TENTHS:
                return
            embedded = done - self._began[0]
            if not embedded:
                return  # who has just begun, again perhaps, cannot tell what embedding takes
            state = self._state
            indexing = seconds_to_index(state.gallery, state.journal, state.plan)
            each = (worked - self._began[1]) / embedded
            if state.gallery.capabilities.unindexed_bytes is not None:
                each += indexing  # which moves wait for
            seconds, ahead = tally.left * (self._seconds_imputing() + indexing), tally.left * each
            if seconds <= self._state.plan.refresh_share * ahead:
                self._due = tenths
                return
            dear = TooDear(tenths, seconds, ahead)
            self._state.journal.record("refresh", tenths=tenths, kept=False, too_dear=asdict(dear))
            _log.info("%s", dear)

    def _seconds_imputing(self) -> float:
        """Tell what imputing an item took the last time; 0 where nobody has noted it."""
        last = self._state.journal.last("imputed")
        return 0.0 if last is None else float(last.body["seconds"]) / int(last.body["items"])

    def is_due(self) -> bool:
        """Whether the backfill should let the imputed vectors be refreshed now."""
        return self._due > 0

    def at_end(self) -> None:
        """Let imputed vectors that stay gain by all that has moved; once."""
        with self._lock:
            if self._done() < TENTHS and self._state.journal.tally("embed").moved >= RESIDUALS_FROM:
                self._due = TENTHS

    def make(self) -> bool:
        """Fit, and put the fit in force; tell whether vectors are to be rewritten by it."""
        with self._state.progress.counting("fitting by what has moved"):
            return self._make(self._state, self._due)

    def _make(self, state: State, tenths: int) -> bool:
        old, new = moved_pairs(state.gallery, state.plan, KNOWN_MOST)
        fit = state.load_fit()
        if len(old) < RESIDUALS_FROM or fit.one_space is None:
            self.finish(weight=0.0, kept=False)
            return False
        fresh = fit.refreshed(old, new, seed=state.plan.seed, stored_as=state.stored_as)
        assert fresh.one_space is not None
        weight = float(fresh.one_space.imputation.facts["lambda"])
        if weight < _LEAST_WEIGHT:
            self.finish(weight=weight, kept=False)
            return False
        state.keep_refreshed(fresh, pairs=len(old), tenths=tenths, weight=weight)
        return True

    def finish(self, **facts: float | bool) -> None:
        """Say that the refresh is done: the next is due a tenth later."""
        with self._lock:
            self._state.journal.record("refresh", tenths=self._due, **facts)
            self._due, self._began = 0, None

    def _done(self) -> int:
        """Tenths moved when the imputed vectors were refreshed last."""
        facts = (self._state.journal.last(kind) for kind in ("refresh", "fit"))
        return max(
            (int(fact.body.get("tenths", 0)) for fact in facts if fact is not None), default=0
        )
