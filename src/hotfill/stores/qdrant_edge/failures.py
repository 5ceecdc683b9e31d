"""The engine's failures in our words. It raises bare exceptions, so the text decides."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.errors import StoreBusyError, StoreError, StoreFullError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What stands in the message, what it means, and whether the same call may succeed later.
_TABLE: tuple[tuple[str, type[StoreError], bool], ...] = (
    ("No space left on device", StoreFullError, True),
    ("StorageFull", StoreFullError, True),
    ("WouldBlock", StoreBusyError, True),
    ("Too many open files", StoreError, True),
)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise StoreError, or the kind of it that fits, for whatever the engine raises."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise _ours(doing, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # the engine's own bug; not an Exception
            raise
        raise _ours(doing, error) from error


def _ours(doing: str, error: BaseException) -> StoreError:
    for part, kind, retryable in _TABLE:
        if part in str(error):
            return kind(f"could not {doing}: {error}", retryable=retryable)
    return StoreError(f"could not {doing}: {error}")
