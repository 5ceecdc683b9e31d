"""The failures of client, server and local engine in our words."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from hotfill.errors import HotfillError, StoreBusyError, StoreFullError
from hotfill.stores.failures import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotfill.stores.failures import Sayings

_SAYINGS: Sayings = (
    ("No space left on device", StoreFullError, True),
    ("database or disk is full", StoreFullError, True),
    ("already accessed by another instance", StoreBusyError, True),
)
_LATER = (408, 429, 500, 502, 503, 504)  # HTTP: busy, restarting, overloaded


class MissingPointError(Exception):
    """A write named a point that is not there (any more). Never leaves this package."""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise StoreError, or the kind of it that fits, for whatever client and engine raise."""
    try:
        yield
    except (HotfillError, MissingPointError):
        raise
    except (ApiException, QdrantException, ValueError, KeyError, RuntimeError, OSError) as error:
        raise _ours(doing, error) from error
    except sqlite3.Error as error:  # of the local engine
        raise _ours(doing, error) from error


def _ours(doing: str, error: Exception) -> Exception:
    text = _text(error)
    if _names_missing_point(error, text):
        return MissingPointError(text)
    later = isinstance(error, (ResponseHandlingException, QdrantException)) or (
        isinstance(error, UnexpectedResponse) and error.status_code in _LATER
    )
    return told(doing, text, _SAYINGS, retryable=later)


def _names_missing_point(error: Exception, text: str) -> bool:
    if isinstance(error, UnexpectedResponse):
        return error.status_code == 404 and "point" in text.lower()
    return isinstance(error, KeyError)  # the local engine's word for it


def _text(error: Exception) -> str:
    if isinstance(error, UnexpectedResponse):
        return error.content.decode(errors="replace") or str(error)
    if isinstance(error, ResponseHandlingException):
        return str(error.source)
    return str(error)
