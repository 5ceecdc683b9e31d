"""The failures of client, server and Milvus Lite in our words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
from pymilvus.exceptions import MilvusException

from hotfill.errors import HotfillError, StoreBusyError, StoreError, StoreFullError
from hotfill.stores.failures import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotfill.stores.failures import Sayings

_SAYINGS: Sayings = (
    ("No space left on device", StoreFullError, True),
    ("disk quota exceeded", StoreFullError, True),
    ("memory quota exceeded", StoreFullError, True),
    ("locked by another process", StoreBusyError, True),
    ("rate limit exceeded", StoreError, True),
    ("Fail connecting to server", StoreError, True),
    ("not healthy", StoreError, True),
    ("channel not available", StoreError, True),
    ("no available shard", StoreError, True),
    ("deadline exceeded", StoreError, True),
)


class MissingCollectionError(Exception):
    """There is no collection of that name (any more). Never leaves this package."""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise StoreError, or the kind of it that fits, for whatever client and server raise."""
    try:
        yield
    except (HotfillError, MissingCollectionError):
        raise
    except (MilvusException, grpc.RpcError, ValueError, OSError) as error:
        raise _ours(doing, error) from error


def _ours(doing: str, error: Exception) -> Exception:
    text = str(error)
    lowered = text.lower()
    if "collection" in lowered and ("not found" in lowered or "does not exist" in lowered):
        return MissingCollectionError(text)
    return told(doing, text, _SAYINGS, retryable=isinstance(error, grpc.RpcError))
