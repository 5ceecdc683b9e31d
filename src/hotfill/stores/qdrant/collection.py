"""The one collection of a gallery: the client's calls, in items and spaces instead of points."""

from __future__ import annotations

import math
import sqlite3
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any
from uuid import UUID

from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from hotfill.errors import HotfillError, InputError, StoreBusyError, StoreError, StoreFullError
from hotfill.files import sync_file, sync_folder
from hotfill.stores.failures import told
from hotfill.stores.qdrant import stamp as stamps
from hotfill.stores.qdrant.filter import both, searched_in
from hotfill.stores.qdrant.points import point_id
from hotfill.stores.qdrant_points import ID, SIDE, VERSION, made_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeVar

    from hotfill.stores.failures import Sayings
    from hotfill.stores.qdrant.stamp import NamedVector, QdrantStamp
    from hotfill.types import Metric, ModelId, Vectors

    T = TypeVar("T")

DISTANCES: dict[Metric, models.Distance] = {
    # Both sides have unit length, which makes the inner product the cosine.
    "cosine": models.Distance.DOT,
    "dot": models.Distance.DOT,
    "l2": models.Distance.EUCLID,
}
_LOCAL_FILE = "meta.json"
_AT_ONCE = 1000  # points in one request
_NUMBERS_AT_ONCE = 400_000  # of vectors in one request; a server takes 32 MB of JSON by default
_IN_ORDER = models.WriteOrdering.STRONG  # every replica decides conditions in the same order


class Collection:
    """Calls of one collection. Ids given are of items; an id that is not there is left out."""

    def __init__(
        self, location: str, name: str, *, api_key: str | None, exact: bool, ef: int | None,
        timeout_seconds: float, new: bool,
    ) -> None:  # fmt: skip
        """Connect. Raises StoreError when the local engine's folder cannot be opened.

        new: whether the collection is to be made. Only then a folder is made for the local engine.
        """
        self.name = name
        self.adopted = False  # as the stamp says, once it is read
        self.local = not location.startswith(("http://", "https://"))
        in_folder = self.local and location != ":memory:"
        self._folder = Path(location) if in_folder else None
        if in_folder and not new and not (Path(location) / _LOCAL_FILE).is_file():
            raise StoreError(
                f"{location} is no folder of qdrant-client's local engine: it has no {_LOCAL_FILE}"
            )
        with translated(f"open {location}"):
            if self.local:
                place: dict[str, Any] = {"path" if in_folder else "location": location}
                # One call at a time, by the lock below, whatever the thread.
                self._client = QdrantClient(**place, force_disable_check_same_thread=True)
            else:
                self._client = QdrantClient(
                    url=location,
                    api_key=api_key,
                    timeout=max(1, round(timeout_seconds)),
                    check_compatibility=False,  # it would warn instead of failing
                )
        # The local engine compares with every vector, and warns of settings it has no use for.
        self._params = None if self.local else models.SearchParams(exact=exact, hnsw_ef=ef)
        self.alone: Any = RLock() if self.local else nullcontext()
        self._closed = False

    # The collection itself

    def create(self, space: NamedVector) -> None:
        """Make it, stamped with one space."""
        vectors = {
            space.vector: models.VectorParams(
                size=space.model.dimension, distance=DISTANCES[space.model.metric]
            )
        }
        metadata = {**stamps.heading(adopted=False), **stamps.entry(space)}
        if self._call("look for the collection", lambda c: c.collection_exists(self.name)):
            raise StoreError(f"there is a collection {self.name!r} already: open it, or adopt it")
        self._alter(
            "create the collection",
            lambda c: c.create_collection(self.name, vectors_config=vectors, metadata=metadata),
        )
        self._index(space)

    def describe(self) -> models.CollectionConfig:
        """Read its configuration. Raises StoreError when there is none."""
        if not self._call("look for the collection", lambda c: c.collection_exists(self.name)):
            raise StoreError(f"there is no collection {self.name!r}")
        return self._call(
            "read the collection's description", lambda c: c.get_collection(self.name)
        ).config

    def read_stamp(self) -> QdrantStamp | None:
        """Read what the collection says of itself."""
        return stamps.read(self.describe().metadata, self.name)

    def write_stamp(self, *entries: dict[str, Any]) -> None:
        """Add entries to what it says, or replace them."""
        merged = {key: value for one in entries for key, value in one.items()}
        self._alter("stamp", lambda c: c.update_collection(self.name, metadata=merged))

    def add_space(self, space: NamedVector) -> None:
        """Make room for a model's vectors, then say so. Idempotent."""
        dense = models.DenseVectorConfig(
            size=space.model.dimension, distance=DISTANCES[space.model.metric]
        )
        self._alter(
            "add a vector to the collection",
            lambda c: c.create_vector_name(
                self.name, space.vector, models.DenseVectorNameConfig(dense=dense)
            ),
        )
        self._index(space)
        self.write_stamp(stamps.entry(space))

    def drop_space(self, space: NamedVector) -> None:
        """Take a space out of the stamp, then remove its vectors."""
        self.write_stamp(stamps.no_entry(space))
        if space.vector or self.local:
            self._alter("remove vectors", lambda c: c.delete_vector_name(self.name, space.vector))
        else:  # over HTTP the unnamed vector has no address by which it could be dropped
            there = models.Filter(must=[models.HasVectorCondition(has_vector="")])
            self._call("remove vectors", lambda c: c.delete_vectors(self.name, [""], there))

    def _alter(self, doing: str, act: Callable[[QdrantClient], object]) -> None:
        """Alter the collection. What the local engine says of it reaches the disk, too.

        The engine syncs its points and not this file, without which nothing can be opened.
        """

        def altered(client: QdrantClient) -> None:
            act(client)
            if self._folder is not None:
                sync_file(self._folder / _LOCAL_FILE)
                sync_folder(self._folder)

        self._call(doing, altered)

    def _index(self, space: NamedVector) -> None:
        """Let the server find points by what searches and moves ask for. Idempotent."""
        if self.local:
            return  # it has no such indexes
        for key, kind in (
            (SIDE, models.PayloadSchemaType.KEYWORD),
            (VERSION, models.PayloadSchemaType.INTEGER),
            (made_by(space.side), models.PayloadSchemaType.KEYWORD),
        ):
            self._call("index the payload", partial(_create_index, self.name, key, kind))

    # Points

    def point(self, item_id: str) -> int | str:
        """Return the engine's id of an item."""
        return point_id(item_id, adopted=self.adopted)

    def may_have(self, item_id: str) -> bool:
        """Tell whether there can be a point of that name."""
        try:
            self.point(item_id)
        except InputError:
            return False
        return True

    def item(self, record: Any) -> str:
        """Return the item that a point is."""
        return str(record.id) if self.adopted else str(record.payload[ID])

    def read(
        self, item_ids: Sequence[str], *, keys: list[str] | None, vectors: bool | list[str] = False
    ) -> dict[str, Any]:
        """Read items as the client's records.

        keys: of the payload; all when None. vectors: which, or whether all of them.
        """
        wanted = True if keys is None else [ID, *keys]
        found = {}
        for start in range(0, len(item_ids), _AT_ONCE):
            points = [self.point(item_id) for item_id in item_ids[start : start + _AT_ONCE]]
            ask = partial(_retrieve, self.name, points, wanted, vectors)
            for record in self._call("read items", ask):
                found[self.item(record)] = record
        return found

    def first_payload(self) -> dict[str, Any]:
        """Read what one point holds besides vectors; empty where there is none."""
        records, _ = self._call(
            "read an item", lambda c: c.scroll(self.name, limit=1, with_payload=True)
        )
        return dict(records[0].payload or {}) if records else {}

    def update(self, operations: Sequence[Any]) -> None:
        """Write in the order given; returns when it is done.

        Raises MissingPointError when vectors were meant for a point that is not there; operations
        before that one are done, that one is in part.
        """
        self._call(
            "write",
            lambda c: c.batch_update_points(self.name, operations, wait=True, ordering=_IN_ORDER),
        )

    def page(
        self, space: NamedVector, after: str | None, limit: int
    ) -> tuple[list[Any], str | None]:
        """List some items of a side in the order of their points, and where to go on."""
        records, following = self._call(
            "list items",
            lambda c: c.scroll(
                self.name,
                scroll_filter=searched_in(space),
                limit=limit,
                offset=None if after is None else self._cursor(after),
                with_payload=[ID, VERSION, made_by(space.side)],
            ),
        )
        return records, None if following is None else str(following)

    def _cursor(self, text: str) -> int | str:
        try:
            return int(text) if self.adopted and text.isdigit() else str(UUID(text))
        except ValueError as error:
            raise InputError(f"after: {text!r} is not a cursor that scan returned") from error

    def count(self, *filters: models.Filter) -> int:
        """Count the points that match every filter."""
        return self._call(
            "count items", lambda c: c.count(self.name, count_filter=both(*filters), exact=True)
        ).count

    def search(
        self, queries: Mapping[NamedVector, Vectors], k: int, where: models.Filter | None
    ) -> dict[NamedVector, list[dict[str, float]]]:
        """Search sides in one request: for each query the best items with their scores."""
        requests = [
            models.QueryRequest(
                query=row,
                using=space.vector,
                filter=both(searched_in(space), *([] if where is None else [where])),
                limit=k,
                with_payload=[ID],
                params=self._params,
            )
            for space, rows in queries.items()
            for row in rows.tolist()
        ]
        answers = iter(
            self._call("search", lambda c: c.query_batch_points(self.name, requests))
            if requests
            else ()
        )
        return {
            space: [self._scores(next(answers).points, space) for _ in rows]
            for space, rows in queries.items()
        }

    def _scores(self, points: Sequence[Any], space: NamedVector) -> dict[str, float]:
        sign = -1.0 if space.model.metric == "l2" else 1.0  # a distance: lower is better
        return {  # the cosine of a vector of zeros in an adopted collection is no number
            self.item(point): sign * point.score for point in points if math.isfinite(point.score)
        }

    def close(self) -> None:
        """Disconnect. Idempotent."""
        with self.alone:
            if not self._closed:
                self._closed = True
                self._client.close()

    def _call(self, doing: str, call: Callable[[QdrantClient], T]) -> T:
        with self.alone, translated(f"{doing} (collection {self.name!r})"):
            if self._closed:
                raise StoreError(f"the gallery {self.name!r} is closed: open it again")
            return call(self._client)


def _create_index(
    name: str, key: str, kind: models.PayloadSchemaType, client: QdrantClient
) -> None:
    client.create_payload_index(name, key, kind)


def _retrieve(
    name: str,
    points: list[Any],
    keys: bool | list[str],
    vectors: bool | list[str],
    client: QdrantClient,
) -> list[Any]:
    return client.retrieve(name, points, with_payload=keys, with_vectors=vectors)


def named(record: Any) -> dict[str, Any]:
    """Return a record's vectors by name; a bare one is the unnamed."""
    if record.vector is None:
        return {}
    return record.vector if isinstance(record.vector, dict) else {"": record.vector}


def parts(n: int, numbers_per_item: int) -> Iterator[slice]:
    """Cut a batch into requests that a server takes."""
    step = max(1, min(_AT_ONCE, _NUMBERS_AT_ONCE // max(1, numbers_per_item)))
    for start in range(0, n, step):
        yield slice(start, start + step)


def new_space(model: ModelId, added: int) -> stamps.NamedVector:
    """Return a space of our own making: its vector is called by the model's fingerprint."""
    return stamps.NamedVector(model, model.fingerprint, added)


# Failures -------------------------------------------------------------------------------------

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
