"""What an /embeddings endpoint answered: which rows have a vector, and which have none."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.types import Vectors


class UnreadableAnswerError(Exception):
    """The server sent something else than vectors; asking again may help."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to n texts.

    rows, vectors: those with a usable vector, float32 (rows, dimension). failed: the other rows,
    and what was wrong with each. tokens: as the server counts them; None when it does not say.
    """

    rows: list[int]
    vectors: Vectors
    failed: dict[int, str]
    tokens: int | None


def read_answer(body: bytes, n: int, dimension: int) -> Answer:
    """Read the JSON that answers n texts.

    Vectors are lists of numbers or base64 of little-endian float32.
    Raises UnreadableAnswerError, and ShapeError when the vectors are not `dimension` long: then
    another model answers than was planned.
    """
    try:
        values = json.loads(body)
        entries = values["data"]
        found = {int(entry.get("index", place)): entry for place, entry in enumerate(entries)}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnreadableAnswerError(f"expected JSON with embeddings, got {body[:80]!r}") from error
    if len(found) != len(entries) or not set(found) <= set(range(n)):
        raise UnreadableAnswerError(f"expected one embedding for each of {n} texts, got others")
    if len(found) < n and not all("index" in entry for entry in entries):
        raise UnreadableAnswerError(f"expected {n} embeddings, got {len(found)}")
    good: dict[int, NDArray[np.float32]] = {}
    failed = dict.fromkeys(sorted(set(range(n)) - set(found)), "the answer has no vector for it")
    for row, entry in found.items():
        vector = _vector(entry.get("embedding"))
        if vector is None:
            failed[row] = "its vector holds NaN, infinite or only zero values"
        elif len(vector) != dimension:
            raise ShapeError(
                f"expected vectors of {dimension} numbers, the server sent {len(vector)}: it runs "
                "another model than planned, or `dimensions` is missing in `extra`"
            )
        else:
            good[row] = vector
    rows = sorted(good)
    vectors = np.stack([good[row] for row in rows]) if rows else np.empty((0, dimension))
    return Answer(rows, vectors.astype(np.float32), failed, _tokens(values))


def _vector(given: Any) -> NDArray[np.float32] | None:
    """One vector, or None when its numbers cannot be used."""
    try:
        if isinstance(given, str):
            vector = np.frombuffer(base64.b64decode(given, validate=True), dtype="<f4")
        else:
            vector = np.array(given, dtype=np.float32)
    except (ValueError, TypeError) as error:
        if isinstance(given, list):  # null among the numbers: how JSON says NaN
            return None
        raise UnreadableAnswerError(f"expected a vector, got {str(given)[:80]!r}") from error
    if vector.ndim != 1:
        raise UnreadableAnswerError(f"expected a vector, got {str(given)[:80]!r}")
    return vector if np.isfinite(vector).all() and vector.any() else None


def _tokens(values: dict[str, Any]) -> int | None:
    usage = values.get("usage")
    if not isinstance(usage, dict):
        return None
    tokens = usage.get("total_tokens", usage.get("prompt_tokens"))
    return tokens if isinstance(tokens, int) and tokens >= 0 else None
