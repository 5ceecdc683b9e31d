"""The one shard of a gallery: the engine's calls, in items and spaces instead of points and names.

Every call holds Python's global lock from beginning to end (measured, 0.9.0), so calls never run
side by side, and one `query_batch` sees one moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from hotfill.errors import InputError
from hotfill.stores.base import Hits
from hotfill.stores.qdrant_edge.conditions import client, searched_in, where_filter
from hotfill.stores.qdrant_edge.failures import translated
from hotfill.stores.qdrant_edge.points import ID, SIDE, VERSION, made_by, point_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from hotfill.stores.base import Where
    from hotfill.types import ModelId, Vectors

_DISTANCES = {  # cosine: both sides have unit length, which makes the inner product the cosine
    "cosine": client.Distance.Dot,
    "dot": client.Distance.Dot,
    "l2": client.Distance.Euclid,
}
_PAGE = 10_000


class Shard:
    """An open shard. Ids given are of items; an id that is not there is ignored."""

    def __init__(self, engine: Any, *, exact: bool, ef: int | None) -> None:
        """Use `create` or `load`."""
        self._engine = engine
        self._params = client.SearchParams(exact=exact, hnsw_ef=ef)

    @classmethod
    def create(cls, path: Path, model: ModelId) -> None:
        """Make the files of a shard with one space."""
        path.mkdir()
        vectors = {
            model.fingerprint: client.EdgeVectorParams(
                size=model.dimension, distance=_DISTANCES[model.metric]
            )
        }
        # The engine's own defaults, but for graphs per value of an indexed key: the only such
        # key is the side, and each side has its graph already.
        config = client.EdgeConfig(
            vectors=vectors,
            hnsw_config=client.HnswIndexConfig(
                m=16, ef_construct=100, full_scan_threshold=10_000, payload_m=0
            ),
        )
        with translated("create the shard"):
            engine = client.EdgeShard.create(str(path), config)
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
        with translated("open the shard"):
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

    def drop_space(self, model: ModelId) -> None:
        """Remove a model's vectors. Idempotent."""
        self._update(client.UpdateOperation.delete_vector_name(model.fingerprint))
        self._update(client.UpdateOperation.delete_field_index(made_by(model.fingerprint)))

    # Writing

    def write(
        self, item_ids: Sequence[str], payloads: Sequence[dict[str, Any]], space: str, rows: Vectors
    ) -> None:
        """Write whole items; they have only this one vector afterwards."""
        points = [
            client.Point(point_id(item_id), {space: row}, content)
            for item_id, content, row in zip(item_ids, payloads, rows.tolist(), strict=True)
        ]
        self._update(client.UpdateOperation.upsert_points(points))

    def set_vectors(self, item_ids: Sequence[str], space: str, rows: Vectors) -> None:
        """Give existing items a vector of a space."""
        points = [
            client.PointVectors(point_id(item_id), {space: row})
            for item_id, row in zip(item_ids, rows.tolist(), strict=True)
        ]
        self._update(client.UpdateOperation.update_vectors(points))

    def remove_vectors(self, item_ids: Sequence[str], space: str) -> None:
        """Take the vector of a space away from existing items."""
        self._update(client.UpdateOperation.delete_vectors(_points(item_ids), [space]))

    def set_maker(self, item_ids: Sequence[str], space: str, transform: str | None) -> None:
        """Note which transform makes the vectors that existing items have in a space."""
        key = made_by(space)
        if transform is None:
            self._update(client.UpdateOperation.delete_payload(_points(item_ids), [key]))
        else:
            self._update(client.UpdateOperation.set_payload(_points(item_ids), {key: transform}))

    def overwrite_payload(self, item_id: str, content: dict[str, Any]) -> None:
        """Replace everything that is stored with the vector of one existing item."""
        self._update(client.UpdateOperation.overwrite_payload(_points([item_id]), content))

    def delete(self, item_ids: Sequence[str]) -> None:
        """Remove items."""
        self._update(client.UpdateOperation.delete_points(_points(item_ids)))

    def copy_items(self, item_ids: Sequence[str], source: Shard) -> None:
        """Make these items what they are in another shard: there, elsewhere, or gone."""
        records = source.read(item_ids, keys=None, vectors=True)
        if records:
            points = [
                client.Point(record.id, record.vector, record.payload)
                for record in records.values()
            ]
            self._update(client.UpdateOperation.upsert_points(points))
        self.delete([item_id for item_id in item_ids if item_id not in records])

    def note_side(self, space: str) -> None:
        """Write down for each item of a side that it is there.

        Only `optimise` reads it: it lays items with the same note next to each other. A search of
        one side then reads memory in order, instead of one row and a gap (measured: 1.12 instead
        of 1.34 times a plain index, half-way, 40,000 x 256).
        """
        elsewhere = client.Filter(
            must=[client.HasVectorCondition(space)],
            must_not=[client.FieldCondition(SIDE, match=client.MatchValue(space))],
        )
        self._update(client.UpdateOperation.set_payload_by_filter(elsewhere, {SIDE: space}))

    # Reading

    def read(
        self, item_ids: Sequence[str], *, keys: list[str] | None, vectors: bool | list[str] = False
    ) -> dict[str, Any]:
        """Read items as the engine's records. keys: of the payload; all when None."""
        with translated("read items"):
            records = self._engine.retrieve(
                _points(item_ids), True if keys is None else [ID, *keys], vectors
            )
        return {record.payload[ID]: record for record in records}

    def searched_among(self, item_ids: Sequence[str], *spaces: str) -> set[str]:
        """Tell which of the items have a vector in each of the spaces."""
        condition = client.Filter(
            must=[client.HasIdCondition(set(_points(item_ids))), searched_in(*spaces)]
        )
        return {record.payload[ID] for record in self._scroll(condition, len(item_ids), [])[0]}

    def page(self, space: str, *, after: str | None, limit: int) -> tuple[list[Any], str | None]:
        """List some items of a side as records with version and maker, and where to go on."""
        records, following = self._scroll(
            searched_in(space), limit, [VERSION, made_by(space)], after=after
        )
        return records, None if following is None else str(following)

    def in_both(self, one: str, other: str) -> list[str]:
        """List some items that have vectors in two spaces; empty when there is none."""
        records, _ = self._scroll(searched_in(one, other), _PAGE, [])
        return [record.payload[ID] for record in records]

    def count(self, space: str, *, made_by_transform: str | None = None) -> int:
        """Count the items of a side, or those whose vector a certain transform made."""
        conditions = [client.HasVectorCondition(space)]
        if made_by_transform is not None:
            conditions.append(
                client.FieldCondition(made_by(space), match=client.MatchValue(made_by_transform))
            )
        return self._count(client.Filter(must=conditions))

    def count_own(self, space: str) -> int:
        """Count the items of a side whose vector the space's model made."""
        return self._count(
            client.Filter(
                must=[client.HasVectorCondition(space), client.IsEmptyCondition(made_by(space))]
            )
        )

    def search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        """Search all sides in one call."""
        condition = where_filter(where) if where else None
        requests = [
            client.QueryRequest(
                limit=k,
                query=client.Query.Nearest(row, using=space.fingerprint),
                filter=condition,
                with_payload=[ID],
                params=self._params,
            )
            for space, rows in queries.items()
            for row in rows.tolist()
        ]
        with translated("search"):
            if len(requests) == 1:
                lists = iter([self._engine.query(requests[0])])
            else:
                lists = iter(self._engine.query_batch(client.QueryBatchRequest(requests)))
        return {
            space: _hits([next(lists) for _ in rows], negate=space.metric == "l2")
            for space, rows in queries.items()
        }

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
        """Release the shard."""
        with translated("close"):
            self._engine.close()

    def _update(self, operation: Any) -> None:
        with translated("write"):
            self._engine.update(operation)

    def _count(self, condition: Any) -> int:
        with translated("count"):
            return int(self._engine.count(client.CountRequest(filter=condition)))

    def _scroll(
        self, condition: Any, limit: int, keys: list[str], *, after: str | None = None
    ) -> tuple[list[Any], UUID | None]:
        try:
            offset = None if after is None else UUID(after)
        except ValueError as error:
            raise InputError(f"after: {after!r} is not a cursor that scan returned") from error
        request = client.ScrollRequest(
            offset=offset, limit=limit, filter=condition, with_payload=[ID, *keys]
        )
        with translated("list items"):
            records, following = self._engine.scroll(request)
        return records, following


def _points(item_ids: Iterable[str]) -> list[UUID]:
    return [point_id(item_id) for item_id in item_ids]


def _hits(lists: Sequence[Sequence[Any]], *, negate: bool) -> Hits:
    sign = np.float32(-1 if negate else 1)  # the engine gives a distance, lower is better
    return Hits(
        item_ids=tuple([tuple([point.payload[ID] for point in points]) for points in lists]),
        scores=tuple(
            [sign * np.array([point.score for point in points], np.float32) for points in lists]
        ),
    )
