"""The work: take a batch, make its vectors, move it, note it. In that order any kill is safe.

Reading, making and moving overlap (`prefetch.py`). What fails is narrowed down to single items; a
single item that goes on failing becomes a dead letter, and the rest of the gallery is not kept
waiting for it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import EmbedError
from hotfill.upgrade.journal.leases import kept
from hotfill.upgrade.work.narrowing import make_vectors, narrowed, no_item_at_fault
from hotfill.upgrade.work.prefetch import prefetched
from hotfill.upgrade.work.retrying import tried

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Gallery, ItemState
    from hotfill.types import ModelId, Vectors
    from hotfill.upgrade.journal.base import Batch, Journal, Stage

LEASE_SECONDS = 60.0
"""How long a batch waits for a worker that says nothing; one that lives prolongs its leases."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one stage does to a batch.

    target: where its items are searched afterwards. origin: what makes their vectors.
    needed: whether an item still has to be done.
    load: reads what `make` needs, by item id. make: gives the vectors, rows in the order given.
    absent: what is said of an item that `load` leaves out.
    """

    stage: Stage
    target: ModelId
    origin: str
    needed: Callable[[ItemState], bool]
    load: Callable[[Sequence[str]], Mapping[str, Any]]
    make: Callable[[Sequence[Any]], Vectors]
    absent: str = "the source has no content for this item"


@dataclass(slots=True)
class Progress:
    """What this process has done, in items. working_seconds: time not spent waiting for holds."""

    embedded: int = 0
    written: int = 0
    working_seconds: float = 0.0


@dataclass(slots=True)
class _Loaded:
    """A batch with what its vectors are made of, then with its vectors."""

    batch: Batch
    item_ids: list[str]
    versions: NDArray[np.int64]
    contents: list[Any]
    without_content: list[str]
    vectors: Vectors | None = None
    failure: Exception | None = None


@dataclass(slots=True)
class Backfill:
    """Runs the batches of a stage until none is left.

    pace: asked before every batch: 0 to go on, seconds to wait before asking again, None to stop.
    is_over: asked before every move: True when the work is no longer wanted, and nothing may move.
    after_batch: called when a batch has been written, with its number of items.
    lease_seconds: after so long without a sign of life others may take a batch.
    max_attempts: tries of a single item. max_dead_letters: more of them stop the run, because
    then not the items are at fault but what embeds them.
    """

    gallery: Gallery
    journal: Journal
    owner: str
    pace: Callable[[], float | None] = lambda: 0.0
    is_over: Callable[[], bool] = lambda: False
    after_batch: Callable[[int], None] = lambda items: None
    max_attempts: int = 3
    max_dead_letters: int = 100
    lease_seconds: float = LEASE_SECONDS
    progress: Progress = field(default_factory=Progress)

    def run(self, work: Work) -> None:
        """Do all batches of the stage. Raises what no retry can mend; then nothing is lost."""
        with kept(self.journal, self.owner, self.lease_seconds):
            # Nothing is in hand then. What is still leased by this owner was promised in an answer
            # that got lost, with a cut connection, say.
            while self._run_once(work) or self.journal.release_leases(self.owner):
                pass

    def _run_once(self, work: Work) -> bool:
        """Tell whether batches failed and were put back, after those ahead of them were read."""
        put_back = False
        closing = threading.Event()
        read = prefetched(self._loaded(work, closing))
        made = prefetched(self._made(work, read))
        try:
            for loaded in made:
                if loaded.failure is None:
                    self._finish(work, loaded)
                else:
                    self._put_back(loaded.batch, loaded.failure)
                    put_back = True
        finally:
            closing.set()
            made.close()
            read.close()  # after an error its traceback would keep it alive, and its thread
        return put_back

    # Three hands, each in a thread of its own ------------------------------------------------

    def _loaded(self, work: Work, closing: threading.Event) -> Generator[_Loaded]:
        while (seconds := self.pace()) is not None and not closing.is_set():
            if seconds:
                closing.wait(seconds)
                continue
            batch = self.journal.lease(work.stage, self.owner, self.lease_seconds)
            if batch is None:
                return
            yield self._load(work, batch)

    def _load(self, work: Work, batch: Batch) -> _Loaded:
        states = tried(self.gallery.get, batch.item_ids)
        to_do = [state for state in states if state is not None and work.needed(state)]
        contents = tried(work.load, [state.item_id for state in to_do]) if to_do else {}
        at_hand = [state for state in to_do if state.item_id in contents]
        return _Loaded(
            batch,
            [state.item_id for state in at_hand],
            np.array([state.version for state in at_hand], dtype=np.int64),
            [contents[state.item_id] for state in at_hand],
            self._without_content([state for state in to_do if state.item_id not in contents]),
        )

    def _without_content(self, states: Sequence[ItemState]) -> list[str]:
        """Name the items that had no content, but for those deleted or written meanwhile."""
        if not states:
            return []
        now = tried(self.gallery.get, [state.item_id for state in states])
        return [
            before.item_id
            for before, after in zip(states, now, strict=True)
            if after is not None and after.version == before.version
        ]

    def _made(self, work: Work, batches: Iterable[_Loaded]) -> Generator[_Loaded]:
        for loaded in batches:
            if loaded.item_ids:
                try:
                    loaded.vectors = tried(
                        make_vectors, work.make, work.target, loaded.item_ids, loaded.contents
                    )
                except Exception as error:  # user code may raise anything; it is narrowed down
                    if no_item_at_fault(error):
                        raise  # and none becomes a dead letter
                    loaded.failure = error
                else:
                    self.progress.embedded += len(loaded.item_ids)
            loaded.contents = []  # images are large, and no longer needed
            yield loaded

    def _finish(self, work: Work, loaded: _Loaded) -> None:
        batch = loaded.batch
        if self.is_over():
            return  # this process may have hung for hours; meanwhile others decided otherwise
        if loaded.without_content:
            self._bury(batch, loaded.without_content, work.absent)
        moved = 0
        if loaded.vectors is not None:
            moves = tried(
                self.gallery.move,
                loaded.item_ids,
                loaded.vectors,
                space=work.target,
                expected_versions=loaded.versions,
                origin=work.origin,
            )
            moved = int(np.count_nonzero(moves))
        self.progress.written += moved
        done = len(batch.item_ids) - len(loaded.without_content)
        self.journal.finish(batch, moved=moved, skipped=done - moved)
        self.after_batch(done)

    # What failed -----------------------------------------------------------------------------

    def _put_back(self, batch: Batch, failure: Exception) -> None:
        if len(batch.item_ids) == 1:
            if batch.attempts + 1 >= self.max_attempts:
                self._bury(batch, batch.item_ids, f"{type(failure).__name__}: {failure}")
                self.journal.finish(batch, moved=0, skipped=0)
            else:
                self.journal.retry(batch, [batch.item_ids])
            return
        self.journal.retry(batch, narrowed(batch.item_ids, failure))

    def _bury(self, batch: Batch, item_ids: Sequence[str], error: str) -> None:
        self.journal.bury(batch, item_ids, error)
        dead = len(self.journal.dead_letters())
        if dead > self.max_dead_letters:
            raise EmbedError(
                f"{dead} items failed for good, more than max_dead_letters = "
                f"{self.max_dead_letters}; the newest: {item_ids[0]!r}: {error}. See what they "
                "have in common, mend it, and run `hotfill start --retry-dead-letters`",
                item_ids=item_ids,
                retryable=False,
            )
