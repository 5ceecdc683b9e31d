"""Filters as boolean expressions, whose meaning `hotfill.stores.filters` fixes."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

from pymilvus import DataType

from hotfill.stores.base import Range
from hotfill.stores.filters import alternatives
from hotfill.stores.milvus.fields import BITS, FLOATS
from hotfill.stores.milvus.rows import BOOLEAN, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.stores.base import Scalar, Where
    from hotfill.stores.milvus.fields import DeclaredFields
    from hotfill.stores.milvus.stamp import SpaceFields

_LARGEST = sys.float_info.max


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
    if kind in BITS and value == int(value) and abs(int(value)) < 2**63:
        return str(int(value))
    return repr(float(value)) if kind in FLOATS and float(value) == value else None


def _between(name: str, kind: DataType, wanted: Range) -> str:
    """Write a range of numbers; empty where no value of the field can be in it."""
    low = -math.inf if wanted.at_least is None else wanted.at_least
    high = math.inf if wanted.at_most is None else wanted.at_most
    if kind in BITS:  # compared with whole numbers only (2.3.5)
        low = math.ceil(max(low, -(2**63) + 1)) if low < 2**63 else 2**63
        high = math.floor(min(high, 2**63 - 1)) if high > -(2**63) else -(2**63)
        if low >= 2**63 or high <= -(2**63):
            return ""
        return f"({name} >= {low} and {name} <= {high})"
    if kind not in FLOATS or low > _LARGEST or high < -_LARGEST:
        return ""
    return f"({name} >= {max(low, -_LARGEST)!r} and {name} <= {min(high, _LARGEST)!r})"
