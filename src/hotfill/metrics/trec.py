"""What other evaluators read of a ranking: TREC's run files and judgements, and its measures.

Names of measures are those of the package `ir-measures`: AP, nDCG@10, R@100, Success@1. Apart from
`hotfill.lab.compare`, which needs torch: this takes any ranking, with numpy alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hotfill.errors import ConfigError, ShapeError
from hotfill.files import writing_whole
from hotfill.metrics.figures import average_precision, hit_rate, ndcg, recall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hotfill.metrics.ranks import RelevantRanks
    from hotfill.metrics.relevance import Relevance

DEPTH = 1000
"""Items of each query in a run file, as TREC's tracks have it."""

Measure: TypeAlias = "Callable[[RelevantRanks], NDArray[np.float64]]"

_CUT = {"nDCG": ndcg, "R": recall, "Success": hit_rate}


def measure(name: str) -> Measure:
    """Return the measure of a name: AP, nDCG@k, R@k or Success@k, k >= 1.

    It gives one value for each judged query, float64, 0 to 1.
    Raises ConfigError for another name.
    """
    if name == "AP":
        return average_precision
    found = re.fullmatch(r"(nDCG|R|Success)@([1-9][0-9]*)", name)
    if found is None:
        raise ConfigError(f"measure: expected AP, nDCG@k, R@k or Success@k, got {name!r}")
    function, cut = _CUT[found[1]], int(found[2])
    return lambda ranks: np.asarray(function(ranks, cut), dtype=np.float64)


def write_run(
    path: Path, scores: Any, query_ids: Sequence[str], item_ids: Sequence[str], name: str
) -> None:
    """Write a run file: lines of "query Q0 item rank score name", the first 1,000 of each query.

    scores: (queries, n), higher is better; equal ones stand in the order of the columns.
    name: of the system, without spaces. Raises ShapeError, OSError.
    """
    matrix = np.asarray(scores)
    if matrix.shape != (len(query_ids), len(item_ids)):
        raise ShapeError(f"expected scores ({len(query_ids)}, {len(item_ids)}), got {matrix.shape}")
    with writing_whole(path) as out:
        for query_id, row in zip(query_ids, matrix, strict=True):
            best = np.argsort(-row, kind="stable")[:DEPTH]
            lines = (
                f"{query_id} Q0 {item_ids[column]} {rank} {row[column]:.8g} {name}\n"
                for rank, column in enumerate(best, start=1)
            )
            out.write("".join(lines).encode())


def write_qrels(
    path: Path, relevance: Relevance, query_ids: Sequence[str], item_ids: Sequence[str]
) -> None:
    """Write judgements: lines of "query 0 item grade", whole grades. Raises OSError."""
    with writing_whole(path) as out:
        for row, query_id in enumerate(query_ids):
            columns, grades = relevance.of(row)
            lines = (
                f"{query_id} 0 {item_ids[column]} {grade:.0f}\n"
                for column, grade in zip(columns, grades, strict=True)
            )
            out.write("".join(lines).encode())
