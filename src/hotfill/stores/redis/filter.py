"""Filters in the words of the query engine.

The engine knows fields by the schema of its index, and metadata have no schema. So each document of
a gallery of our own carries *facets*: a digest for each key and value, and for each number digests
of the ranges it is in, from coarse to fine, so that a range is a few of them (the trie of U.
Schindler and M. Diepenbroek, "Generic XML-based framework for metadata portals", 2008). Digests
need no escaping. An adopted index is asked by its own tags and numbers, where the meaning is ours.

What is found this way may be more than what passes: whoever asks compares the metadata themselves.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from hotfill.stores.base import Range
from hotfill.stores.filters import alternatives, kind_of
from hotfill.stores.redis.stamp import OWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.stores.base import Metadata, Scalar, Where
    from hotfill.stores.redis.stamp import Attribute, RedisStamp

FACETS = f"{OWN}facets"
_BITS = (24, 20, 16, 12, 8, 4)  # of a number, from the first: twelve are sign and exponent
_LONGEST_TAG = 1000  # bytes; longer ones are not asked for


@dataclass(slots=True)
class Condition:
    """What a search asks for before it compares vectors.

    text: of the query. parameters: names and values by turns. nothing: whether nothing can pass.
    """

    text: str = "*"
    parameters: list[str | bytes] = field(default_factory=list)
    nothing: bool = False


def facets(metadata: Metadata) -> str:
    """Return the facets of a document."""
    words = []
    for key, value in metadata.items():
        words.append(_value_facet(key, value))
        if kind_of(value) is float:
            first = _ordered(float(value)) >> (64 - _BITS[0])
            words += [_range_facet(key, n, first >> (_BITS[0] - n)) for n in _BITS]
    return ",".join(words)


def condition(where: Where, stamp: RedisStamp) -> Condition:
    """Translate a checked filter; what passes it is among what the condition finds."""
    asked, parts = Condition(), []
    for key, wanted in where.items():
        if _is_empty(wanted):
            asked.nothing = True
        elif not stamp.adopted:
            parts.append(f"@{FACETS}:{{{'|'.join(_facets_of(key, wanted))}}}")
        elif (attribute := _attribute(key, stamp)) is not None:
            part = _by_attribute(attribute, wanted, asked.parameters)
            parts += [] if part is None else [part]
    if parts:
        asked.text = " ".join(f"({part})" for part in parts)
    return asked


def _facets_of(key: str, wanted: Scalar | Sequence[Scalar] | Range) -> list[str]:
    if not isinstance(wanted, Range):
        return [_value_facet(key, value) for value in alternatives(wanted)]
    low, high = (_ordered(bound) >> (64 - _BITS[0]) for bound in _bounds(wanted))
    found = []
    for n in _BITS:
        while low <= high and (low & 15 or n == _BITS[-1]):
            found.append(_range_facet(key, n, low))
            low += 1
        while low <= high and high & 15 != 15:
            found.append(_range_facet(key, n, high))
            high -= 1
        if low > high:
            break
        low, high = low >> 4, high >> 4
    return found


def _value_facet(key: str, value: Scalar) -> str:
    if kind_of(value) is float:
        value = int(value) if value == int(value) else value  # 3 and 3.0 are one value
    return _digest(f"{kind_of(value).__name__}\0{key}\0{value!r}")


def _range_facet(key: str, n_bits: int, first: int) -> str:
    return _digest(f"{n_bits}\0{key}\0{first}")


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _ordered(number: float) -> int:
    """Return 64 bits that are in the order of the numbers."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", number + 0.0))
    return int(bits ^ (2**64 - 1)) if bits >> 63 else int(bits | 1 << 63)


def _bounds(wanted: Range) -> tuple[float, float]:
    return (
        -math.inf if wanted.at_least is None else float(wanted.at_least),
        math.inf if wanted.at_most is None else float(wanted.at_most),
    )


def _is_empty(wanted: Scalar | Sequence[Scalar] | Range) -> bool:
    if isinstance(wanted, Range):
        low, high = _bounds(wanted)
        return low > high
    return not alternatives(wanted)


def _attribute(key: str, stamp: RedisStamp) -> Attribute | None:
    name = key if stamp.documents == "hash" else f"$.{key}"
    return next(
        (
            each
            for each in stamp.attributes
            if each.field == name and re.fullmatch(r"[A-Za-z]\w*", each.name)
        ),
        None,
    )


def _by_attribute(
    attribute: Attribute,
    wanted: Scalar | Sequence[Scalar] | Range,
    parameters: list[str | bytes],
) -> str | None:
    """Ask by the index's own field; None where its meaning is not ours."""
    if attribute.kind == "NUMERIC":
        if isinstance(wanted, Range):
            return _between(attribute, *_bounds(wanted))
        numbers = [float(v) for v in alternatives(wanted) if not isinstance(v, (str, bool))]
        return " | ".join(f"({_between(attribute, v, v)})" for v in numbers) or None
    if attribute.kind != "TAG" or isinstance(wanted, Range):
        return None
    values = alternatives(wanted)
    if not all(isinstance(v, str) and _is_one_tag(v, attribute) for v in values):
        return None
    names = []
    for value in values:
        names.append(f"p{len(parameters) // 2}")
        parameters += [names[-1], str(value)]
    return f"@{attribute.name}:{{{'|'.join(f'${name}' for name in names)}}}"


def _between(attribute: Attribute, low: float, high: float) -> str:
    low, high = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    ends = ("-inf" if low == -math.inf else repr(low), "+inf" if high == math.inf else repr(high))
    return f"@{attribute.name}:[{ends[0]} {ends[1]}]"


def _is_one_tag(value: str, attribute: Attribute) -> bool:
    """Tell whether the engine takes a text as one tag, as it is but for the case of its letters."""
    return (
        value.strip() == value != ""
        and len(value.encode()) <= _LONGEST_TAG
        and (not attribute.separator or attribute.separator not in value)
    )
