"""Other people's collections: whether one can be taken over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymilvus import DataType

from hotfill.errors import StoreError
from hotfill.stores.milvus.stamp import SpaceFields, metrics_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymilvus import MilvusClient

    from hotfill.stores.milvus.server import Server
    from hotfill.types import ModelId

_VECTORS = {
    DataType.FLOAT_VECTOR,
    DataType.FLOAT16_VECTOR,
    DataType.BFLOAT16_VECTOR,
    DataType.BINARY_VECTOR,
    DataType.SPARSE_FLOAT_VECTOR,
}


def look(server: Server, collection: str, model: ModelId, vector: str | None) -> SpaceFields:
    """Return the space that a collection is. Raises StoreError naming what does not fit.

    vector: the field with the vectors; the only one where None.
    """
    description = server.describe(collection)
    if description is None:
        raise StoreError(f"there is no collection {collection!r}")
    if collection not in server.names():
        raise StoreError(
            f"{collection!r} is another name of the collection "
            f"{description['collection_name']!r}: name that one; its other names stay"
        )
    fields = {field["name"]: field for field in description["fields"]}
    key = next(field for field in fields.values() if field.get("is_primary"))
    vector = _vector(collection, fields, vector)
    _check(server, collection, description, vector)
    dimension = int(fields[vector]["params"]["dim"])
    if dimension != model.dimension:
        raise StoreError(
            f"collection {collection!r}: {vector!r} holds vectors with {dimension} numbers, those "
            f"of {model} have {model.dimension}"
        )
    return SpaceFields(
        model,
        1,
        collection,
        key=key["name"],
        vector=vector,
        metric=_metric(server, collection, vector, model),
        adopted=True,
        number_ids=key["type"] == DataType.INT64,
        bare=not description.get("enable_dynamic_field"),
    )


def _vector(collection: str, fields: Mapping[str, Any], vector: str | None) -> str:
    """Return the field with the vectors."""
    held = [name for name, field in fields.items() if field["type"] == DataType.FLOAT_VECTOR]
    others = [name for name, field in fields.items() if field["type"] in _VECTORS]
    if vector is None and len(held) == 1:
        (vector,) = held
    if vector not in held:
        raise StoreError(
            f"collection {collection!r} has no field of float vectors called {vector!r}; it has "
            f"{', '.join(held) or 'none'}"
            if vector is not None
            else f"collection {collection!r} has {len(held)} fields of float vectors: "
            f"{', '.join(held) or 'none'}"
        )
    if len(others) > 1:
        raise StoreError(
            f"collection {collection!r} has {len(others)} vectors in a row ({', '.join(others)}), "
            "and hotfill would have to write those of others: copy it into a gallery of hotfill's "
            "own instead"
        )
    return vector


def _check(server: Server, collection: str, description: dict[str, Any], vector: str) -> None:
    """Raise StoreError where rows could not be written back unchanged."""
    fields = description["fields"]
    if description.get("auto_id") or any(field.get("auto_id") for field in fields):
        raise StoreError(
            f"collection {collection!r}: the server gives out its primary keys, so that hotfill "
            "could not write an item back under its own; copy it into a collection whose keys you "
            "give (LangChain: `add_documents(documents, ids=ids)`), and adopt that one"
        )
    if description.get("functions"):
        raise StoreError(
            f"collection {collection!r} has fields that the server makes by functions, which "
            "hotfill could not write: copy it into a gallery of hotfill's own instead"
        )
    taken = [field["name"] for field in fields if field["name"].startswith("hotfill_")]
    if taken:
        raise StoreError(
            f"collection {collection!r} has a field {taken[0]!r}: names that begin with "
            "`hotfill_` are for hotfill's notes"
        )
    if any(field.get("is_partition_key") for field in fields):
        if not _finds_by_partition_key(server, f"{collection}_hotfill_try"):
            raise StoreError(
                f"collection {collection!r} has a partition key, and this server does not find "
                "by it what was written over (2.3.5 does not): use a newer server, or copy the "
                "collection into a gallery of hotfill's own"
            )
    elif len(server.call("list partitions", lambda c: c.list_partitions(collection))) > 1:
        raise StoreError(
            f"collection {collection!r} has partitions, and hotfill could not tell which one a row "
            "is in: use a partition key, or copy it into a gallery of hotfill's own"
        )


def _finds_by_partition_key(server: Server, name: str) -> bool:
    """Try it, in a collection that is made for it."""

    def found(client: MilvusClient) -> bool:
        client.drop_collection(name)
        schema = client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
        schema.add_field("part", DataType.VARCHAR, max_length=8, is_partition_key=True)
        client.create_collection(name, schema=schema)
        index = client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="L2")
        client.create_index(name, index)
        client.load_collection(name)
        rows = [{"id": n, "vector": [0.0, 1.0], "part": f"part {n}"} for n in range(8)]
        client.upsert(name, rows)
        by_part = [
            client.query(
                name, filter=f'part == "part {n}"', output_fields=["id"], consistency_level="Strong"
            )
            for n in range(8)
        ]
        client.drop_collection(name)
        return [[row["id"] for row in rows] for rows in by_part] == [[n] for n in range(8)]

    return server.call("try a partition key", found)


def _metric(server: Server, collection: str, vector: str, model: ModelId) -> str:
    fitting = metrics_of(model)

    def read(client: Any) -> dict[str, Any]:
        names = client.list_indexes(collection, field_name=vector)
        return dict(client.describe_index(collection, names[0])) if names else {}

    found = str(server.call("read an index", read).get("metric_type", ""))
    if found not in fitting:
        raise StoreError(
            f"collection {collection!r}: {vector!r} is indexed for the metric {found or 'none'}, "
            f"vectors of {model} are compared by {model.metric} ({' or '.join(fitting)})"
        )
    return found
