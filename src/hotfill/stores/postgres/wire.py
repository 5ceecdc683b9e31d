"""Vectors in PostgreSQL's binary form, made and read by numpy without a loop over rows.

A `vector` is its dimension and an unused number, two bytes each, then big-endian floats; a
`halfvec` the same with half floats (read in pgvector's vector_recv and halfvec_recv). An array is a
header of five four-byte numbers, then the values, each after its length (array_recv).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from psycopg.adapt import Dumper
from psycopg.pq import Format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.types import Vectors

Kind: TypeAlias = Literal["vector", "halfvec"]
"""The two kinds of column: 32 or 16 bits for a number."""

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


def vectors_of(values: Sequence[bytes], dimension: int, kind: Kind) -> Vectors:
    """Read vectors: float32 (n, dimension)."""
    layout = np.dtype([("d", ">i2"), ("unused", ">i2"), ("row", _NUMBER[kind], (dimension,))])
    rows: Vectors = np.frombuffer(b"".join(values), dtype=layout)["row"].astype(np.float32)
    return rows
