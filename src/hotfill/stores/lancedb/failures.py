"""The engine's failures in our words. It raises bare exceptions, so the text decides."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.errors import HotfillError, InputError, StoreError, StoreFullError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What stands in the message, what it means, and whether the same call may succeed later.
_TABLE: tuple[tuple[str, type[StoreError], bool], ...] = (
    ("No space left on device", StoreFullError, True),
    ("StorageFull", StoreFullError, True),
    ("ommit conflict", StoreError, True),  # another program wrote to the table
    ("concurrent", StoreError, True),
    ("Too many open files", StoreError, True),
)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise StoreError, or the kind of it that fits, for whatever the engine raises."""
    try:
        yield
    except HotfillError:
        raise
    except UnicodeError as error:
        raise InputError(f"could not {doing}: only valid Unicode is stored: {error}") from error
    except Exception as error:
        for part, kind, retryable in _TABLE:
            if part in str(error):
                raise kind(f"could not {doing}: {error}", retryable=retryable) from error
        raise StoreError(f"could not {doing}: {error}") from error
