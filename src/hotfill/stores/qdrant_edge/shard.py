"""The one shard of a gallery: the engine's calls, in items and spaces instead of points and names.

Every call holds Python's global lock from beginning to end (measured, 0.9.0). So calls never run
at the same time, one `query_batch` sees one moment, and long work is cut into short calls: other
threads, a service's among them, get their turn between two.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from hotfill.errors import InputError, StoreBusyError, StoreError, StoreFullError
from hotfill.extras import need
from hotfill.files import write_whole
from hotfill.stores.base import Hits
from hotfill.stores.failures import told
from hotfill.stores.filters import conditions_of
from hotfill.stores.qdrant_points import (
    ID,
    SIDE,
    VERSION,
    FilterWords,
    hashed_id,
    made_by,
    path,
    payload,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from hotfill.stores.base import Metadata, Where
    from hotfill.stores.failures import Sayings
    from hotfill.types import ModelId, Vectors

client = need("qdrant_edge", "edge")

_DISTANCES = {  # cosine: both sides have unit length, which makes the inner product the cosine
    "cosine": client.Distance.Dot,
    "dot": client.Distance.Dot,
    "l2": client.Distance.Euclid,
}
_VALUES = "_hotfill_values"  # payload: numbers and flags as texts, "key=value"
_POINTS_AT_ONCE = 1_000  # in one read or delete
_WRITTEN_AT_ONCE = 256  # searches wait that long for the global lock
_QUERIES_AT_ONCE = 16
# A filter reads an item's payload for each of its conditions: 7 microseconds (measured, 0.9.0).
_CHECKS_AT_ONCE = 10_000
_SAMPLE = 500  # items, to learn how many pass a filter
_FULL_SCAN_BYTES = 10_000 * 1024  # of vectors that pass a filter: fewer are compared one by one
_EF, _NEIGHBOURS = 128, 32  # candidates that a walk keeps by default; links of each
_CLOSED_WITHIN_SECONDS, _POLL_SECONDS = 60.0, 0.005
_FULL_ENOUGH = 0.5
# How the engine tidies up: all in one graph, or new graphs, up to so many, for what has none.
_WHOLE = {"deleted_threshold": 0.01, "default_segment_number": 0}
_GRAPHS = 8


@dataclass(frozen=True, slots=True)
class Stored:
    """An item as it was read. The engine makes payloads and vectors anew at each look."""

    record: Any
    payload: dict[str, Any]

    @property
    def vectors(self) -> Any:
        """Lists of numbers by space, those that were asked for; none or empty without any."""
        return self.record.vector


class Shard:
    """An open shard. Ids given are of items; an id that is not there is ignored."""

    def __init__(self, engine: Any, *, exact: bool, ef: int | None) -> None:
        """Use `create` or `load`."""
        self._engine = engine
        self._exact, self._ef = exact, ef
        self._params = client.SearchParams(
            exact=exact,
            hnsw_ef=ef,
            # Where a filter leaves less of a graph than this, look at neighbours of neighbours:
            # measured with 0.9.0, a filter that 30 % pass finds .999 instead of .83, in 18 ms
            # instead of 3.
            acorn=client.AcornSearchParams(enable=True, max_selectivity=_FULL_ENOUGH),
        )

    @classmethod
    def create(cls, path: Path, model: ModelId) -> None:
        """Make the files of a shard with one space."""
        path.mkdir()
        vectors = {
            model.fingerprint: client.EdgeVectorParams(
                size=model.dimension, distance=_DISTANCES[model.metric]
            )
        }
        # The engine's own defaults, but for two. Graphs per value of an indexed key: the only such
        # key is the side, and each side has its graph already. What moves leaves holes, which the
        # engine fills by itself from a fifth on; a search passes by them (measured, 11 % moved,
        # 20,000 x 128: 2.7 ms of work with holes, 1.3 without).
        config = client.EdgeConfig(
            vectors=vectors,
            hnsw_config=client.HnswIndexConfig(
                m=16, ef_construct=100, full_scan_threshold=10_000, payload_m=0
            ),
            optimizers=client.EdgeOptimizersConfig(vacuum_min_vector_number=1000, **_WHOLE),
        )
        with translated("create the shard"):
            engine = client.EdgeShard.create(str(path), config)
            # The engine lays the points of a tenant next to each other. A search of one side then
            # reads memory in order instead of one row and a gap (measured: 1.12 instead of 1.34
            # times a plain index, half-way, 40,000 x 256).
            engine.update(
                client.UpdateOperation.create_field_index(
                    SIDE, client.KeywordIndexParams(is_tenant=True)
                )
            )
        shard = cls(engine, exact=False, ef=None)
        shard.add_space(model)
        shard.flush()
        shard.close()

    @classmethod
    def load(cls, path: Path, *, exact: bool, ef: int | None) -> Self:
        """Open a shard."""
        with translated(f"open the shard {path}"):
            try:
                engine = client.EdgeShard.load(str(path))
            except Exception as error:
                if "Incompatible configs" not in str(error) or not _agree_on_vectors(path):
                    raise
                engine = client.EdgeShard.load(str(path))
        return cls(engine, exact=exact, ef=ef)

    # Spaces

    def add_space(self, model: ModelId) -> None:
        """Make room for vectors of a model. Idempotent."""
        name = model.fingerprint
        self._update(
            client.UpdateOperation.create_dense_vector(
                name, model.dimension, _DISTANCES[model.metric]
            )
        )
        self._update(  # so that items can be counted by what made their vectors
            client.UpdateOperation.create_field_index(
                made_by(name), client.PayloadSchemaType.Keyword
            )
        )

    def check_space(self, model: ModelId) -> None:
        """Raise StoreError unless the shard holds vectors like those of a model."""
        one = np.ones((1, model.dimension), dtype=np.float32)
        self.search({model: one}, 1, {"nothing": ()})  # the engine checks before it looks

    def drop_space(self, model: ModelId) -> None:
        """Remove a model's vectors. Idempotent."""
        self._update(client.UpdateOperation.delete_vector_name(model.fingerprint))
        self._update(client.UpdateOperation.delete_field_index(made_by(model.fingerprint)))

    # Writing

    def write(
        self, item_ids: Sequence[str], payloads: Sequence[dict[str, Any]], space: str, rows: Vectors
    ) -> None:
        """Write whole items, each at once; they have only this one vector afterwards."""
        for part in parts(len(item_ids), _WRITTEN_AT_ONCE):
            points = [
                client.Point(hashed_id(item_id), {space: row}, content)
                for item_id, content, row in zip(
                    item_ids[part], payloads[part], rows[part].tolist(), strict=True
                )
            ]
            self._update(client.UpdateOperation.upsert_points(points))

    def overwrite_payload(self, item_id: str, content: dict[str, Any]) -> None:
        """Replace everything that is stored with the vector of one existing item."""
        self._update(client.UpdateOperation.overwrite_payload([hashed_id(item_id)], content))

    def delete(self, item_ids: Sequence[str]) -> None:
        """Remove items."""
        for part in parts(len(item_ids)):
            self._update(client.UpdateOperation.delete_points(_points(item_ids[part])))

    def copy_items(self, item_ids: Sequence[str], source: Shard) -> None:
        """Make these items what they are in another shard: there, elsewhere, or gone."""
        records = source.read(item_ids, keys=None, vectors=True)
        if records:
            points = [
                client.Point(stored.record.id, stored.vectors, stored.payload)
                for stored in records.values()
            ]
            self._update(client.UpdateOperation.upsert_points(points))
        self.delete([item_id for item_id in item_ids if item_id not in records])

    # Reading

    def read(
        self, item_ids: Sequence[str], *, keys: list[str] | None, vectors: bool | list[str] = False
    ) -> dict[str, Stored]:
        """Read items. keys: of the payload; all when None."""
        wanted = True if keys is None else [ID, *keys]
        found: dict[str, Stored] = {}
        for part in parts(len(item_ids)):
            with translated("read items"):
                records = self._engine.retrieve(_points(item_ids[part]), wanted, vectors)
            for record in records:
                content = record.payload
                found[content[ID]] = Stored(record, content)
        return found

    def page(self, space: str, *, after: str | None, limit: int) -> tuple[list[Any], str | None]:
        """List some items of a side as records with version and maker, and where to go on."""
        try:
            offset = None if after is None else UUID(after)
        except ValueError as error:
            raise InputError(f"after: {after!r} is not a cursor that scan returned") from error
        request = client.ScrollRequest(
            offset=offset,
            limit=limit,
            filter=_searched_in(space),
            with_payload=[ID, VERSION, made_by(space)],
        )
        with translated("list items"):
            records, following = self._engine.scroll(request)
        return records, None if following is None else str(following)

    def count(self, space: str, *, made_by_transform: str | None = None) -> int:
        """Count the items of a side, or those whose vector a certain transform made."""
        if made_by_transform is None:
            return self._count(_searched_in(space))
        match = client.MatchValue(made_by_transform)
        return self._count(_searched_in(space, client.FieldCondition(made_by(space), match=match)))

    def count_own(self, space: str) -> int:
        """Count the items of a side whose vector the space's model made."""
        return self._count(_searched_in(space, client.IsEmptyCondition(made_by(space))))

    def search(
        self,
        queries: Mapping[ModelId, Vectors],
        k: int,
        where: Where | None,
        *,
        items: int = 0,
        gaps: Collection[ModelId] = (),
        indexed: bool = False,
    ) -> dict[ModelId, Hits]:
        """Search all sides; a query sees each item at one moment, on whichever side it is then.

        gaps: sides of whose graph much may have gone. items: about how many there are; indexed:
        whether graphs lead to all of them. They decide whether a filter is tried on all items in
        one call, which would take long.
        """
        if where is None:
            return _hits_of(self._nearest(queries, k, None, gaps))
        condition = _WORDS.where(where)
        n = max(map(len, queries.values()), default=0)
        checks = conditions_of(where) * min(n, _QUERIES_AT_ONCE) * len(queries)
        at_once = max(1, _CHECKS_AT_ONCE // max(checks, 1))
        if items <= at_once or (indexed and self._is_led(condition, checks, queries, k, items)):
            return _hits_of(self._nearest(queries, k, condition))
        found: dict[ModelId, list[list[Any]]] = {
            space: [[] for _ in rows] for space, rows in queries.items()
        }
        for ids in self._ids(at_once):
            here = client.Filter(must=[client.HasIdCondition(set(ids)), condition])
            for space, lists in self._nearest(queries, k, here).items():
                sign = _sign(space)
                for row, more in enumerate(lists):
                    best = sorted(found[space][row] + more, key=lambda each: -sign * each.score)
                    found[space][row] = best[:k]
        return _hits_of(found)

    def _nearest(
        self,
        queries: Mapping[ModelId, Vectors],
        k: int,
        condition: Any,
        gaps: Collection[ModelId] = (),
    ) -> dict[ModelId, list[list[Any]]]:
        """Ask the engine for the k best points of each query, some queries at once.

        Of what has gone from a graph the engine makes nothing, and loses its way; of what does not
        pass a filter it does. So a side with gaps is asked for what it has.
        """
        asked = {
            space: _searched_in(space.fingerprint)
            if condition is None and space in gaps
            else condition
            for space in queries
        }
        n = max(map(len, queries.values()), default=0)
        lists: dict[ModelId, list[Any]] = {space: [] for space in queries}
        for part in parts(n, _QUERIES_AT_ONCE):
            requests = [
                client.QueryRequest(
                    limit=k,
                    query=client.Query.Nearest(row, using=space.fingerprint),
                    filter=asked[space],
                    with_payload=[ID, made_by(space.fingerprint)],
                    params=self._params,
                )
                for space, rows in queries.items()
                for row in rows[part].tolist()
            ]
            with translated("search"):
                if len(requests) == 1:
                    answers = iter([self._engine.query(requests[0])])
                else:
                    answers = iter(self._engine.query_batch(client.QueryBatchRequest(requests)))
            for space, rows in queries.items():
                lists[space].extend(next(answers) for _ in rows[part])
        return lists

    def _is_led(
        self,
        condition: Any,
        checks: int,
        queries: Mapping[ModelId, Vectors],
        k: int,
        items: int,
    ) -> bool:
        """Tell whether graphs lead a filtered search, so that it tries the filter on few items.

        The engine compares all items that pass where those are few. Its ids are hashes, so the
        first ones are a fair sample.
        """
        walked = max(k, self._ef or _EF) * _NEIGHBOURS * checks
        if self._exact or walked > 2 * _CHECKS_AT_ONCE:
            return False
        ids = next(self._ids(_SAMPLE), [])
        passed = self._count(client.Filter(must=[client.HasIdCondition(set(ids)), condition]))
        compared = max(_FULL_SCAN_BYTES / (4 * space.dimension) for space in queries)
        return passed / max(len(ids), 1) * items > 2 * compared

    def _ids(self, at_once: int) -> Iterator[list[UUID]]:
        """List the ids of all points, by parts of this length."""
        offset = None
        while True:
            request = client.ScrollRequest(offset=offset, limit=at_once, with_payload=False)
            with translated("list items"):
                records, offset = self._engine.scroll(request)
            if records:
                yield [record.id for record in records]
            if offset is None:
                return

    # Upkeep

    def flush(self) -> None:
        """Bring everything to the disk and shorten the log, so that the shard opens quickly."""
        with translated("flush"):
            self._engine.flush()

    def optimise(self) -> None:
        """Build indexes and compact."""
        with translated("optimise"):
            self._engine.optimize()

    def close(self) -> None:
        """Release the shard, once the calls that other threads have in it are done."""
        deadline = time.monotonic() + _CLOSED_WITHIN_SECONDS
        while True:
            try:
                with translated("close"):
                    self._engine.close()
                return
            except StoreError as error:
                if "Already borrowed" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_SECONDS)

    def _update(self, operation: Any) -> None:
        with translated("write"):
            self._engine.update(operation)

    def _count(self, condition: Any) -> int:
        with translated("count"):
            return int(self._engine.count(client.CountRequest(filter=condition)))


def set_thoroughness(path: Path, gaps: float | None) -> None:
    """Write into the configuration of a closed shard how the engine is to tidy it up.

    gaps: share of a graph that has to have gone before another one is built; None for one of all.
    """
    file = path / "edge_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    in_parts = {"deleted_threshold": gaps, "default_segment_number": _GRAPHS}
    config["optimizers"].update(_WHOLE if gaps is None else in_parts)
    write_whole(file, json.dumps(config))


def _points(item_ids: Iterable[str]) -> list[UUID]:
    return [hashed_id(item_id) for item_id in item_ids]


def parts(n: int, at_once: int = _POINTS_AT_ONCE) -> Iterator[slice]:
    """Cut n things into parts."""
    return (slice(start, start + at_once) for start in range(0, n, at_once))


def _sign(space: ModelId) -> np.float32:
    # Of l2 the engine gives a distance, lower is better.
    return np.float32(-1 if space.metric == "l2" else 1)


def _hits_of(found: Mapping[ModelId, Sequence[Sequence[Any]]]) -> dict[ModelId, Hits]:
    return {space: _hits(lists, space) for space, lists in found.items()}


def _hits(lists: Sequence[Sequence[Any]], space: ModelId) -> Hits:
    sign = _sign(space)
    own, key = space.fingerprint, made_by(space.fingerprint)
    # A payload is made anew each time that one looks at it.
    payloads = [[point.payload for point in points] for points in lists]
    return Hits(
        item_ids=tuple([tuple([each[ID] for each in row]) for row in payloads]),
        scores=tuple(
            [sign * np.array([point.score for point in points], np.float32) for points in lists]
        ),
        origins=tuple([tuple([each.get(key, own) for each in row]) for row in payloads]),
    )


# Payloads and filters -------------------------------------------------------------------------


def item_payload(item_id: str, version: int, side: str, metadata: Metadata) -> dict[str, Any]:
    """Put together what is stored with the vector of an item whose content is new.

    The engine's matches know texts and whole numbers only (0.9.0): a wanted True becomes 1, and 3
    is not 3.0. So numbers and flags stand in the payload once more, as texts.
    """
    content = {**payload(version, side, metadata), ID: item_id}
    values = [
        _token(key, value) for key, value in metadata.items() if isinstance(value, (int, float))
    ]
    return {**content, _VALUES: values} if values else content


def metadata_of(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the user's part of a payload."""
    return shown(stored)


def _token(key: str, value: float) -> str:
    """Write a number or flag so that equal ones, and no others, are written alike."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2.0**63:
        value = int(value)
    return f"{key}={value!r}"


class _EdgeWords(FilterWords):
    def all_of(self, conditions: Sequence[Any]) -> Any:
        return client.Filter(must=list(conditions))

    def any_of(self, conditions: Sequence[Any]) -> Any:
        return client.Filter(should=list(conditions) or [client.HasIdCondition(set())])

    def between(self, key: str, low: float, high: float) -> Any:
        return client.FieldCondition(path(key), range=client.RangeFloat(gte=low, lte=high))

    def one_text_of(self, key: str, texts: Sequence[str]) -> Any:
        return client.FieldCondition(path(key), match=client.MatchAny(list(texts)))

    def one_flag_of(self, key: str, flags: Sequence[bool]) -> Any:
        return self.one_number_of(key, flags)

    def one_number_of(self, key: str, numbers: Sequence[int | float]) -> Any:
        tokens = [_token(key, number) for number in numbers]
        return client.FieldCondition(_VALUES, match=client.MatchAny(tokens))


_WORDS = _EdgeWords()


def _searched_in(space: str, *conditions: Any) -> Any:
    """Match items that have a vector in a space (a fingerprint), and meet the conditions."""
    return client.Filter(must=[client.HasVectorCondition(space), *conditions])


# Failures -------------------------------------------------------------------------------------

_SAYINGS: Sayings = (  # the engine raises bare exceptions, so the text decides
    ("No space left on device", StoreFullError, True),
    ("StorageFull", StoreFullError, True),
    ("WouldBlock", StoreBusyError, True),
    ("Too many open files", StoreError, True),
)


def _agree_on_vectors(path: Path) -> bool:
    """Write into a shard's configuration the vectors that its segments have. Tells whether it did.

    The engine makes room for vectors in the segments first and in the configuration afterwards; a
    power cut in between leaves a shard that it does not open (0.9.0). Room for vectors that nobody
    asks for does no harm, and a step that is repeated finds it made.
    """
    file = path / "edge_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    known = set(config["vectors"])
    for segment in path.glob("segments/*/segment.json"):
        vectors = json.loads(segment.read_text(encoding="utf-8"))["config"]["vector_data"]
        for name, vector in vectors.items():
            config["vectors"].setdefault(
                name, {"size": vector["size"], "distance": vector["distance"]}
            )
    if set(config["vectors"]) == known:
        return False
    write_whole(file, json.dumps(config))
    return True


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise StoreError, or the kind of it that fits, for whatever the engine raises."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise told(doing, str(error), _SAYINGS) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # the engine's own bug; not an Exception
            raise
        raise told(doing, str(error), _SAYINGS) from error
