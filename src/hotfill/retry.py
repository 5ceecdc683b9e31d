"""A call that failed for a reason that may pass is made again, a few times."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

from hotfill.errors import EmbedError, SourceError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

RETRY_SECONDS = (0.2, 1.0, 5.0)
"""Waits between tries."""


def is_retryable(error: BaseException) -> bool:
    """Tell whether an error says of itself that the same call may succeed later."""
    return isinstance(error, EmbedError | SourceError | StoreError) and error.retryable


def retry(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a call, and again after each of `RETRY_SECONDS` while its error is retryable."""
    return retry_if(is_retryable, call, *args, **kwargs)


def retry_if(
    worth_it: Callable[[BaseException], bool],
    call: Callable[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Make a call, and again after each of `RETRY_SECONDS` while its error is worth it."""
    # Imported late: tenacity brings asyncio along, which no one-off command needs.
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_chain, wait_fixed

    waits = [wait_fixed(seconds) for seconds in RETRY_SECONDS] or [wait_fixed(0)]
    tries = Retrying(
        stop=stop_after_attempt(len(RETRY_SECONDS) + 1),
        wait=wait_chain(*waits),
        retry=retry_if_exception(worth_it),
        reraise=True,
    )
    return tries(call, *args, **kwargs)
