"""The work: take a batch, make its vectors, move it, note it. In that order any kill is safe.

Reading, making and moving overlap. What fails is narrowed down to single items; a single item that
goes on failing becomes a dead letter, and the rest of the gallery is not kept waiting for it. A
process keeps its batches as long as they go through; one that hangs loses them.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from hotfill.errors import ClosedSideError, EmbedError, HotfillError
from hotfill.retry import retry
from hotfill.tracing import begin, end, span
from hotfill.upgrade.caller import (
    CALL_SECONDS,
    GivenUpError,
    PatientCaller,
    is_out_of_memory,
    make_vectors,
    narrow,
    no_item_at_fault,
    read_contents,
)
from hotfill.upgrade.pace import Progress, content_bytes

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Generator,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from numpy.typing import NDArray

    from hotfill.stores.base import Gallery, ItemState
    from hotfill.types import Embedder, ModelId, Source, Transform, Vectors
    from hotfill.upgrade.journal.base import Batch, Journal, Stage
    from hotfill.upgrade.own_vectors import NotedOrigins, OwnVectors
    from hotfill.upgrade.pace import BatchSize


T = TypeVar("T")


# Work ahead, a little: the next batch is read while this one is embedded -------------------------

_POLL_SECONDS = 0.05  # how soon a stopped consumer is noticed by a full queue


def prefetched(items: Iterable[T], depth: int = 2) -> Generator[T]:
    """Yield what an iterable yields, but run it in a thread of its own.

    depth: how many items may wait; with the one in each hand this bounds the memory.
    An error in the iterable is raised here, after the items before it. When the consumer stops
    early, the iterable is closed.
    """
    waiting: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(last: bool, value: T | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                waiting.put((last, value), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put(False, item):
                    break
            put(True, None)
        except BaseException as error:  # handed over, and raised where the items are used
            put(True, error)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=produce, name="hotfill-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            last, value = waiting.get()
            if last:
                if isinstance(value, BaseException):
                    raise value
                return
            yield value  # type: ignore[misc]  # only the last entry is not a T
    finally:
        stopped.set()
        thread.join()


# Who works keeps its batches ----------------------------------------------------------------------

LEASE_SECONDS = 60.0
"""How long a batch waits for a process that says nothing; one that gets on prolongs its leases."""

_BEATS = 4  # in the time of a lease: some may be missed


@contextmanager
def keep_leases(
    journal: Journal, owner: str, seconds: float, gets_on: Callable[[], bool]
) -> Iterator[None]:
    """Prolong an owner's leases while the block runs and gets on.

    The thread that does it dies with the process and stands still with it. Then the leases run
    out, and others take the batches.
    """
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(seconds / _BEATS):
            if not gets_on():
                continue
            try:
                journal.prolong(owner, seconds)
            except HotfillError:
                continue  # the journal is away; the work itself will meet that too, and say so

    thread = threading.Thread(target=beat, name="hotfill-leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


# The loop over batches ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Work:
    """What one stage does to a batch.

    target: where its items are searched afterwards. origin: what makes their vectors.
    needed: whether an item still has to be done.
    load: reads what `make` needs, by item id. make: gives the vectors, rows in the order given.
    origin_of: tells the origin of what is made of one content, where a batch has several.
    absent: what is said of an item that `load` leaves out; None where it stays as it is.
    may_stay: whether one that `load` leaves out may stay as it is, where others may not.
    most: how many items may be done in all, in all runs and by all workers; None for all.
    """

    stage: Stage
    target: ModelId
    origin: str
    needed: Callable[[ItemState], bool]
    load: Callable[[Sequence[str]], Mapping[str, Any]]
    make: Callable[[Sequence[Any]], Vectors]
    absent: str | None = "the source has no content for this item"
    origin_of: Callable[[Any], str] | None = None
    may_stay: Callable[[ItemState], bool] = lambda state: False
    most: int | None = None

    def origin_for(self, content: Any) -> str:
        """Tell the origin of what is made of one content."""
        return self.origin if self.origin_of is None else self.origin_of(content)


@dataclass(slots=True)
class _Loaded:
    """A batch with what its vectors are made of, then with its vectors."""

    batch: Batch
    item_ids: list[str]
    versions: NDArray[np.int64]
    contents: list[Any]
    without_content: list[str]
    origins: list[str] = field(default_factory=list)
    vectors: Vectors | None = None
    failure: Exception | None = None
    traced: Any = None
    asked: int = 0  # items that a batch takes, where that is found
    seconds: float = 0.0  # of what worked on it longest so far
    content_bytes: int = 0


@dataclass(slots=True)
class Backfill:
    """Runs the batches of a stage until none is left.

    pace: asked before every batch: 0 to go on, seconds to wait before asking again, None to stop.
    is_over: asked before every move: True when the work is no longer wanted, and nothing may move.
    after_batch: called when a batch has been written, with its number of items.
    max_attempts: tries of a single item. max_dead_letters: more of them stop the run, because
    then not the items are at fault but what embeds them.
    lease_seconds: after so long without a sign of life others may take a batch.
    call_seconds: how long the source or the embedder may take for one batch.
    stop: set it to end after the batches in hand, or some seconds later without them.
    batch_size: finds how many items a batch takes; None for batches as they were cut.
    clock: seconds, for what `batch_size` learns.
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
    call_seconds: float = CALL_SECONDS
    stop: threading.Event = field(default_factory=threading.Event)
    progress: Progress = field(default_factory=Progress)
    batch_size: BatchSize | None = None
    clock: Callable[[], float] = time.monotonic
    _got_on: float = 0.0  # when one of the hands did something last

    def run(self, work: Work) -> None:
        """Do all batches of the stage. Raises non-retryable errors; then nothing is lost.

        Raises CallTimeoutError when the source or the embedder hangs.
        """
        self._gets_on()
        with keep_leases(self.journal, self.owner, self.lease_seconds, self._is_getting_on):
            try:
                # Nothing is in hand then. What is still leased by this owner was promised in an
                # answer that got lost, with a cut connection, say.
                while self._run_once(work) or self.journal.release_leases(self.owner):
                    pass
            except GivenUpError:
                self.journal.release_leases(self.owner)

    def _gets_on(self) -> None:
        self._got_on = time.monotonic()

    def _is_getting_on(self) -> bool:
        """Tell a process that works, or waits for a hold, from one that hangs."""
        return time.monotonic() - self._got_on < self.call_seconds + self.lease_seconds

    def _run_once(self, work: Work) -> bool:
        """Tell whether batches failed and were put back, after those ahead of them were read."""
        put_back = False
        closing = threading.Event()
        read_call, make_call = (
            PatientCaller(self.call_seconds, self.stop, closing) for _ in range(2)
        )
        read = prefetched(self._loaded(work, closing, read_call))
        made = prefetched(self._made(work, read, make_call))
        try:
            for loaded in made:
                if loaded.failure is None:
                    self._finish(work, loaded)
                else:
                    if self.batch_size is not None and is_out_of_memory(loaded.failure):
                        self.batch_size.too_large(len(loaded.batch.item_ids))
                    self._put_back(loaded.batch, loaded.failure)
                    put_back = True
                end(loaded.traced, failed=loaded.failure is not None)
                self._gets_on()
        finally:
            closing.set()
            made.close()
            read.close()  # after an error its traceback would keep it alive, and its thread
            read_call.close()
            make_call.close()
        return put_back

    # Three hands, each in a thread of its own ------------------------------------------------

    def _loaded(
        self, work: Work, closing: threading.Event, call: PatientCaller
    ) -> Generator[_Loaded]:
        began = self.clock()
        while (seconds := self.pace()) is not None and not closing.is_set():
            self._gets_on()
            if seconds:
                closing.wait(seconds)
                began = self.clock()
                continue
            asked = None if self.batch_size is None else self.batch_size.next()
            batch = self.journal.lease(work.stage, self.owner, self.lease_seconds, work.most, asked)
            if batch is None:
                return
            traced = begin("batch", stage=work.stage, items=len(batch.item_ids))
            with span("read", below=traced):
                loaded = self._load(work, batch, call)
            loaded.traced = traced
            if asked is not None:
                self.progress.batch_size = loaded.asked = asked
                loaded.seconds = self.clock() - began
                loaded.content_bytes = sum(map(content_bytes, loaded.contents))
            yield loaded
            began = self.clock()

    def _load(self, work: Work, batch: Batch, call: PatientCaller) -> _Loaded:
        states = retry(self.gallery.get, batch.item_ids)
        to_do = [state for state in states if state is not None and work.needed(state)]
        contents: Mapping[str, Any] = {}
        if to_do:
            wanted = [state.item_id for state in to_do]
            try:
                contents = retry(call, "the source", read_contents, work.load, wanted)
            except Exception as error:  # other people's code may raise anything
                if no_item_at_fault(error, len(wanted)):
                    raise
                return _Loaded(batch, [], np.empty(0, np.int64), [], [], failure=error)
        at_hand = [state for state in to_do if state.item_id in contents]
        lacking = [state for state in to_do if state.item_id not in contents]
        return _Loaded(
            batch,
            [state.item_id for state in at_hand],
            np.array([state.version for state in at_hand], dtype=np.int64),
            [contents[state.item_id] for state in at_hand],
            self._without_content([state for state in lacking if not work.may_stay(state)]),
        )

    def _without_content(self, states: Sequence[ItemState]) -> list[str]:
        """Name the items that had no content, but for those deleted or written since."""
        if not states:
            return []
        now = retry(self.gallery.get, [state.item_id for state in states])
        return [
            before.item_id
            for before, after in zip(states, now, strict=True)
            if after is not None and after.version == before.version
        ]

    def _made(
        self, work: Work, batches: Iterable[_Loaded], call: PatientCaller
    ) -> Generator[_Loaded]:
        name = f"what makes vectors of {work.target}"
        for loaded in batches:
            began = self.clock()
            if loaded.item_ids:
                try:
                    model, items = str(work.target), len(loaded.item_ids)
                    with span("embed", below=loaded.traced, model=model, items=items):
                        loaded.vectors = retry(
                            call,
                            name,
                            make_vectors,
                            work.make,
                            work.target,
                            loaded.item_ids,
                            loaded.contents,
                        )
                except Exception as error:  # other people's code may raise anything
                    if no_item_at_fault(error, len(loaded.item_ids)):
                        raise  # and none becomes a dead letter
                    loaded.failure = error
                else:
                    self.progress.embedded += len(loaded.item_ids) * (work.stage != "prefill")
            loaded.origins = [work.origin_for(content) for content in loaded.contents]
            loaded.contents = []  # images are large, and no longer needed
            loaded.seconds = max(loaded.seconds, self.clock() - began)
            yield loaded

    def _finish(self, work: Work, loaded: _Loaded) -> None:
        batch = loaded.batch
        began = self.clock()
        if self.is_over():
            return  # this process may have hung for hours, and others decided otherwise
        if loaded.without_content and work.absent is not None:
            self._reject(batch, loaded.without_content, work.absent)
        moved = 0
        for origin in dict.fromkeys(loaded.origins if loaded.vectors is not None else ()):
            assert loaded.vectors is not None
            rows = [row for row, made_by in enumerate(loaded.origins) if made_by == origin]
            with span("move", below=loaded.traced, items=len(rows)):
                moves = self._move(
                    [loaded.item_ids[row] for row in rows],
                    loaded.vectors[rows],
                    space=work.target,
                    expected_versions=loaded.versions[rows],
                    origin=origin,
                )
            if moves is None:
                return
            moved += int(np.count_nonzero(moves))
        self.progress.written += moved * (work.stage != "prefill")
        left_out = len(loaded.without_content) if work.absent is not None else 0
        done = len(batch.item_ids) - left_out
        self.journal.finish(batch, moved=moved, skipped=done - moved)
        if self.batch_size is not None and len(loaded.item_ids) == len(batch.item_ids):
            seconds = max(loaded.seconds, self.clock() - began)
            self.batch_size.note(loaded.asked, done, seconds, loaded.content_bytes)
        self.after_batch(done)

    def _move(
        self, item_ids: Sequence[str], vectors: Vectors, **how: Any
    ) -> NDArray[np.bool_] | None:
        """Move items as `Gallery.move` does; None where the work is no longer wanted."""
        while True:
            try:
                return retry(self.gallery.move, item_ids, vectors, **how)
            except ClosedSideError as refused:
                if self.is_over():
                    return None
                # The store is behind the journal: it was put back from a backup, say.
                self.gallery.permit_writes(refused)

    # What failed -----------------------------------------------------------------------------

    def _put_back(self, batch: Batch, failure: Exception) -> None:
        if len(batch.item_ids) == 1:
            if batch.attempts + 1 >= self.max_attempts:
                self._reject(batch, batch.item_ids, f"{type(failure).__name__}: {failure}")
                self.journal.finish(batch, moved=0, skipped=0)
            else:
                self.journal.put_back(batch, [batch.item_ids])
            return
        self.journal.put_back(batch, narrow(batch.item_ids, failure))

    def _reject(self, batch: Batch, item_ids: Sequence[str], error: str) -> None:
        self.journal.reject(batch, item_ids, error)
        dead = len(self.journal.dead_letters())
        if dead > self.max_dead_letters:
            raise EmbedError(
                f"{dead} items failed for good, more than max_dead_letters = "
                f"{self.max_dead_letters}; the newest: {item_ids[0]!r}: {error}. See what they "
                "have in common (`hotfill dead-letters`), fix it, and run "
                "`hotfill start --retry-dead-letters`",
                item_ids=item_ids,
                retryable=False,
            )


# What each stage does to a batch: `prefill` maps, `embed` embeds, `revert` puts back -------------


def is_reembedded(state: ItemState, new_model: ModelId) -> bool:
    """Tell whether the new model itself made the vector that is searched."""
    return (state.space, state.origin) == (new_model, new_model.fingerprint)


def embed_work(
    new_model: ModelId,
    source: Source,
    embedder: Embedder,
    *,
    may_stay: bool = False,
    most: int | None = None,
) -> Work:
    """Embed the content of items by the new model.

    may_stay: whether an item may stay imputed where nobody has its content; it is no dead letter
        then. most: see `Work`.
    """
    return Work(
        stage="embed",
        target=new_model,
        origin=new_model.fingerprint,
        needed=lambda state: not is_reembedded(state, new_model),
        load=source,
        make=embedder,
        may_stay=lambda state: may_stay and state.space == new_model,
        most=most,
    )


def prefill_work(
    own: OwnVectors,
    new_model: ModelId,
    ups: Mapping[ModelId, Transform],
    made: Collection[str],
    map_over: Callable[[str], tuple[Transform, str]],
    noted: NotedOrigins,
) -> Work:
    """Carry old vectors into the new space: cheap, no content is read, no model runs.

    ups: by old model, what carries its vectors. Those that another map carried there are carried
    anew, so that no search mixes two maps. An item without a usable old vector stays where it is;
    it is found there until it is embedded.
    made: the origins of what these maps make. map_over: what carries on vectors of an origin that
    were imputed themselves, and the origin of what it makes. noted: tells which these are.
    """
    done = {new_model.fingerprint, *made}

    def load(item_ids: Sequence[str]) -> Mapping[str, tuple[Transform, str, Vectors]]:
        before = noted(item_ids)
        versions = {}
        if before:
            states = own.gallery.get(list(before))
            versions = {state.item_id: state.version for state in states if state is not None}
        found = {}
        for item_id, (model, vector) in own.newest(item_ids).items():
            version, origin = before.get(item_id, (None, ""))
            over = version is not None and versions.get(item_id) == version
            up, name = map_over(origin) if over else (ups[model], ups[model].fingerprint)
            found[item_id] = (up, name, vector)
        return found

    def make(contents: Sequence[tuple[Transform, str, Vectors]]) -> Vectors:
        made = np.empty((len(contents), new_model.dimension), np.float32)
        for name, up in {name: up for up, name, _ in contents}.items():
            rows = [row for row, (_, origin, _) in enumerate(contents) if origin == name]
            made[rows] = up(np.stack([contents[row][2] for row in rows]))
        return made

    return Work(
        stage="prefill",
        target=new_model,
        origin=next(iter(ups.values())).fingerprint,
        origin_of=lambda content: content[1],
        needed=lambda state: (
            state.space in ups or (state.space == new_model and state.origin not in done)
        ),
        load=load,
        make=make,
        absent=None,
    )


@dataclass(frozen=True, slots=True)
class _PutBack:
    """What an item goes back by: a kept vector and what made it, or a content to make one of."""

    origin: str
    vector: Any = None
    content: Any = None


def revert_work(
    gallery: Gallery,
    old_model: ModelId,
    new_model: ModelId,
    source: Source,
    embedder: Embedder | None,
    noted: NotedOrigins,
) -> Work:
    """Put old vectors back into search, of items that are searched by the new model.

    embedder: the old model's, for items written without an old vector; without it such items
    cannot go back and become dead letters. noted: tells which old vectors had been imputed, so that
    they do not pass for the model's own.
    """
    own = old_model.fingerprint

    def load(item_ids: Sequence[str]) -> Mapping[str, _PutBack]:
        found = gallery.vectors(item_ids, old_model)
        before = noted(found.item_ids)
        rows = {}
        for item_id, vector, version in zip(
            found.item_ids, found.vectors, found.versions.tolist(), strict=True
        ):
            then, origin = before.get(item_id, (None, own))
            rows[item_id] = _PutBack(origin if then == version else own, vector=vector)
        lacking = [item_id for item_id in item_ids if item_id not in rows]
        if lacking and embedder is not None:
            contents = read_contents(source, lacking)
            rows |= {item: _PutBack(own, content=content) for item, content in contents.items()}
        return rows

    def make(rows: Sequence[_PutBack]) -> Vectors:
        lacking = [place for place, row in enumerate(rows) if row.vector is None]
        made = {place: row.vector for place, row in enumerate(rows)}
        if lacking and embedder is not None:
            try:
                vectors = embedder([rows[place].content for place in lacking])
            except EmbedError as error:  # it counts what it was given, not what we were
                places = [lacking[row] for row in error.rows if row < len(lacking)]
                raise EmbedError(str(error), rows=places, retryable=error.retryable) from error
            made.update(zip(lacking, vectors, strict=True))
        return np.stack(list(made.values()))

    return Work(
        stage="revert",
        target=old_model,
        origin=own,
        origin_of=lambda row: row.origin,
        needed=lambda state: state.space == new_model,
        load=load,
        make=make,
        absent="this item has no old vector, and no old embedder or no content to make one",
    )
