"""A connection to Milvus or Milvus Lite: calls in rows and spaces, failures in our words."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from hotfill.errors import HotfillError, StoreBusyError, StoreError, StoreFullError
from hotfill.stores.failures import told
from hotfill.stores.milvus.fields import make_like
from hotfill.stores.milvus.rows import FIELDS, among, from_stored, quoted, to_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hotfill.stores.failures import Sayings
    from hotfill.stores.milvus.rows import MilvusRow
    from hotfill.stores.milvus.stamp import SpaceFields
    from hotfill.types import Vectors

T = TypeVar("T")

MOST_HITS = 16_384  # that a server gives for one query
_AT_ONCE = 1000  # rows in one request
_INDEXED_FROM = 10_000  # items; fewer are compared one by one as quickly
ID_BYTES = 65_535  # longest text that can be a primary key
_LOADING_SECONDS = 120.0
_open_files: Counter[str] = Counter()  # Milvus Lite: galleries of this process in one file
_files_lock = Lock()
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


class Server:
    """A connection. Reads see what was written a moment ago, unless they are told to wait."""

    def __init__(
        self, location: str, *, token: str, database: str, timeout_seconds: float, ef: int | None
    ) -> None:
        """Connect. Raises StoreError when there is no server, or the file cannot be opened."""
        self.lite = "://" not in location
        self._file = str(Path(location).resolve()) if self.lite else ""
        self._timeout = timeout_seconds
        self._params = {} if ef is None else {"ef": ef}
        self._closed = False
        with translated(f"open {location}"):
            if self.lite:
                with _files_lock:
                    self._client = MilvusClient(self._file)
                    _open_files[self._file] += 1
            else:
                self._client = MilvusClient(
                    location, token=token, db_name=database, timeout=timeout_seconds
                )

    # Collections

    def names(self) -> list[str]:
        """List all collections."""
        return list(self.call("list collections", lambda c: c.list_collections()))

    def describe(self, name: str) -> dict[str, Any] | None:
        """Read a collection's description; None when there is none."""
        try:
            return dict(self.call("describe a collection", lambda c: c.describe_collection(name)))
        except MissingCollectionError:
            return None

    def create(self, space: SpaceFields, like: SpaceFields | None, *, exact: bool) -> None:
        """Make the collection of a space, empty, and load it. Replaces one that a crash left.

        like: an adopted space whose collection it is to be like; None for one of our own.
        """
        self.drop(space)
        if like is not None:
            collection = like.collection
            self.call(
                "create a collection",
                lambda c: make_like(c, space, collection, exact=exact, lite=self.lite),
            )
            self.load(space)
            return

        def make(client: MilvusClient) -> None:
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field(space.key, DataType.VARCHAR, is_primary=True, max_length=ID_BYTES)
            schema.add_field(space.vector, DataType.FLOAT_VECTOR, dim=space.model.dimension)
            schema.add_field("version", DataType.INT64)
            schema.add_field("origin", DataType.VARCHAR, max_length=1024)
            schema.add_field("since", DataType.INT64)
            schema.add_field("metadata", DataType.JSON)
            schema.add_field("kept", DataType.JSON)
            client.create_collection(
                space.collection, schema=schema, consistency_level="Eventually"
            )
            index = client.prepare_index_params()
            if exact:
                index.add_index(space.vector, index_type="FLAT", metric_type=space.metric)
            else:
                graph = {"M": 16, "efConstruction": 200}
                index.add_index(
                    space.vector, index_type="HNSW", metric_type=space.metric, params=graph
                )
            client.create_index(space.collection, index, sync=False)

        self.call("create a collection", make)
        self.load(space)

    def load(self, space: SpaceFields) -> None:
        """Let a collection be searched. Idempotent."""
        name = space.collection
        try:
            self.call("load a collection", lambda c: c.load_collection(name, _async=True))
            deadline = time.monotonic() + _LOADING_SECONDS
            while (
                self.call("load a collection", lambda c: c.get_load_state(name))["state"].name
                != "Loaded"
            ):
                if time.monotonic() > deadline:
                    raise StoreError(f"the server does not load {name!r}", retryable=True)
                time.sleep(0.02)
        except MissingCollectionError as error:
            raise StoreError(f"the collection {name!r} of the gallery is gone") from error

    def drop(self, space: SpaceFields) -> None:
        """Remove the collection of a space. Idempotent."""
        if space.collection in self.names():
            self.call("drop a collection", lambda c: c.drop_collection(space.collection))

    def replace(self, gone: str, collection: str) -> None:
        """Let a collection have the other names of one that goes, and drop that one. Idempotent."""

        def swap(client: MilvusClient) -> None:
            for alias in client.list_aliases(gone)["aliases"]:
                client.alter_alias(collection, alias)
            client.drop_collection(gone)

        if gone in self.names():
            self.call("replace a collection", swap)

    def rename(self, collection: str, name: str) -> None:
        """Give a collection another name."""
        self.call("rename a collection", lambda c: c.rename_collection(collection, name))

    # Rows

    def write(self, space: SpaceFields, rows: Sequence[MilvusRow]) -> None:
        """Write whole rows; durable when it returns, and soon to be seen."""
        for start in range(0, len(rows), _AT_ONCE):
            stored = [to_stored(row, space) for row in rows[start : start + _AT_ONCE]]
            self._data("write rows", space, partial(_write, space.collection, stored, self.lite))

    def remove(self, space: SpaceFields, item_ids: Sequence[str]) -> None:
        """Remove rows; durable when it returns, and soon to be seen."""
        for condition in self._conditions(space, item_ids):
            self._data("remove rows", space, partial(_delete, space.collection, condition))

    def read(
        self, space: SpaceFields, item_ids: Sequence[str], *, vectors: bool = False
    ) -> dict[str, MilvusRow]:
        """Read the rows of items on a side; those that are not there are left out."""
        fields = self._fields(space, vectors)
        found = {}
        for condition in self._conditions(space, item_ids):
            ask = partial(_query, space.collection, condition, fields)
            for stored in self._data("read rows", space, ask):
                row = from_stored(stored, space)
                found[row.item_id] = row
        return found

    def page(
        self, space: SpaceFields, after: str | None, limit: int, condition: str = ""
    ) -> list[MilvusRow]:
        """Read rows of a side in the order of their keys."""
        parts = [condition] if condition else []
        if after is not None:
            parts.append(f"{space.key} > {after if space.number_ids else quoted(after)}")
        elif not parts and not space.number_ids:
            parts.append(f'{space.key} > ""')
        stored = self._data(
            "list rows",
            space,
            lambda c: c.query(
                space.collection,
                filter=" and ".join(parts) or f"{space.key} >= {-(2**63) + 1}",
                output_fields=self._fields(space, vectors=False),
                limit=min(limit, MOST_HITS),
                iterator="True",  # what makes pages come in the order of the keys
                reduce_stop_for_best="True",
            ),
        )
        rows = [from_stored(one, space) for one in stored]
        return sorted(rows, key=lambda r: int(r.item_id)) if space.number_ids else rows

    def count(self, space: SpaceFields, condition: str) -> int:
        """Count rows of a side."""
        ((n,),) = [
            list(dict(row).values())
            for row in self._data(
                "count rows",
                space,
                lambda c: c.query(space.collection, filter=condition, output_fields=["count(*)"]),
            )
        ]
        return int(n)

    def search(
        self, space: SpaceFields, queries: Vectors, k: int, condition: str
    ) -> list[list[tuple[str, float]]]:
        """Search a side: items and the server's distances, best first."""
        answers = self._data(
            "search",
            space,
            lambda c: c.search(
                space.collection,
                data=queries.tolist(),
                anns_field=space.vector,
                filter=condition,
                limit=k,
                output_fields=[space.key],
                search_params={"params": self._params},
            ),
        )
        return [
            [(str(hit["entity"].get(space.key, hit.get("id"))), hit["distance"]) for hit in hits]
            for hits in answers
        ]

    def wait(self, space: SpaceFields) -> None:
        """Wait until every later read sees all that was written to a side until now."""
        if not self.lite:
            nobody = f"{space.key} == {0 if space.number_ids else quoted('')}"
            self._data(
                "wait for writes",
                space,
                lambda c: c.query(
                    space.collection, filter=nobody, output_fields=[space.key], limit=1,
                    consistency_level="Strong",
                ),
            )  # fmt: skip

    def flush(self, space: SpaceFields) -> None:
        """Let the server seal what it holds in memory, and index it."""
        self._data("flush", space, lambda c: c.flush(space.collection))

    def indexed(self, space: SpaceFields) -> float | None:
        """Tell how much of a collection is indexed; None where it holds little, or has no graph."""

        def read(client: MilvusClient) -> dict[str, Any]:
            names = client.list_indexes(space.collection, field_name=space.vector)
            return dict(client.describe_index(space.collection, names[0])) if names else {}

        about = self.call("read an index", read)
        rows = int(about.get("total_rows", 0))
        if rows < _INDEXED_FROM or about.get("index_type") == "FLAT":
            return None
        return min(1.0, int(about.get("indexed_rows", 0)) / rows)

    def close(self) -> None:
        """Disconnect. Idempotent."""
        if self._closed:
            return
        self._closed = True
        with translated("close the connection"):
            self._client.close()
        if self.lite:
            with _files_lock:
                _open_files[self._file] -= 1
                if not _open_files[self._file]:
                    from milvus_lite.server_manager import server_manager_instance

                    server_manager_instance.release_server(self._file)

    def call(self, doing: str, call: Callable[[MilvusClient], T]) -> T:
        """Call the client. Raises MissingCollectionError, otherwise StoreErrors."""
        if self._closed:
            raise StoreError(f"could not {doing}: the gallery is closed, open it again")
        with translated(doing):
            return call(self._client)

    def _data(self, doing: str, space: SpaceFields, call: Callable[[MilvusClient], T]) -> T:
        try:
            return self.call(f"{doing} (collection {space.collection!r})", call)
        except MissingCollectionError as error:
            raise StoreError(f"could not {doing}: {error}") from error

    def _fields(self, space: SpaceFields, vectors: bool) -> list[str]:
        if space.adopted:
            return ["*"]
        return [space.key, *FIELDS, *([space.vector] if vectors else [])]

    def _conditions(self, space: SpaceFields, item_ids: Sequence[str]) -> Iterator[str]:
        for start in range(0, len(item_ids), _AT_ONCE):
            part = item_ids[start : start + _AT_ONCE]
            yield among(space.key, [int(i) for i in part] if space.number_ids else part)


def _write(collection: str, rows: list[dict[str, Any]], lite: bool, client: MilvusClient) -> None:
    """Replace whole rows. In Milvus Lite `insert` does it; its `upsert` merges (3.2.2)."""
    (client.insert if lite else client.upsert)(collection, rows)


def _delete(collection: str, condition: str, client: MilvusClient) -> None:
    client.delete(collection, filter=condition)


def _query(
    collection: str, condition: str, fields: list[str], client: MilvusClient
) -> list[dict[str, Any]]:
    return list(client.query(collection, filter=condition, output_fields=fields))
