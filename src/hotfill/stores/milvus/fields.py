"""The fields that people's own collections declare, in addition to the key and the vector.

What may be written to them, and a collection that has them, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pymilvus import CollectionSchema, DataType

from hotfill.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pymilvus import MilvusClient

    from hotfill.stores.milvus.rows import MilvusRow
    from hotfill.stores.milvus.stamp import SpaceFields

BITS = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
FLOATS = (DataType.FLOAT, DataType.DOUBLE)
_ABOUT_AN_INDEX = {
    "index_type", "metric_type", "field_name", "index_name", "total_rows", "indexed_rows",
    "pending_index_rows", "state",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeclaredFields:
    """What each row of an adopted gallery has to have.

    about: by name, as the server describes them. closed: whether rows can have no other fields.
    """

    about: Mapping[str, Mapping[str, Any]]
    closed: bool

    def check(self, rows: Iterable[MilvusRow]) -> None:
        """Raise InputError for a row that the collection cannot hold."""
        for row in rows:
            for name, about in self.about.items():
                value = row.content.get(name)
                if value is None:
                    if not about.get("nullable") and "default_value" not in about:
                        raise InputError(
                            f"item {row.item_id!r} has no {name!r}, a field that every row of the "
                            f"collection has ({about['type'].name}): give it as metadata; nothing "
                            "was written"
                        )
                elif not _fits(value, about):
                    raise InputError(
                        f"item {row.item_id!r}: {name!r} is a field of the collection "
                        f"({_told(about)}), got {value!r}; nothing was written"
                    )
            others = sorted(set(row.content) - set(self.about)) if self.closed else ()
            if others:
                raise InputError(
                    f"item {row.item_id!r}: the collection has no field {others[0]!r} and no "
                    f"dynamic ones; it has {', '.join(self.about) or 'none'}; nothing was written"
                )


def declared_fields(description: Mapping[str, Any], space: SpaceFields) -> dict[str, Any]:
    """Return the fields that a collection declares, in addition to the key and the vector."""
    return {
        field["name"]: field
        for field in description["fields"]
        if field["name"] not in (space.key, space.vector)
    }


def make_like(
    client: MilvusClient, space: SpaceFields, collection: str, *, exact: bool, lite: bool
) -> None:
    """Make the collection of a space with the fields and indexes of one that is there.

    Its vectors have the dimension and the metric of the space, and it has dynamic fields, in which
    hotfill's notes have room.
    """
    theirs = dict(client.describe_collection(collection))
    fields = [
        {**field, "params": {**field["params"], "dim": space.model.dimension}}
        if field["name"] == space.vector
        else field
        for field in theirs["fields"]
    ]
    schema = CollectionSchema.construct_from_dict(
        {**theirs, "fields": fields, "enable_dynamic_field": True}
    )
    options: dict[str, Any] = {}
    if any(field.get("is_partition_key") for field in fields) and not lite:
        options["num_partitions"] = theirs["num_partitions"]  # Milvus Lite tells one too many
    client.create_collection(
        space.collection,
        schema=schema,
        num_shards=theirs["num_shards"],
        consistency_level=theirs["consistency_level"],
        properties=theirs.get("properties") or {},
        **options,
    )
    indexes = client.prepare_index_params()
    for name in client.list_indexes(collection):
        about = client.describe_index(collection, name)
        given = {key: value for key, value in about.items() if key not in _ABOUT_AN_INDEX}
        if about["field_name"] != space.vector:
            indexes.add_index(about["field_name"], index_type=about["index_type"], params=given)
        else:
            kind = "FLAT" if exact else about["index_type"]
            params = {"M": 16, "efConstruction": 200} if kind == "HNSW" else {}
            indexes.add_index(
                space.vector,
                index_type=kind,
                metric_type=space.metric,
                params={} if exact else params | given,
            )
    client.create_index(space.collection, indexes, sync=False)


def _fits(value: Any, about: Mapping[str, Any]) -> bool:
    kind = about["type"]
    if kind == DataType.VARCHAR:
        longest = int(about["params"]["max_length"])
        return isinstance(value, str) and len(value.encode()) <= longest
    if kind == DataType.BOOL:
        return isinstance(value, bool)
    if kind in BITS:
        most = 2 ** (BITS[kind] - 1)
        return isinstance(value, int) and not isinstance(value, bool) and -most <= value < most
    if kind in FLOATS:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return True  # what hotfill does not show, it writes back as it was


def _told(about: Mapping[str, Any]) -> str:
    if about["type"] == DataType.VARCHAR:
        return f"text of at most {about['params']['max_length']} bytes"
    return str(about["type"].name)
