"""The database's failures in our words, by one table of its error codes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout

from hotfill.errors import HotfillError, InputError, StoreError, StoreFullError

if TYPE_CHECKING:
    from collections.abc import Iterator

# SQLSTATE or its first two characters, and what it means. StoreErrors: may the call succeed later?
_INPUT = {
    "21": "it names something twice",
    "22": "a value cannot be stored",
    "54": "a value is too long",
}
_RETRYABLE = {
    "08": "the connection failed",
    "40": "others wrote the same rows at the same time",
    "53": "the server lacks resources",
    "55P03": "the table is in use by others",
    "57": "the server stopped the statement",
    "58": "the server's machine failed",
}
_FULL = "53100"
_HINTS = {
    "23502": "the table has columns that must not be empty and that hotfill does not know: write "
    "new items with your own statements, hotfill sees them",
    "25006": "this server takes no writes: connect to the primary",
    "42501": "grant the right to the user that hotfill connects as",
    "42P01": "the table is gone",
}


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise the HotfillError that fits whatever the database raises."""
    try:
        yield
    except (psycopg.Error, PoolTimeout, PoolClosed, UnicodeEncodeError) as error:
        raise ours(doing, error) from error


def ours(doing: str, error: Exception) -> HotfillError:
    """Make the HotfillError that fits."""
    if isinstance(error, UnicodeEncodeError):
        return InputError(f"could not {doing}: PostgreSQL stores valid Unicode only: {error}")
    if isinstance(error, PoolClosed):
        return StoreError(f"could not {doing}: it is closed")
    if isinstance(error, PoolTimeout):
        return StoreError(f"could not {doing}: no connection became free: {error}", retryable=True)
    code = getattr(error, "sqlstate", None)
    text = str(error).strip()
    if code is None:  # no word from the server: the connection is gone, or never was
        lost = isinstance(error, psycopg.OperationalError)
        if isinstance(error, psycopg.DataError):
            return InputError(f"could not {doing}: {text}")
        return StoreError(f"could not {doing}: {text}", retryable=lost)
    if code == _FULL:
        return StoreFullError(f"could not {doing}: {text}", retryable=True)
    if code[:2] in _INPUT:
        return InputError(f"could not {doing}: {_INPUT[code[:2]]}: {text}")
    why = _RETRYABLE.get(code) or _RETRYABLE.get(code[:2])
    if why is not None:
        return StoreError(f"could not {doing}: {why}: {text}", retryable=True)
    hint = f"; {_HINTS[code]}" if code in _HINTS else ""
    return StoreError(f"could not {doing}: {text}{hint}")
