"""A connection to Redis: its scripts and indexes, failures in our words.

After a restart the engine fills its indexes in the background, and until then a search finds less.
So every connection, before its first command, waits until the gallery's indexes are whole.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager, suppress
from copy import copy
from typing import TYPE_CHECKING, Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from hotfill.errors import HotfillError, StoreBusyError, StoreError, StoreFullError
from hotfill.stores.failures import told
from hotfill.stores.redis import scripts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hotfill.stores.failures import Sayings
    from hotfill.stores.redis.stamp import RedisStamp, SpaceIndex

T = TypeVar("T")

MOST_HITS = 1_000_000  # the server's own limit, unless it says another
# Documents that a script writes; other commands wait as long. Into a graph, each takes a
# millisecond or so.
_AT_ONCE = 64
_AT_ONCE_INTO_GRAPHS = 8
_READ_AT_ONCE = 256
_EF = 64  # candidates of a walk along a graph of ours, unless a search says another
_PAUSE_SECONDS = 0.02
_GALLERIES = "hotfill-galleries"
_SAYINGS: Sayings = (
    ("No space left on device", StoreFullError, True),
    ("OOM ", StoreFullError, True),
    ("MISCONF", StoreError, True),
    ("LOADING", StoreError, True),
    ("BUSY ", StoreBusyError, True),
    ("READONLY", StoreError, True),
    ("MASTERDOWN", StoreError, True),
    ("Timeout limit", StoreError, True),
)


class StaleStampError(Exception):
    """Another process has changed the stamp. Never leaves this package."""


class MissingIndexError(Exception):
    """There is no index of that name (any more). Never leaves this package."""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise StoreError, or the kind of it that fits, for whatever client and server raise."""
    try:
        yield
    except (HotfillError, StaleStampError, MissingIndexError):
        raise
    except (redis.RedisError, OSError, ValueError) as error:
        raise _ours(doing, error) from error


def _ours(doing: str, error: Exception) -> Exception:
    text = str(error)
    lowered = text.lower()
    if text.startswith(scripts.STALE):
        return StaleStampError()
    if "no such index" in lowered or "unknown index name" in lowered:
        return MissingIndexError(text)
    if "unknown command" in lowered and ("ft." in lowered or "json." in lowered):
        return StoreError(
            f"could not {doing}: this Redis has no query engine ({text}): Redis 8, Redis Stack, or "
            "the modules RediSearch and RedisJSON are needed"
        )
    unreachable = (redis.ConnectionError, redis.TimeoutError, OSError)
    denied = (redis.AuthenticationError, redis.exceptions.AuthorizationError)
    later = isinstance(error, unreachable) and not isinstance(error, denied)
    return told(doing, text, _SAYINGS, retryable=later)


class RedisServer:
    """Connections to one server, and what a gallery there consists of.

    name: of the gallery. indexes: those that a connection waits for.
    """

    def __init__(
        self,
        location: str,
        name: str,
        *,
        password: str | None,
        ef: int | None,
        timeout_seconds: float,
    ) -> None:
        """Connect. Raises StoreError when the server cannot be used."""
        self._name, self._ef, self._timeout = name, ef, timeout_seconds
        self.indexes: tuple[str, ...] = ()
        limit = timeout_seconds or None
        self._scripts: dict[str, Any] = {}
        with translated("connect to Redis"):
            pool = redis.ConnectionPool.from_url(location)
            if password is not None:
                pool.connection_kwargs["password"] = password
            pool.connection_kwargs.update(
                protocol=3,
                decode_responses=False,
                socket_timeout=limit,
                socket_connect_timeout=limit,
                # A write whose answer was lost may have been done: whoever called decides.
                retry=Retry(NoBackoff(), 0),
                redis_connect_func=self._connected,
            )
            self._client: Any = redis.Redis.from_pool(pool)
            self._check_usable()
        self._clock = self._client.register_script(scripts.CLOCK)
        self._restamp = self._client.register_script(scripts.RESTAMP)
        self._release = self._client.register_script(scripts.RELEASE)

    def _check_usable(self) -> None:
        info = self._client.info("server")
        if info.get("redis_mode") == "cluster":
            raise StoreError(
                "a cluster of Redis servers is not supported: an item's documents, lists and kept "
                "vectors have to be on one server"
            )
        self._client.execute_command("FT._LIST")

    def _connected(self, connection: Any) -> None:
        connection.on_connect()
        deadline = time.monotonic() + (self._timeout or float("inf"))
        for index in self.indexes:
            while self._is_filling(connection, index):
                if time.monotonic() > deadline:
                    raise redis.TimeoutError(f"the index {index!r} is still being filled")
                time.sleep(_PAUSE_SECONDS)

    @staticmethod
    def _is_filling(connection: Any, index: str) -> bool:
        connection.send_command("FT.INFO", index)
        try:
            return bool(int(connection.read_response()[b"indexing"]))
        except redis.ResponseError:
            return False  # there is none, as the next command will say

    def call(self, doing: str, call: Callable[[Any], T]) -> T:
        """Call the client. Raises StaleStampError, MissingIndexError, otherwise StoreErrors."""
        with translated(doing):
            return call(self._client)

    def close(self) -> None:
        """Disconnect. Idempotent."""
        self._client.close()
        self._client.connection_pool.disconnect()

    # The stamp

    def key(self, *words: str) -> str:
        """Name something that hotfill keeps next to the documents."""
        return ":".join(("hotfill", self._name, *words))

    def stamp_text(self) -> str | None:
        """Read the stamp."""
        text = self.call("read the stamp", lambda c: c.get(self.key("stamp")))
        return None if text is None else text.decode()

    def restamp(self, before: int, after: RedisStamp, *, empty: str = "") -> int:
        """Write the stamp over the one of the epoch `before`, 0 for none.

        empty: a side on which nothing may be. Returns how much is there; then nothing is written.
        Raises StaleStampError.
        """
        keys = [self.key("epoch"), self.key("stamp"), self.key("sets")]
        sets = self.key("ids", f"{empty}:") if empty else ""
        words = [str(before) if before else "", str(after.epoch), after.to_json(), sets]
        there = self.call("stamp the gallery", lambda c: self._restamp(keys, words))
        if there < 0:
            raise StaleStampError
        return int(there)

    def register(self) -> None:
        """Let the server know that there is such a gallery."""
        self.call("note the gallery", lambda c: c.sadd(_GALLERIES, self._name))

    def others(self) -> Iterator[tuple[str, str]]:
        """List the other galleries: their names and stamps."""
        for each in self.call("list galleries", lambda c: c.smembers(_GALLERIES)):
            name = each.decode()
            text = self.of(name).stamp_text() if name != self._name else None
            if text is not None:
                yield name, text

    def of(self, name: str) -> RedisServer:
        """Return another gallery's view of the same connections."""
        other = copy(self)
        other._name = name
        return other

    def remove(self, stamp: RedisStamp) -> None:
        """Remove a gallery without items."""
        for space in stamp.spaces:
            self.drop_index(space.index)
        keys = [self.key(word) for word in ("epoch", "stamp", "sets", "clock", "owner")]
        self.call("remove a gallery", lambda c: c.unlink(*keys))

    # Documents

    def read(
        self, stamp: RedisStamp, item_ids: Sequence[str], what: str, number: int = 0
    ) -> list[list[Any]]:
        """Read documents, as `scripts` says; `what` is "heads", "content" or "vectors"."""
        return self._run("read", stamp, item_ids, {"what": what, "number": number}, item_ids)

    def write(
        self,
        stamp: RedisStamp,
        step: str,
        space: SpaceIndex | None,
        origin: str,
        items: Sequence[tuple[str, Sequence[Any]]],
    ) -> list[int]:
        """Write documents, each with the words that `scripts` says. Returns what came of each."""
        shared = {"step": step}
        if space is not None:
            own = space.model.fingerprint
            shared |= {"side": space.side, "own": own, "origin": origin}
        words = [[item_id, *more] for item_id, more in items]
        return self._run("write", stamp, [item_id for item_id, _ in items], shared, words)

    def delete(self, stamp: RedisStamp, item_ids: Sequence[str]) -> list[int]:
        """Remove documents. Returns 1 for each that was there."""
        return self._run("delete", stamp, item_ids, {}, item_ids)

    def sync(self, stamp: RedisStamp, item_ids: Sequence[str]) -> None:
        """Let the lists of ids say what these documents do."""
        self._run("sync", stamp, item_ids, {}, item_ids, each=False)

    def versions(self, n: int) -> int:
        """Return the first of n versions that nothing ever had."""
        first = self.call("give out versions", lambda c: self._clock([self.key("clock")], [n]))
        return int(first)

    def _run(
        self,
        name: str,
        stamp: RedisStamp,
        item_ids: Sequence[str],
        shared: Mapping[str, Any],
        words: Sequence[Any],
        *,
        each: bool = True,
    ) -> list[Any]:
        """Run a script for many items, some at a time. words: of each, one or a list."""
        if stamp.documents not in self._scripts:
            self._scripts[stamp.documents] = {
                each: self._client.register_script(text)
                for each, text in scripts.of(stamp.documents).items()
            }
        script = self._scripts[stamp.documents][name]
        head = json.dumps({**self._shared(stamp), **shared})
        found: list[Any] = []
        n = _AT_ONCE_INTO_GRAPHS if any(space.graph for space in stamp.spaces) else _AT_ONCE
        n = n if name == "write" else _READ_AT_ONCE
        for start in range(0, len(item_ids), n):
            keys = [self.key("epoch"), *map(stamp.key, item_ids[start : start + n])]
            said = [head]
            for more in words[start : start + n]:
                said += [more] if isinstance(more, str) else more
            answer = self.call(f"{name} items", lambda c, k=keys, s=said: script(k, s))  # type: ignore[misc]
            found += answer if each else []
        return found

    def _shared(self, stamp: RedisStamp) -> dict[str, Any]:
        """Say what all scripts are told."""
        live = {space.number for space in stamp.spaces}
        shared: dict[str, Any] = {
            "epoch": stamp.epoch,
            "ids": self.key("ids", ""),
            "sets": self.key("sets"),
            "kept": self.key("kept", ""),
            "numbers": [s.number for s in stamp.spaces if not stamp.stays(s)],
            "origins": {s.side: s.model.fingerprint for s in stamp.spaces},
            "fields": {s.side: s.field for s in stamp.spaces},
            "hidden": dict.fromkeys([field.removeprefix("$.") for field in stamp.hidden], True),
        }
        if (base := stamp.base) is not None:
            shared["base"] = {
                "field": base.field,
                "number": base.number,
                "dimension": base.dimension,
                "bytes": 4 * base.dimension,
                "stays": not base.ours,
                **({"side": f"s{base.number}"} if base.number in live else {}),
            }
        return shared

    def forget(self, numbers: Sequence[int], item_ids: Sequence[str]) -> None:
        """Remove kept vectors of items in spaces that are gone."""
        keys = [self.key("kept", str(n), item_id) for n in numbers for item_id in item_ids]
        self.call("remove kept vectors", lambda c: c.unlink(*keys))

    def keys(self, stamp: RedisStamp) -> Iterator[list[str]]:
        """List the ids of all documents, some at a time; an id may come twice."""
        pattern = "".join(f"\\{c}" if c in "*?[]^\\-" else c for c in stamp.prefix) + "*"
        kind = "hash" if stamp.documents == "hash" else "ReJSON-RL"
        cursor = 0
        while True:
            cursor, keys = self.call(
                "list keys",
                lambda c, at=cursor: c.scan(at, pattern, 1000, kind),  # type: ignore[misc]
            )
            names = [_text(key) for key in keys]
            yield [name[len(stamp.prefix) :] for name in names if name is not None]
            if not cursor:
                return

    # Lists of ids

    def listed(self, side: str) -> dict[str, str]:
        """Return the names of a side's lists, by the origin of the vectors."""
        start = self.key("ids", f"{side}:")
        sets = self.call("list items", lambda c: c.smembers(self.key("sets")))
        names = (each.decode() for each in sets)
        return {name.removeprefix(start): name for name in names if name.startswith(start)}

    def sizes(self, sets: Sequence[str]) -> int:
        """Return how many ids are in lists."""
        if not sets:
            return 0

        def ask(client: Any) -> int:
            pipeline = client.pipeline()
            for each in sets:
                pipeline.zcard(each)
            return sum(pipeline.execute())

        return self.call("count items", ask)

    def ids_after(self, a_set: str, after: str | None, limit: int) -> list[str]:
        """Return ids of a list, in the order of their bytes."""
        start = "-" if after is None else b"(" + after.encode()
        found = self.call("list items", lambda c: c.zrangebylex(a_set, start, "+", 0, limit))
        return [item_id.decode() for item_id in found]

    # Indexes

    def info(self, index: str) -> dict[str, Any]:
        """Describe an index. Raises MissingIndexError."""
        found = self.call(
            f"describe the index {index!r}", lambda c: c.execute_command("FT.INFO", index)
        )
        return {key.decode(): _plain(value) for key, value in found.items()}

    def index_names(self) -> list[str]:
        """List all indexes."""
        names = self.call("list indexes", lambda c: c.execute_command("FT._LIST"))
        return [name.decode() for name in names]

    def make_index(self, stamp: RedisStamp, space: SpaceIndex) -> None:
        """Make the index of a space, and wait until the documents that are there are in it."""
        side, vector = "hotfill_side", space.attribute
        if stamp.adopted:  # documents of others say nothing
            of_this_side = f"!(exists(@{side}) && @{side}!='{space.side}')"
        else:
            of_this_side = f"exists(@{side}) && @{side}=='{space.side}'"
        before = "" if stamp.documents == "hash" else "$."
        metric = ["TYPE", "FLOAT32", "DIM", space.model.dimension, "DISTANCE_METRIC", space.metric]
        if space.graph:
            metric += ["M", 16, "EF_CONSTRUCTION", 200, "EF_RUNTIME", _EF]
        # The names must differ from index to index: the engine reads a name once for a document,
        # whatever field it means in which index (RediSearch 2.10.5).
        schema: list[Any] = [
            *[space.field, "AS", vector, "VECTOR", "HNSW" if space.graph else "FLAT"],
            *[len(metric), *metric],
            *[before + side, "AS", side, "TAG", "CASESENSITIVE"],
        ]
        if not stamp.adopted:
            schema += [f"{before}hotfill_facets", "AS", "hotfill_facets", "TAG", "SEPARATOR", ","]
        for each in stamp.attributes:
            if each.kind in ("TAG", "NUMERIC"):
                schema += [each.field, "AS", each.name, each.kind]
            if each.kind == "TAG" and each.separator:
                schema += ["SEPARATOR", each.separator]
            if each.kind == "TAG" and each.exact_case:
                schema += ["CASESENSITIVE"]
        words = ["ON", stamp.documents.upper(), "PREFIX", 1, stamp.prefix]
        words += ["FILTER", f"{of_this_side} && exists(@{vector})", "SCHEMA", *schema]
        self.call("make an index", lambda c: c.execute_command("FT.CREATE", space.index, *words))
        while int(self.info(space.index)["indexing"]):
            time.sleep(_PAUSE_SECONDS)

    def drop_index(self, index: str) -> None:
        """Remove an index; the documents stay. Idempotent."""
        with suppress(MissingIndexError):
            self.call("drop an index", lambda c: c.execute_command("FT.DROPINDEX", index))

    def size_of(self, index: str) -> int:
        """Count the documents in an index by looking at them."""
        found = self.call(
            "count items",
            lambda c: c.execute_command("FT.SEARCH", index, "*", "LIMIT", 0, 0, "DIALECT", 2),
        )
        return int(found[b"total_results"])

    def search(self, asked: Sequence[Sequence[Any]]) -> list[list[tuple[str, float, str | None]]]:
        """Search several times, and see one moment. asked: the words of each FT.SEARCH.

        Returns key, distance and origin of the hits of each, best first.
        """

        def ask(client: Any) -> list[Any]:
            pipeline = client.pipeline(transaction=len(asked) > 1)
            for words in asked:
                pipeline.execute_command("FT.SEARCH", *words)
            return list(pipeline.execute())

        found = []
        for answer in self.call("search", ask):
            if answer[b"warning"]:  # what was found until then, and no more
                raise StoreError(f"could not search: {_plain(answer[b'warning'])}", retryable=True)
            hits = []
            for hit in answer[b"results"]:
                values, key = hit[b"extra_attributes"], _text(hit[b"id"])
                if key is not None and b"hotfill_distance" in values:
                    origin = values.get(b"hotfill_origin")
                    distance = float(values[b"hotfill_distance"])
                    hits.append((key, distance, None if origin is None else origin.decode()))
            found.append(hits)
        return found

    def words(
        self,
        stamp: RedisStamp,
        space: SpaceIndex,
        query: bytes,
        k: int,
        text: str,
        named: list[Any],
    ) -> list[Any]:
        """Write one search of a space. text, named: of the condition and its parameters."""
        ef = " EF_RUNTIME $hotfill_ef" if space.graph and self._ef is not None else ""
        knn = f"KNN $hotfill_k @{space.attribute} $hotfill_q{ef} AS hotfill_distance"
        named = ["hotfill_k", k, "hotfill_q", query, *named]
        if ef:
            named += ["hotfill_ef", self._ef]
        origin = ["$.hotfill_origin", "AS", "hotfill_origin"]
        returned = ["hotfill_distance", *(origin if stamp.documents == "json" else origin[2:])]
        return [
            *[space.index, f"({text})=>[{knn}]" if text != "*" else f"*=>[{knn}]"],
            *["PARAMS", len(named), *named, "RETURN", len(returned), *returned],
            *["SORTBY", "hotfill_distance", "ASC", "LIMIT", 0, k],
            *["TIMEOUT", int(1000 * self._timeout), "DIALECT", 2],
        ]

    # The server itself

    def most_hits(self) -> int:
        """Return how many hits a search may have."""
        for words in (("FT.CONFIG", "GET", "MAXSEARCHRESULTS"),):
            try:
                found = self._client.execute_command(*words)
                ((_, most),) = found.items()
                return MOST_HITS if int(most) < 0 else int(most)
            except (redis.RedisError, AttributeError, ValueError, TypeError):
                pass  # not allowed, or not a number: "unlimited"
        return MOST_HITS

    def setting(self, name: str) -> str | None:
        """Read a setting; None where that is not allowed."""
        try:
            found = self._client.config_get(name)
        except redis.ResponseError:
            return None
        return {_plain(key): _plain(value) for key, value in found.items()}.get(name)

    def memory(self) -> tuple[int, int]:
        """Return how many bytes are used, and how many may be; 0 for no limit."""
        info = self.call("look at the memory", lambda c: c.info("memory"))
        return int(info["used_memory"]), int(info.get("maxmemory", 0))

    def owner_after(self, owner: str) -> str:
        """Let `owner` have the gallery if nobody has it; return who has it then."""

        found = self.call(
            "claim the gallery", lambda c: c.set(self.key("owner"), owner, nx=True, get=True)
        )
        return owner if found is None else str(found.decode())

    def release(self, owner: str) -> None:
        """Let nobody have the gallery, if `owner` had it."""
        self.call("release the gallery", lambda c: self._release([self.key("owner")], [owner]))


def _text(key: bytes) -> str | None:
    """Read a key; None of one that is no text."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None


def _plain(value: Any) -> Any:
    """Return what the server says with texts instead of bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, dict):
        return {_plain(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
