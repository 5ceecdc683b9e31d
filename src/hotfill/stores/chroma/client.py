"""A connection to Chroma: collections by their ids, calls in batches, failures in our words.

Embedded, the engine is in this process and one process at a time may have its folder: of two, each
would search an index in its own memory and not see what the other writes.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

import chromadb
import httpx
import numpy as np
from chromadb.errors import ChromaError, NotFoundError

from hotfill.errors import HotfillError, InputError, StoreBusyError, StoreError, StoreFullError
from hotfill.locks import FolderLock
from hotfill.retry import retry_if
from hotfill.stores.failures import told
from hotfill.stores.folder import check_room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

    from hotfill.stores.failures import Sayings
    from hotfill.types import Vectors

T = TypeVar("T")

AT_ONCE = 1000  # rows in one request; Chroma takes 5,461
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,470}[a-zA-Z0-9]")  # Chroma's 512, and our endings
_NOT_YET = "Nothing found on disk"
"""What a server says to a reader that comes while a graph is made of its first rows (1.5.9)."""
_SAYINGS: Sayings = (
    ("database or disk is full", StoreFullError, True),
    ("No space left on device", StoreFullError, True),
    ("database is locked", StoreBusyError, True),
    (_NOT_YET, StoreError, True),
    ("Could not connect", StoreError, True),
    ("already exists for", StoreError, False),
)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise StoreError, or the kind of it that fits, for whatever client and engine raise."""
    try:
        yield
    except HotfillError:
        raise
    except (ChromaError, httpx.HTTPError, ValueError, OSError) as error:
        away = isinstance(error, httpx.HTTPError)
        raise told(doing, str(error) or type(error).__name__, _SAYINGS, retryable=away) from error


class ChromaClient:
    """A connection for one gallery.

    embedded: whether the engine is in this process. location: as given, for messages.
    """

    def __init__(
        self,
        location: str,
        gallery: str,
        *,
        tenant: str,
        database: str,
        timeout_seconds: float,
        new: bool,
    ) -> None:
        """Connect. Raises StoreError without a server, StoreBusyError if another has the folder.

        new: whether a folder may be made.
        """
        if not _NAME.fullmatch(gallery):
            raise InputError(
                "collection: 3 to 472 letters, digits, dots, underscores and dashes, beginning and "
                f"ending with a letter or digit (Chroma's rule), got {gallery!r}"
            )
        self.location, self.embedded = location, "://" not in location
        self._folder, self._gallery = Path(location), gallery
        self.guard: Callable[[], None] = lambda: None  # called before rows are written
        self._closed = False
        self._found: dict[str, Collection] = {}
        where: dict[str, Any] = {"tenant": tenant, "database": database}
        if self.embedded:
            if not new and not (self._folder / "chroma.sqlite3").exists():
                raise StoreError(f"{location} is no folder of Chroma: it has no chroma.sqlite3")
            _FOLDERS.take(self._folder, gallery)
            try:
                with translated(f"open {location}"):
                    # Settings of our own would shut out the clients of this program.
                    self._client: ClientAPI = chromadb.PersistentClient(self._folder, **where)
            except BaseException:
                _FOLDERS.give(self._folder, gallery)
                raise
            return
        address = urlsplit(location)
        secure = address.scheme == "https"
        token = os.environ.get("CHROMA_TOKEN")
        with translated(f"reach {location}"):
            if address.scheme not in ("http", "https") or not address.hostname:
                raise InputError(
                    f"location: expected a folder or an address like http://localhost:8000, got "
                    f"{location!r}"
                )
            # The client itself would wait for an answer for ever (1.5.9).
            httpx.get(
                f"{location.rstrip('/')}/api/v2/heartbeat", timeout=timeout_seconds or None
            ).raise_for_status()
            self._client = chromadb.HttpClient(
                address.hostname,
                address.port or (443 if secure else 80),
                ssl=secure,
                headers={"Authorization": f"Bearer {token}"} if token else None,
                **where,
            )
        for session in self._sessions():
            session.timeout = httpx.Timeout(timeout_seconds or None)

    def _sessions(self) -> Iterator[httpx.Client]:
        """Find the client's connections: it sets no timeout, and leaves them open (1.5.9)."""
        for part in (self._client, getattr(self._client, "_admin_client", None)):
            session = getattr(getattr(part, "_server", None), "_session", None)
            if isinstance(session, httpx.Client):
                yield session

    def check_room(self, vectors: Vectors) -> None:
        """Raise StoreFullError where a write might fill the disk of this process."""
        if self.embedded:
            check_room(self._folder, vectors.nbytes)

    # Collections

    def names(self) -> list[str]:
        """List all collections."""
        return [one.name for one in self.call("list collections", lambda c: c.list_collections())]

    def named(self, name: str) -> Collection | None:
        """Find a collection by its name; None when there is none."""

        def find(client: ClientAPI) -> Collection | None:
            try:
                return client.get_collection(name, embedding_function=None)
            except NotFoundError:
                return None

        return self.call(f"find the collection {name!r}", find)

    def with_id(self, key: str, names: Sequence[str]) -> Collection | None:
        """Find a collection by its id under one of some names; None when it is under none."""
        if key not in self._found:
            for name in names:
                there = self.named(name)
                if there is not None and str(there.id) == key:
                    self._found[key] = there
        return self._found.get(key)

    def create(
        self,
        name: str,
        metadata: dict[str, Any] | None = None,
        hnsw: dict[str, Any] | None = None,
    ) -> Collection | None:
        """Make a collection; None when there is one of that name, by whomever."""

        def make(client: ClientAPI) -> Collection | None:
            try:
                return client.create_collection(
                    name,
                    metadata=metadata,
                    configuration=cast("Any", {"hnsw": hnsw} if hnsw else None),
                    embedding_function=None,
                )
            except ChromaError as error:
                if "already exists" in str(error) or "UNIQUE constraint" in str(error):
                    return None
                raise

        return self.call(f"make the collection {name!r}", make)

    def rename(self, collection: Collection, name: str) -> bool:
        """Rename a collection; False when another has that name, or this one is gone."""
        if collection.name == name:
            return True

        def modify(_: ClientAPI) -> bool:
            try:
                collection.modify(name=name)
            except NotFoundError:
                return False
            except ChromaError as error:
                if "UNIQUE constraint" in str(error) or "already exists" in str(error):
                    return False
                raise
            return True

        return self.call(f"rename the collection {collection.name!r}", modify)

    def drop(self, name: str) -> None:
        """Drop a collection. Idempotent."""

        def delete(client: ClientAPI) -> None:
            with suppress(NotFoundError):
                client.delete_collection(name)

        self.call(f"drop the collection {name!r}", delete)

    # Rows

    def call(self, doing: str, call: Callable[[ClientAPI], T]) -> T:
        """Call the client. Raises StoreErrors."""
        if self._closed:
            raise StoreError(f"could not {doing}: the gallery is closed, open it again")
        with translated(doing):
            return call(self._client)

    def read(self, doing: str, call: Callable[[ClientAPI], T]) -> T:
        """Call the client for rows or vectors. Raises StoreErrors."""
        return retry_if(lambda error: _NOT_YET in str(error), self.call, doing, call)

    def rows(
        self, collection: Collection, item_ids: Sequence[str], include: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        """Read what is there of items, one mapping each: id, and what `include` names."""
        for start in range(0, len(item_ids), AT_ONCE):
            part = list(item_ids[start : start + AT_ONCE])
            found = self._get(collection, ids=part, include=list(include))
            columns = [found[name] for name in include]
            for i, item_id in enumerate(found["ids"]):
                yield {
                    "id": item_id,
                    **{
                        name: column[i]
                        for name, column in zip(include, columns, strict=True)
                        if column is not None
                    },
                }

    def ids(self, collection: Collection, where: dict[str, Any] | None = None) -> list[str]:
        """List the ids of all rows, or of those that pass a filter, as of one moment."""
        return list(self._get(collection, where=where, include=[])["ids"])

    def _get(self, collection: Collection, **asked: Any) -> dict[str, Any]:
        return dict(self.read("read rows", lambda _: collection.get(**asked)))

    def write(
        self,
        collection: Collection,
        way: str,
        item_ids: Sequence[str],
        *,
        vectors: Vectors | None = None,
        **columns: Sequence[Any],
    ) -> None:
        """Call `upsert` or `update` of a collection; durable when it returns.

        columns: metadatas, documents, uris; a column in which nothing stands is left out.
        """
        given = {name: v for name, v in columns.items() if any(each is not None for each in v)}
        for start in range(0, len(item_ids), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            values: dict[str, Any] = {name: list(v[part]) for name, v in given.items()}
            if vectors is not None:
                values["embeddings"] = np.ascontiguousarray(vectors[part], dtype=np.float32)
            ids = list(item_ids[part])
            self.guard()
            self.call("write rows", partial(_write, collection, way, ids, values))

    def delete(self, collection: Collection, item_ids: Sequence[str]) -> None:
        """Remove rows; durable when it returns. Idempotent."""
        for start in range(0, len(item_ids), AT_ONCE):
            part = list(item_ids[start : start + AT_ONCE])
            self.guard()
            self.call("remove rows", partial(_delete, collection, part))

    def close(self) -> None:
        """Disconnect. Idempotent."""
        if self._closed:
            return
        self._closed = True
        with translated("close the connection"):
            sessions = list(self._sessions())
            cast("Any", self._client).close()
            for session in sessions:
                session.close()
        if self.embedded:
            _FOLDERS.give(self._folder, self._gallery)


def _write(
    collection: Collection, way: str, item_ids: list[str], values: dict[str, Any], _: ClientAPI
) -> None:
    getattr(collection, way)(item_ids, **values)


def _delete(collection: Collection, item_ids: list[str], _: ClientAPI) -> None:
    collection.delete(ids=item_ids)


class _Folders:
    """Folders of embedded engines that this process has; several galleries may be in one."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._held: dict[Path, tuple[FolderLock, set[str]]] = {}

    def take(self, folder: Path, gallery: str) -> None:
        place = folder.resolve()
        with self._guard:
            if place not in self._held:
                own = place / "hotfill"
                own.mkdir(parents=True, exist_ok=True)
                self._held[place] = (FolderLock(own), set())
            names = self._held[place][1]
            if gallery in names:
                raise StoreBusyError(
                    f"{gallery!r} in {folder} is open in this process already: close it first",
                    pid=os.getpid(),
                )
            names.add(gallery)

    def give(self, folder: Path, gallery: str) -> None:
        place = folder.resolve()
        with self._guard:
            lock, names = self._held[place]
            names.discard(gallery)
            if not names:
                lock.release()
                del self._held[place]


_FOLDERS = _Folders()
