"""The fields of rows: those that people's own collections declare, and how a filter asks for any.

What may be written to declared fields, a collection that has them, too, and filters as boolean
expressions, whose meaning `hotfill.stores.filters` fixes.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pymilvus import CollectionSchema, DataType

from hotfill.errors import InputError
from hotfill.stores.base import Range
from hotfill.stores.filters import alternatives
from hotfill.stores.milvus.rows import BOOLEAN, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pymilvus import MilvusClient

    from hotfill.stores.base import Scalar, Where
    from hotfill.stores.milvus.rows import MilvusRow
    from hotfill.stores.milvus.stamp import SpaceFields

_BITS = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
_FLOATS = (DataType.FLOAT, DataType.DOUBLE)
_LARGEST = sys.float_info.max
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
    if kind in _BITS:
        most = 2 ** (_BITS[kind] - 1)
        return isinstance(value, int) and not isinstance(value, bool) and -most <= value < most
    if kind in _FLOATS:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return True  # what hotfill does not show, it writes back as it was


def _told(about: Mapping[str, Any]) -> str:
    if about["type"] == DataType.VARCHAR:
        return f"text of at most {about['params']['max_length']} bytes"
    return str(about["type"].name)


# Filters ------------------------------------------------------------------------------------------


def where_expression(
    where: Where, space: SpaceFields, declared: DeclaredFields, *, lite: bool
) -> str:
    """Translate a checked filter. declared: of adopted collections. lite: for Milvus Lite."""
    adopted = space.adopted
    metadata, parts = "$meta" if adopted else "metadata", []
    nobody = f"({space.key} == 0 and {space.key} == 1)"
    if not space.number_ids:
        nobody = f'({space.key} == "a" and {space.key} == "b")'
    for key, wanted in where.items():
        value = f"{metadata}[{quoted(key)}]"
        if adopted and key in declared.about:
            kind = declared.about[key]["type"]
            parts.append(_of_declared(key, kind, wanted) or nobody)
        elif space.bare:
            parts.append(nobody)
        elif isinstance(wanted, Range):
            parts.append(_in_range(value, wanted.at_least, wanted.at_most))
        else:
            truths = f"{metadata}[{quoted(BOOLEAN + key)}]"
            either = _alternatives(
                value, value if adopted else truths, alternatives(wanted), lists=not lite
            )
            parts.append(f"({' or '.join(either)})" if either else _nothing(value))
    return " and ".join(parts)


def _alternatives(value: str, truths: str, wanted: Sequence[Scalar], *, lists: bool) -> list[str]:
    """Write what is to be joined by `or`.

    truths: where truth values are; `value` in adopted collections, in ours as texts elsewhere.
    lists: write one for each type, as servers take neither mixed ones nor very many `or`s (2.3.5);
        Milvus Lite takes none of a value within metadata (3.2.2).
    """
    parts = []
    for one in {each for each in wanted if isinstance(each, bool)}:
        literal = str(one).lower() if truths == value else quoted(str(one))
        parts.append(f"{truths} == {literal}")
    for kind in (str, int, float):
        some = [each for each in wanted if type(each) is kind]
        literals = [quoted(each) if isinstance(each, str) else repr(each) for each in some]
        if lists and len(literals) > 1:
            parts.append(f"{value} in [{', '.join(literals)}]")
        else:
            parts += [f"{value} == {literal}" for literal in literals]
    return parts


def _nothing(value: str) -> str:
    return f"({value} == 0 and {value} == 1)"  # Milvus 2.3.5 takes no bare "1 == 2"


def _in_range(value: str, at_least: float | None, at_most: float | None) -> str:
    low = -math.inf if at_least is None else at_least
    high = math.inf if at_most is None else at_most
    if low > _LARGEST or high < -_LARGEST:
        return _nothing(value)
    low, high = max(low, -_LARGEST), min(high, _LARGEST)
    return f"({value} >= {low!r} and {value} <= {high!r})"


def _of_declared(name: str, kind: DataType, wanted: Scalar | Sequence[Scalar] | Range) -> str:
    """Write a condition on a declared field; empty where no value of the field can match."""
    if isinstance(wanted, Range):
        return _between(name, kind, wanted)
    literals = [text for one in alternatives(wanted) if (text := _literal(one, kind)) is not None]
    return f"{name} in [{', '.join(literals)}]" if literals else ""


def _literal(value: Scalar, kind: DataType) -> str | None:
    """Write a value as a literal that a field can be compared with; None where none equals it."""
    if isinstance(value, str):
        return quoted(value) if kind == DataType.VARCHAR else None
    if isinstance(value, bool):
        return str(value).lower() if kind == DataType.BOOL else None
    if kind in _BITS and value == int(value) and abs(int(value)) < 2**63:
        return str(int(value))
    return repr(float(value)) if kind in _FLOATS and float(value) == value else None


def _between(name: str, kind: DataType, wanted: Range) -> str:
    """Write a range of numbers; empty where no value of the field can be in it."""
    low = -math.inf if wanted.at_least is None else wanted.at_least
    high = math.inf if wanted.at_most is None else wanted.at_most
    if kind in _BITS:  # compared with whole numbers only (2.3.5)
        low = math.ceil(max(low, -(2**63) + 1)) if low < 2**63 else 2**63
        high = math.floor(min(high, 2**63 - 1)) if high > -(2**63) else -(2**63)
        if low >= 2**63 or high <= -(2**63):
            return ""
        return f"({name} >= {low} and {name} <= {high})"
    if kind not in _FLOATS or low > _LARGEST or high < -_LARGEST:
        return ""
    return f"({name} >= {max(low, -_LARGEST)!r} and {name} <= {min(high, _LARGEST)!r})"
