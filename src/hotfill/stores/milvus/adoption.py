"""Which collections of other people can be taken over unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymilvus import DataType

from hotfill.errors import StoreError
from hotfill.stores.milvus.stamp import Space

if TYPE_CHECKING:
    from hotfill.stores.milvus.server import Server
    from hotfill.types import ModelId


def look(server: Server, collection: str, model: ModelId, vector: str) -> Space:
    """Return the space that a collection is. Raises StoreError naming what does not fit."""
    description = server.describe(collection)
    if description is None:
        raise StoreError(f"there is no collection {collection!r}")
    fields = {field["name"]: field for field in description["fields"]}
    key = next(field for field in fields.values() if field.get("is_primary"))
    if description.get("auto_id") or key.get("auto_id"):
        raise StoreError(
            f"collection {collection!r}: the server gives out its primary keys, so that hotfill "
            "could not write an item back under its own"
        )
    if fields.get(vector, {}).get("type") != DataType.FLOAT_VECTOR:
        held = [n for n, field in fields.items() if field["type"] == DataType.FLOAT_VECTOR]
        raise StoreError(
            f"collection {collection!r} has no field of float vectors called {vector!r}; it has "
            f"{', '.join(held) or 'none'}"
        )
    others = [name for name in fields if name not in (key["name"], vector)]
    if others or not description.get("enable_dynamic_field"):
        raise StoreError(
            f"collection {collection!r}: hotfill takes over collections with a primary key, one "
            "vector and dynamic fields, in which its notes have room (what "
            "`MilvusClient.create_collection(name, dimension)` makes); this one has "
            f"{', '.join(others) or 'no'} further fields and "
            f"{'' if description.get('enable_dynamic_field') else 'no '}dynamic ones: copy it into "
            "a gallery of hotfill's own instead"
        )
    dimension = int(fields[vector]["params"]["dim"])
    if dimension != model.dimension:
        raise StoreError(
            f"collection {collection!r}: {vector!r} holds vectors with {dimension} numbers, those "
            f"of {model} have {model.dimension}"
        )
    return Space(
        model,
        1,
        collection,
        key=key["name"],
        vector=vector,
        metric=_metric(server, collection, vector, model),
        adopted=True,
        number_ids=key["type"] == DataType.INT64,
    )


def _metric(server: Server, collection: str, vector: str, model: ModelId) -> str:
    fitting = {
        "cosine": ["COSINE", *(["IP"] if model.normalised else [])],
        "dot": ["IP"],
        "l2": ["L2"],
    }[model.metric]

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
