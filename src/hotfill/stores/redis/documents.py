"""How an item is kept: as a hash, or as a JSON document.

What others keep in a document stays: hotfill reads all of it but vectors, and writes the fields
that change.
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hotfill.errors import InputError
from hotfill.stores import nested
from hotfill.stores.filters import is_metadata
from hotfill.stores.redis.stamp import OWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata, Scalar
    from hotfill.stores.nested import Path
    from hotfill.stores.redis.stamp import Attribute, RedisStamp

TYPES = f"{OWN}types"
NUMBERS = f"{OWN}numbers"
MOST_FIELDS = 1000  # of a hash that one command sets: Lua has room for some thousand words
_PATH = re.compile(r"\$(\.[A-Za-z_]\w*)+")
_NUMBERS = re.compile(r"-?[0-9]+|-?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?")


class Documents(ABC):
    """Reads and writes documents of one kind.

    A change is a mapping of paths to values; None takes a field away.
    """

    kind: Literal["hash", "json"]

    @abstractmethod
    def path(self, field: str) -> Path:
        """Return the path that a field of the stamp means."""

    @abstractmethod
    def vector(self, row: NDArray[np.float32]) -> Any:
        """Return a vector as the value of a field."""

    @abstractmethod
    def as_text(self, row: NDArray[np.float32]) -> bytes:
        """Return a vector as it is kept outside documents: as the server reads a field."""

    @abstractmethod
    def row(self, text: bytes, dimension: int) -> NDArray[np.float32] | None:
        """Read a vector; None where it has another dimension."""

    @abstractmethod
    def content(self, raw: Sequence[bytes]) -> dict[str, Any]:
        """Read what a document holds apart from vectors and hotfill's notes."""

    @abstractmethod
    def metadata(self, content: Mapping[str, Any]) -> dict[str, Scalar]:
        """Return what of the content is metadata."""

    @abstractmethod
    def described(self, content: Mapping[str, Any], metadata: Metadata) -> dict[Path, Any]:
        """Return the change that gives a document this metadata. Raises InputError."""

    @abstractmethod
    def words(self, change: Mapping[Path, Any]) -> tuple[list[Any], list[Any]]:
        """Return a change as the scripts take it: what to remove, and what to set."""


class HashDocuments(Documents):
    """Hashes: every value is a text.

    What of the metadata is a number or a truth value, without the index saying so, is written down
    in a field.
    """

    kind = "hash"

    def __init__(self, stamp: RedisStamp) -> None:
        self._numeric = {each.field for each in stamp.attributes if each.kind == "NUMERIC"}
        self._attributes = stamp.attributes

    def path(self, field: str) -> Path:
        """Return the name of the field."""
        return (field,)

    def vector(self, row: NDArray[np.float32]) -> Any:
        """Return the numbers' bytes."""
        return row.astype("<f4").tobytes()

    def as_text(self, row: NDArray[np.float32]) -> bytes:
        """Return the numbers' bytes."""
        return row.astype("<f4").tobytes()

    def row(self, text: bytes, dimension: int) -> NDArray[np.float32] | None:
        """Read the numbers' bytes."""
        return np.frombuffer(text, "<f4") if len(text) == 4 * dimension else None

    def content(self, raw: Sequence[bytes]) -> dict[str, Any]:
        """Read the fields that are texts, with the values they stand for."""
        texts: dict[str, str] = {}
        for key, value in zip(raw[::2], raw[1::2], strict=True):
            try:
                texts[key.decode()] = value.decode()
            except UnicodeDecodeError:
                continue
        types = _noted(texts.pop(TYPES, ""))
        return {key: self._value(key, text, types.get(key)) for key, text in texts.items()}

    def _value(self, key: str, text: str, kind: str | None) -> Scalar:
        if kind == "boolean" and text in ("true", "false"):
            return text == "true"
        if (kind == "number" or key in self._numeric) and _NUMBERS.fullmatch(text):
            return int(text) if text.lstrip("-").isdigit() else float(text)
        return text

    def metadata(self, content: Mapping[str, Any]) -> dict[str, Scalar]:
        """Return the fields that are metadata."""
        return {key: value for key, value in content.items() if is_metadata(key, value)}

    def described(self, content: Mapping[str, Any], metadata: Metadata) -> dict[Path, Any]:
        """Set the values that differ, remove the others, and write down what kinds they are."""
        if len(metadata) > MOST_FIELDS:
            raise InputError(f"metadata: at most {MOST_FIELDS} keys, got {len(metadata)}")
        before = self.metadata(content)
        change: dict[Path, Any] = {(key,): None for key in before if key not in metadata}
        kinds = {}
        for key, value in metadata.items():
            _check_fits(key, value, self._attribute(key), json_document=False)
            if not isinstance(value, str) and key not in self._numeric:
                kinds[key] = "boolean" if isinstance(value, bool) else "number"
            if key not in before or type(before[key]) is not type(value) or before[key] != value:
                change[(key,)] = value if isinstance(value, str) else json.dumps(value)
        change[(TYPES,)] = json.dumps(kinds) if kinds else None
        return change

    def words(self, change: Mapping[Path, Any]) -> tuple[list[Any], list[Any]]:
        """Return names of fields, and names and values by turns."""
        gone = [path[0] for path, value in change.items() if value is None]
        return gone, [
            word for path, value in change.items() if value is not None for word in (path[0], value)
        ]

    def _attribute(self, key: str) -> Attribute | None:
        return next((each for each in self._attributes if each.field == key), None)


class JsonDocuments(Documents):
    """JSON documents. In those of others a dot in a key of metadata goes one level down.

    The server reads some numbers wrong in their last place (RedisJSON 2.8.3); so those of metadata
    that have a fraction are written down as text, too.
    """

    kind = "json"

    def __init__(self, stamp: RedisStamp) -> None:
        self._deep = stamp.adopted
        self._attributes = {
            self.path(each.field): each for each in stamp.attributes if _PATH.fullmatch(each.field)
        }

    def path(self, field: str) -> Path:
        """Return the keys on the way to a field."""
        return tuple(field.split(".")[1:])

    def vector(self, row: NDArray[np.float32]) -> Any:
        """Return a list of numbers with nine digits, which tell a float32: half the text."""
        wide = row.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 10.0 ** (8 - np.floor(np.log10(np.abs(wide))))
            short = np.round(wide * scale) / scale
        return np.where(short.astype(np.float32) == row, short, wide).tolist()

    def as_text(self, row: NDArray[np.float32]) -> bytes:
        """Return what the server says of a path at which a vector stands: a list of it."""
        return json.dumps([self.vector(row)]).encode()

    def row(self, text: bytes, dimension: int) -> NDArray[np.float32] | None:
        """Read the first of a list of vectors."""
        try:
            row = np.array(json.loads(text)[0], dtype=np.float32)
        except (TypeError, ValueError, IndexError):
            return None
        return row if row.shape == (dimension,) else None

    def content(self, raw: Sequence[bytes]) -> dict[str, Any]:
        """Read the top level."""
        found: dict[str, list[Any]] = json.loads(raw[0]) if raw else {}
        return {
            path[3:-2]: values[0]
            for path, values in found.items()
            if path.startswith('$["') and values
        }

    def metadata(self, content: Mapping[str, Any]) -> dict[str, Scalar]:
        """Return the values that are metadata."""
        return {key: value for key, (_, value) in self._shown(content).items()}

    def _shown(self, content: Mapping[str, Any]) -> dict[str, tuple[Path, Scalar]]:
        body = {key: value for key, value in content.items() if key != NUMBERS}
        exact = _noted(content.get(NUMBERS, ""))
        found = nested.shown(body, deep=self._deep)
        for key, (path, value) in found.items():
            number = exact.get(key)
            if isinstance(value, float) and isinstance(number, float) and _is_near(number, value):
                found[key] = (path, number)
        return found

    def described(self, content: Mapping[str, Any], metadata: Metadata) -> dict[Path, Any]:
        """Set the values that differ, remove the others."""
        there = dict(self._shown(content).values())
        wanted, gone = nested.changes(content, metadata, deep=self._deep)
        for path, value in wanted.items():
            _check_fits(".".join(path), value, self._attributes.get(path), json_document=True)
        change: dict[Path, Any] = dict.fromkeys(path for path in gone if path != (NUMBERS,))
        exact = {key: v for key, v in metadata.items() if isinstance(v, float)}
        change[(NUMBERS,)] = json.dumps(exact) if exact else None
        for path, value in wanted.items():
            same = path in there and type(there[path]) is type(value) and there[path] == value
            if not same:
                change[path] = value
        return change

    def words(self, change: Mapping[Path, Any]) -> tuple[list[Any], list[Any]]:
        """Return one document to be merged (RFC 7396), in which null removes."""
        merged: dict[str, Any] = {}
        for (*above, last), value in change.items():
            place = merged
            for key in above:
                place = place.setdefault(key, {})
            place[last] = value
        return [], [json.dumps(merged, ensure_ascii=False, allow_nan=False)]


def of(stamp: RedisStamp) -> Documents:
    """Return what reads and writes the documents of a gallery."""
    return HashDocuments(stamp) if stamp.documents == "hash" else JsonDocuments(stamp)


def is_simple(path: str) -> bool:
    """Tell whether a JSON path leads to one place, by names and dots."""
    return _PATH.fullmatch(path) is not None


def _noted(text: str) -> dict[str, Any]:
    """Read a note about metadata, which others may have spoiled."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_near(one: float, other: float) -> bool:
    return abs(one - other) <= 4 * math.ulp(one)


def _check_fits(
    key: str, value: Scalar, attribute: Attribute | None, *, json_document: bool
) -> None:
    """Raise InputError for a value that would take its document out of the adopted index."""
    if key.startswith(OWN):
        raise InputError(f"metadata {key!r}: names that begin with {OWN!r} are hotfill's own here")
    if attribute is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fine = {
        "NUMERIC": number,
        "TAG": not json_document or isinstance(value, (str, bool)),
        "TEXT": not json_document or isinstance(value, str),
    }.get(attribute.kind, False)
    if not fine:
        raise InputError(
            f"metadata {key!r}: the index takes it as {attribute.kind}, and would leave out "
            f"an item with {value!r}"
        )
