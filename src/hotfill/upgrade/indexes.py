"""Indexes are part of the state: a side is done when searches of it cost what they should.

What is to be built is read from the store and from what the journal noted of the beginning, never
from what this process has done: after any kill the next one builds what is missing.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from hotfill.errors import HotfillError, ModelMismatchError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId
    from hotfill.upgrade.journal.base import Journal, Stage
    from hotfill.upgrade.plan import Plan

_log = logging.getLogger("hotfill.upgrade")

ENOUGH = 0.7
"""Share of a side that an index must cover; stores build a new one over a side with less."""

EVERY_SHARE = 0.1
"""Tidied up when so much more of the gallery has moved: nine times an upgrade at most."""

LEAST_ITEMS = 50_000
"""Fewer moves leave nothing worth tidying up; and a gallery with fewer items that had no index
before needs none after."""

_POLL_SECONDS = 0.2  # how soon the end of the building, or of the wish for it, is noticed
_PATIENCE_SECONDS = 60.0  # without any progress of a server that builds indexes by itself


def indexed_shares(gallery: Gallery) -> dict[str, float | None]:
    """Tell how much of each side an index covers, by the space's fingerprint."""
    return {space.fingerprint: gallery.indexed(space) for space in gallery.spaces}


def note_indexes(gallery: Gallery, journal: Journal) -> dict[str, float | None]:
    """Write down how much of each side is indexed, if that is news; and return it."""
    shares = indexed_shares(gallery)
    last = journal.last("indexed")
    if last is None or last.body["shares"] != shares:
        journal.record("indexed", shares=shares)
    return shares


def indexed_noted(journal: Journal) -> Mapping[str, float | None]:
    """Read how much of each side was indexed when that was last written down."""
    last = journal.last("indexed")
    return {} if last is None else dict(last.body["shares"])


def partly_indexed(shares: Mapping[str, float | None]) -> dict[str, float]:
    """Pick the sides that are searched without the index they need.

    shares: by name; None for a side that needs none.
    """
    return {name: share for name, share in shares.items() if share is not None and share < ENOUGH}


def lacks_index(gallery: Gallery, journal: Journal, space: ModelId) -> bool:
    """Tell whether searches of a side cost more than they should, for want of an index.

    They should cost what they did before the upgrade: where no side was indexed then, and the
    gallery is not large either, none need be.
    """
    try:
        share = gallery.indexed(space)
    except ModelMismatchError:
        return False  # the store has no such space
    if share is None or share >= ENOUGH:
        return False
    first = next(iter(journal.facts("indexed")), None)
    was_indexed = first is None or any(first.body["shares"].values())
    return was_indexed or len(gallery) >= LEAST_ITEMS


def optimise(gallery: Gallery, may_go_on: Callable[[], bool] = lambda: True) -> None:
    """Let the store tidy up; give that up once `may_go_on` says no, or at Ctrl-C.

    An engine's call keeps whoever makes it, so a thread of its own does. Where it cannot be given
    up it is waited for: the store must not be closed before. Raises what `Gallery.optimise` raises.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            gallery.optimise()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="hotfill-optimise", daemon=True)
    thread.start()
    try:
        _end_of(thread, gallery, may_go_on)
    except BaseException:
        _end_of(thread, gallery, lambda: False)
        raise
    if failures:
        raise failures[0]


def _end_of(thread: threading.Thread, gallery: Gallery, may_go_on: Callable[[], bool]) -> None:
    """Wait for a thread that lets the store tidy up, in which signals are heard."""
    while thread.is_alive():
        if not may_go_on():
            gallery.abandon_building()
        thread.join(_POLL_SECONDS)


def build_indexes(
    gallery: Gallery, journal: Journal, space: ModelId, may_go_on: Callable[[], bool]
) -> None:
    """Let the store index a side, where that is lacking, and wait until it has.

    may_go_on: asked all the time; False ends the building.
    Raises StoreError when it does not, and what `Gallery.optimise` raises; the next call goes on.
    """
    if not lacks_index(gallery, journal, space):
        return
    optimise(gallery, may_go_on)
    best, since = gallery.indexed(space) or 0.0, time.monotonic()
    while lacks_index(gallery, journal, space) and may_go_on():
        now = gallery.indexed(space) or 0.0
        if now > best:
            best, since = now, time.monotonic()
        elif time.monotonic() - since > _PATIENCE_SECONDS:
            raise StoreError(
                f"the store has indexed {now:.0%} of {space} and does not go on: see what it says "
                "of that, and start again; optimise = false in [upgrade] goes on without",
                retryable=True,
            )
        time.sleep(_POLL_SECONDS)
    note_indexes(gallery, journal)


@dataclass(slots=True)
class Tidying:
    """Calls `Gallery.optimise` now and then during a long backfill; no batch waits for it.

    In a thread of its own, one at a time. A store whose moves would suffer from it is tidied up at
    the end only. One that says how much may be without an index (`Capabilities.unindexed_bytes`)
    is called whenever as much has moved, whichever way; then as much again may move until it is
    done, and what is more waits (`is_outrun`): each search compares all of that one by one.
    """

    gallery: Gallery
    journal: Journal
    _moved_in_all: int = 0
    _moved_since_begun: int = 0
    _step: int = 0
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def after_batch(self, items: int, stage: Stage) -> None:
        """Begin when enough has moved since the last time; costs nothing otherwise.

        stage: whose batch it was. Without a bound imputing outruns an index, and one of a part is
        for nothing; the way back is the quicker without.
        """
        with self._lock:
            if self._bound is None and stage != "embed":
                return
            self._moved_in_all += items
            self._moved_since_begun += items
            if not self.gallery.capabilities.optimise_while_moving:
                return
            if self._bound is not None:
                longest = max(space.dimension for space in self.gallery.spaces)
                self._step = max(self._bound // (4 * longest), 1)
            elif not self._step:
                self._step = max(int(len(self.gallery) * EVERY_SHARE), LEAST_ITEMS)
            if self._moved_since_begun >= self._step and not self._is_running():
                self._run_apart()

    def is_outrun(self) -> bool:
        """Tell whether so much has moved since an index was begun that more must wait for it."""
        return (
            self._bound is not None
            and self._moved_since_begun >= self._step > 0
            and self._is_running()
        )

    @property
    def _bound(self) -> int | None:
        return self.gallery.capabilities.unindexed_bytes

    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def begin(self) -> bool:
        """Begin now, whatever has moved. False where moves would suffer from it."""
        with self._lock:
            if not self.gallery.capabilities.optimise_while_moving:
                return False
            if not self._is_running():
                self._run_apart()
            return True

    def at_end(self, may_go_on: Callable[[], bool]) -> None:
        """Tidy up what a long backfill has left. may_go_on: as for `optimise`."""
        if self._moved_in_all >= LEAST_ITEMS:
            self._run(lambda: optimise(self.gallery, may_go_on), len(self.gallery))

    def finish(self, may_go_on: Callable[[], bool]) -> None:
        """Wait for a call that is under way: the store must not be closed before.

        may_go_on: whether an index that is built is wanted; where so much has moved since that
        another would be built over it, it is not.
        """
        if self._thread is not None:
            outdated = self._moved_since_begun > (1 - ENOUGH) * len(self.gallery)
            _end_of(self._thread, self.gallery, lambda: not outdated and may_go_on())

    def _run_apart(self) -> None:
        items = len(self.gallery) if self._bound is None else self._moved_since_begun
        self._moved_since_begun = 0
        self._thread = threading.Thread(
            target=self._run,
            args=(partial(self.gallery.optimise, moving=True), items),
            name="hotfill-tidying",
            daemon=True,
        )
        self._thread.start()

    def _run(self, tidy_up: Callable[[], None], items: int) -> None:
        """Have the store tidy up; note what that took for these items, if it built an index."""
        began, before = time.monotonic(), indexed_shares(self.gallery)
        try:
            tidy_up()
            after = note_indexes(self.gallery, self.journal)
        except HotfillError as error:
            # It is only slower without, and the end of the backfill asks again.
            _log.warning("the store could not be tidied up: %s", error)
            self.journal.record("optimise", error=str(error))
        else:
            rose = any((after[name] or 0) > (before.get(name) or 0) for name in after)
            built = rose or self._bound is not None
            took = {"seconds": time.monotonic() - began}
            self.journal.record("optimise", **took, **({"items": items} if built else {}))


def seconds_to_index(gallery: Gallery, journal: Journal, plan: Plan) -> float:
    """Tell what a place in the new side's index takes for each item that is written anew.

    By the last index that was built while items moved, else by what is known of the store. 0 where
    none is built while items move: there the moves themselves take longer.
    """
    able, new = gallery.capabilities, plan.new_model
    if not plan.optimise or not able.optimise_while_moving:
        return 0.0
    if new not in gallery.spaces or gallery.indexed(new) is None:
        return 0.0
    built = [fact.body for fact in journal.facts("optimise") if fact.body.get("items")]
    if built:
        return float(built[-1]["seconds"]) / int(built[-1]["items"])
    return 0.0 if able.cost is None else able.cost.seconds(able.cost.indexed, new)
