"""The engine's failures in our words. It raises bare exceptions, so the text decides."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.errors import HotfillError, InputError, StoreError, StoreFullError
from hotfill.stores.failures import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotfill.stores.failures import Sayings

_SAYINGS: Sayings = (
    ("No space left on device", StoreFullError, True),
    ("StorageFull", StoreFullError, True),
    ("commit conflict", StoreError, True),  # another program wrote to the table
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
        raise told(doing, str(error), _SAYINGS) from error
