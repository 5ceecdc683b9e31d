"""How ids, vectors, metadata and filters are written to PostgreSQL and read back.

Vectors go in PostgreSQL's binary form, made and read by numpy without a loop over rows. A `vector`
is its dimension and an unused number, two bytes each, then big-endian floats; a `halfvec` the same
with half floats (read in pgvector's vector_recv and halfvec_recv). An array is a header of five
four-byte numbers, then the values, each after its length (array_recv).
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.pq import Format

from hotfill.errors import InputError
from hotfill.stores.base import Range
from hotfill.stores.filters import alternatives, is_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata, Scalar, Where
    from hotfill.stores.postgres.stamp import Kind, PostgresStamp
    from hotfill.types import Vectors

_NUMBER = {"vector": ">f4", "halfvec": ">f2"}


class Binary(bytes):
    """A value in PostgreSQL's binary form; the statement says of which type."""

    __slots__ = ()


class BinaryDumper(Dumper):
    """Hands a Binary over as it is."""

    format = Format.BINARY

    def dump(self, obj: Binary) -> bytes:  # noqa: D102  as its base
        return bytes(obj)


def vector_array(rows: Vectors, kind: Kind, oid: int) -> Binary:
    """Make an array of vectors. rows: float32 (n, d). oid: of the type `kind` in this database."""
    n, d = rows.shape
    if n == 0:
        return Binary(struct.pack(">3i", 0, 0, oid))
    values = np.empty(
        n, dtype=[("bytes", ">i4"), ("d", ">i2"), ("unused", ">i2"), ("row", _NUMBER[kind], (d,))]
    )
    values["bytes"] = values.dtype.itemsize - 4
    values["d"], values["unused"] = d, 0
    with np.errstate(over="ignore"):  # what 16 bits cannot hold becomes infinite; that is refused
        values["row"] = rows
    return Binary(struct.pack(">5i", 1, 0, oid, n, 1) + values.tobytes())


def only_one(array: Binary) -> Binary:
    """Take the vector out of an array of one: what stands behind its header, and its length."""
    return Binary(array[24:])


def vectors_of(values: Sequence[bytes], dimension: int, kind: Kind) -> Vectors:
    """Read vectors: float32 (n, dimension)."""
    layout = np.dtype([("d", ">i2"), ("unused", ">i2"), ("row", _NUMBER[kind], (dimension,))])
    rows: Vectors = np.frombuffer(b"".join(values), dtype=layout)["row"].astype(np.float32)
    return rows


# Ids: texts, which an adopted table may know as numbers or UUIDs ---------------------------------

_WHOLE_NUMBERS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
ID_TYPES = ("text", "character varying", "uuid", *_WHOLE_NUMBERS)
"""Types of a column that can tell items apart."""


def fits(item_id: str, id_type: str) -> bool:
    """Tell whether a column can hold an id so that it comes back as it is written."""
    if id_type in _WHOLE_NUMBERS:
        try:
            number = int(item_id)
        except ValueError:
            return False
        limit = _WHOLE_NUMBERS[id_type]
        return str(number) == item_id and -limit <= number < limit
    if id_type == "uuid":
        try:
            return str(UUID(item_id)) == item_id
        except ValueError:
            return False
    return "\0" not in item_id


def check_fit(item_ids: Sequence[str], id_type: str) -> None:
    """Raise InputError unless a column can hold all ids."""
    for item_id in item_ids:
        if not fits(item_id, id_type):
            raise InputError(f"the table's ids are of type {id_type}; {item_id!r} is none")


def in_order(item_ids: Iterable[str]) -> NDArray[np.intp]:
    """Return the places of ids in the order of the ids, in which writers do not deadlock."""
    ids = list(item_ids)
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.intp)


# Metadata: jsonb, which keeps the difference between 2 and 2.0 ------------------------------------


def documents_of(metadata: Sequence[Metadata], stamp: PostgresStamp) -> list[str]:
    """Return a JSON object per item. Raises InputError where the table has no place for them."""
    if stamp.metadata_column is None and any(metadata):
        raise InputError(
            f"{stamp.table} was adopted without a metadata column; nothing was written"
        )
    return [document(row) for row in metadata]


def document(metadata: Metadata) -> str:
    """Return a JSON object."""
    return "{" + ",".join(f"{json.dumps(k)}:{value(v)}" for k, v in metadata.items()) + "}"


def value(scalar: Scalar) -> str:
    """Return a JSON value. A float keeps a fraction, which jsonb keeps too; 1e300 would lose it."""
    if isinstance(scalar, float) and scalar.is_integer():
        return f"{int(scalar)}.0"
    return json.dumps(scalar)


def metadata_of(content: Any) -> dict[str, Scalar]:
    """Return what a filter can ask for of a jsonb value that others may have written."""
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if is_metadata(key, value)}


# Filters: conditions on jsonb, whose meaning `hotfill.stores.filters` fixes -----------------------


_CONTAINED = 20  # values of a key that are looked for by containment


def where_condition(
    where: Where | None, column: str | None
) -> tuple[sql.Composable, dict[str, Any]]:
    """Translate a checked filter: a condition that begins with AND or is empty, and its values.

    column: of the metadata; None where there is none, so that no item passes.
    """
    parts: list[sql.Composable] = []
    values: dict[str, Any] = {}
    for i, (key, wanted) in enumerate((where or {}).items()):
        if column is None:
            return sql.SQL(" AND false"), {}
        name, m = f"where{i}", sql.Identifier(column)
        if isinstance(wanted, Range):
            values[name] = key
            bounds: list[sql.Composable] = [sql.SQL("true")]
            for sign, bound in ((">=", wanted.at_least), ("<=", wanted.at_most)):
                if bound is not None:
                    values[f"{name}{sign}"] = (
                        repr(float(bound)) if isinstance(bound, float) else str(int(bound))
                    )
                    bounds.append(
                        sql.SQL("(i.{m}::jsonb->>{key})::numeric {sign} {bound}::numeric").format(
                            m=m,
                            key=sql.Placeholder(name),
                            sign=sql.SQL(sign),
                            bound=sql.Placeholder(f"{name}{sign}"),
                        )
                    )
            # CASE, because only inside it the type is sure to be looked at before the number.
            parts.append(
                sql.SQL(
                    " AND CASE WHEN jsonb_typeof(i.{m}::jsonb->{key}) = 'number' THEN {bounds} "
                    "ELSE false END"
                ).format(m=m, key=sql.Placeholder(name), bounds=sql.SQL(" AND ").join(bounds))
            )
        else:
            # Both compare numbers as numbers and never a number with a text. An index on the
            # column knows containment; the equality of many values is looked up in a hash table.
            given = [value(one) for one in alternatives(wanted)]
            if len(given) <= _CONTAINED:
                values[name] = [f"{{{json.dumps(key)}:{one}}}" for one in given]
                condition = sql.SQL(" AND i.{m}::jsonb @> ANY ({wanted}::jsonb[])")
            else:
                values[name], values[f"{name}_key"] = given, key
                condition = sql.SQL(" AND i.{m}::jsonb -> {key}::text = ANY ({wanted}::jsonb[])")
            parts.append(
                condition.format(
                    m=m, wanted=sql.Placeholder(name), key=sql.Placeholder(f"{name}_key")
                )
            )
    return sql.SQL("").join(parts), values
