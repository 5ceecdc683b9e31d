"""Queries that somebody wrote down, perhaps with what answers them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import ConfigError
from hotfill.upgrade.work.narrowing import make_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hotfill.types import Embedder, Vectors


@dataclass(frozen=True, slots=True)
class GivenQuery:
    """One line of the file. relevant: ids of the items judged to answer it."""

    content: Any
    relevant: tuple[str, ...] = ()


def read_queries(path: Path) -> list[GivenQuery]:
    """Read JSON lines: {"content": ..., "relevant": ["item id", ...]}; relevant may be left out.

    content: what the embedder reads. Raises ConfigError, naming the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the queries {path} cannot be read: {error}") from error
    found = [_given(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ConfigError(f"{path} holds no queries")
    return found


def embed_queries(embedder: Embedder, queries: Sequence[GivenQuery], batch_size: int) -> Vectors:
    """Embed given queries, one at least: float32 (q, dimension).

    Raises what the embedder raises, with the numbers of the queries at fault.
    """
    contents = [each.content for each in queries]
    names = [f"query {number}" for number in range(1, len(contents) + 1)]
    return np.concatenate(
        [
            make_vectors(
                embedder,
                embedder.model_id,
                names[begin : begin + batch_size],
                contents[begin : begin + batch_size],
            )
            for begin in range(0, len(contents), batch_size)
        ]
    )


def _given(path: Path, number: int, line: str) -> GivenQuery:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {number}: not JSON: {error}") from error
    relevant = values.get("relevant", []) if isinstance(values, dict) else None
    if (
        not isinstance(values, dict)
        or "content" not in values
        or not set(values) <= {"content", "relevant"}
        or not isinstance(relevant, list)
        or not all(isinstance(item_id, str) for item_id in relevant)
    ):
        raise ConfigError(
            f'{path}, line {number}: expected {{"content": ..., "relevant": [item ids]}}, '
            f"got {line.strip()[:80]}"
        )
    return GivenQuery(values["content"], tuple(relevant))
