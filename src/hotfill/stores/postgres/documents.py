"""Metadata as jsonb and back, without losing the difference between 2 and 2.0."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hotfill.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.stores.base import Metadata, Scalar
    from hotfill.stores.postgres.stamp import Stamp


def documents_of(metadata: Sequence[Metadata], stamp: Stamp) -> list[str]:
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
    return {k: v for k, v in content.items() if isinstance(v, (str, int, float, bool))}
