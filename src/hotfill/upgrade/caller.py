"""Calls into other people's code, embedders and sources: they may fail, lie, or never return.

A call that does not return in time is given up, since the batch that waits for it is promised to
nobody else. What fails is narrowed down to single items, so that one bad item does not hold the
others; but an outage, a wrong model or a lack of memory is no item's fault.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, wait
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from hotfill.errors import (
    CallTimeoutError,
    ConfigError,
    EmbedError,
    MissingExtraError,
    ShapeError,
    SourceError,
    VectorError,
)
from hotfill.retry import retry
from hotfill.vectors import check_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from hotfill.types import Embedder, ModelId, Source, Vectors

P = ParamSpec("P")
T = TypeVar("T")

CALL_SECONDS = 600.0
"""How long a call may take where a plan says nothing else (`embed_timeout_seconds`)."""

STOP_SECONDS = 5.0
"""How long the batches in hand may still take when the work was told to stop."""

_POLL_SECONDS = 0.1


class GivenUpError(Exception):
    """A call was still under way some seconds after the work was told to stop."""


class PatientCaller:
    """Makes one call at a time, in a thread of its own, and stops waiting when one hangs.

    limit_seconds: of one call. stops: events, any of which ends the waiting after `STOP_SECONDS`.

    A thread cannot be ended from outside: one that hangs is left alone, and what it returns after
    all goes nowhere. It does not keep the process from ending.
    """

    def __init__(self, limit_seconds: float = CALL_SECONDS, *stops: threading.Event) -> None:
        self._limit = limit_seconds
        self._stops = stops
        self._calls: queue.SimpleQueue[Any] | None = None  # of the thread, while there is one

    def __call__(self, what: str, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call and return what it returns, or raise what it raises.

        what: names the call in messages. Raises CallTimeoutError after the limit, GivenUpError when
        told to stop.
        """
        answer: Future[T] = Future()
        if self._calls is None:
            self._calls = queue.SimpleQueue()
            threading.Thread(
                target=_answer, args=(self._calls,), name="hotfill-caller", daemon=True
            ).start()
        # In the context of the caller, so that spans of the call stand below the caller's.
        in_context = partial(copy_context().run, call)
        self._calls.put((answer, in_context, args, kwargs))
        began, stopped = time.monotonic(), None
        while not wait([answer], timeout=_POLL_SECONDS).done:
            now = time.monotonic()
            if now - began > self._limit:
                self._calls = None
                raise CallTimeoutError(
                    f"{what} has not returned for {self._limit:g} s (embed_timeout_seconds); its "
                    "batch was given back, and nothing is lost: end what hangs and run the same "
                    "command again, or raise the limit"
                )
            if any(stop.is_set() for stop in self._stops):
                stopped = stopped or now
                if now - stopped > STOP_SECONDS:
                    self._calls = None
                    raise GivenUpError(what)
        return answer.result()

    def close(self) -> None:
        """End the thread when its call has returned. Idempotent."""
        if self._calls is not None:
            self._calls.put(None)
            self._calls = None


def _answer(calls: queue.SimpleQueue[Any]) -> None:
    while (request := calls.get()) is not None:
        answer, call, args, kwargs = request
        try:
            answer.set_result(call(*args, **kwargs))
        except BaseException as error:  # raised where the answer is waited for
            answer.set_exception(error)
        del request, answer, call, args, kwargs  # images are large; the next call may be far off


def read_contents(source: Source, item_ids: Sequence[str]) -> Mapping[str, Any]:
    """Ask a source. Raises what it raises, and ConfigError when it gives no mapping."""
    contents = source(item_ids)
    if not isinstance(contents, Mapping):
        raise ConfigError(
            "the source: expected a mapping from item id to content, with the items that have "
            f"one, got {type(contents).__name__}; nothing was written"
        )
    return contents


def make_vectors(
    make: Callable[[Sequence[Any]], Vectors],
    model: ModelId,
    item_ids: Sequence[str],
    contents: Sequence[Any],
) -> Vectors:
    """Make vectors and check them; failures are attributed to individual items."""
    try:
        return check_vectors(
            make(contents),
            model.dimension,
            item_ids=item_ids,
            what=f"vectors of {model.name}",
            copy=True,  # the embedder may use its buffer again for the next call
        )
    except VectorError as error:
        raise EmbedError(str(error), item_ids=error.item_ids, retryable=False) from error
    except EmbedError as error:
        names = [item_ids[row] for row in error.rows if row < len(item_ids)]
        raise EmbedError(str(error), item_ids=names, retryable=error.retryable) from error


def no_item_at_fault(error: Exception, items: int) -> bool:
    """Tell a wrong model, an outage or a lack of memory from the fault of single items.

    items: how many failed together. Fewer items may fit into memory, so that several are no proof.
    """
    if isinstance(error, ShapeError | ConfigError | MissingExtraError | CallTimeoutError):
        return True
    if isinstance(error, GivenUpError):
        return True
    if is_out_of_memory(error):
        return items == 1
    if isinstance(error, EmbedError | SourceError):
        return error.retryable and not error.item_ids
    return False


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether fewer items at a time may help."""
    # By its name: torch is not imported here.
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def narrow(item_ids: Sequence[str], error: Exception) -> list[list[str]]:
    """Cut two or more items that failed together: those named apart, or else in halves."""
    named = set(getattr(error, "item_ids", ())) & set(item_ids)
    if named and len(named) < len(item_ids):
        healthy = [item for item in item_ids if item not in named]
        return [healthy, *([item] for item in sorted(named))]
    middle = len(item_ids) // 2
    return [list(item_ids[:middle]), list(item_ids[middle:])]


def read_what_can_be(
    source: Source, item_ids: Sequence[str], call: PatientCaller, failures: list[Exception]
) -> dict[str, Any]:
    """Read contents, narrowing failures down to single items; each is added to the list."""
    read: dict[str, Any] = {}

    def attempt(some: Sequence[str]) -> None:
        read.update(retry(call, "the source", read_contents, source, some))

    _narrowing(item_ids, attempt, failures)
    return read


def embed_what_can_be(
    embedder: Embedder, contents: Mapping[str, Any], call: PatientCaller, failures: list[Exception]
) -> dict[str, NDArray[np.float32]]:
    """Embed items, narrowing failures down to single ones; each failure is added to the list."""
    made: dict[str, NDArray[np.float32]] = {}
    model = embedder.model_id

    def attempt(some: Sequence[str]) -> None:
        rows = [contents[item_id] for item_id in some]
        vectors = retry(call, f"the embedder of {model}", make_vectors, embedder, model, some, rows)
        made.update(zip(some, vectors, strict=True))

    _narrowing(list(contents), attempt, failures)
    return made


def _narrowing(
    item_ids: Sequence[str],
    attempt: Callable[[Sequence[str]], None],
    failures: list[Exception],
) -> None:
    waiting = [list(item_ids)] if item_ids else []
    while waiting:
        some = waiting.pop()
        try:
            attempt(some)
        except Exception as error:  # other people's code may raise anything
            if no_item_at_fault(error, len(some)):
                raise
            failures.append(error)
            if len(some) > 1:
                waiting += narrow(some, error)
