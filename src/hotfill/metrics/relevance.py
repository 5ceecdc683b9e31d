"""Which gallery items answer which query, and how well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.checks import check_ids
from hotfill.errors import InputError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, eq=False)
class Relevance:
    """The relevant gallery items of every query. Build it with one of the functions below.

    gallery: number of gallery items; columns are positions 0 .. gallery - 1 in it.
    columns: int64 (m,). grades: float64 (m,), > 0, one per column.
    starts, stops: int64 (queries,): query i has columns[starts[i]:stops[i]]. Queries may share a
        stretch, so that labels cost one entry per item, not one per pair.
    """

    gallery: int
    columns: NDArray[np.int64]
    grades: NDArray[np.float64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def binary(self) -> bool:
        """Whether every grade is 1."""
        return bool(np.all(self.grades == 1.0))

    def of(self, query: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Columns and grades of one query."""
        stretch = slice(self.starts[query], self.stops[query])
        return self.columns[stretch], self.grades[stretch]

    def take(self, queries: NDArray[np.int64] | slice) -> Relevance:
        """Keep some queries, in the order given; the gallery stays."""
        return Relevance(
            self.gallery, self.columns, self.grades, self.starts[queries], self.stops[queries]
        )


def same_label(query_labels: Any, gallery_labels: Any) -> Relevance:
    """Relevant is what carries the query's label, with grade 1.

    query_labels: (queries,). gallery_labels: (n,). Integers or texts, both of one kind.
    """
    queries = _flat(query_labels, "query labels")
    gallery = _flat(gallery_labels, "gallery labels")
    if (queries.dtype.kind in "US") != (gallery.dtype.kind in "US"):
        raise InputError(
            f"query and gallery labels must be of one kind, got {queries.dtype} and {gallery.dtype}"
        )
    order = np.argsort(gallery, kind="stable").astype(np.int64)
    ordered = gallery[order]
    return Relevance(
        gallery=len(gallery),
        columns=order,
        grades=np.ones(len(gallery)),
        starts=np.searchsorted(ordered, queries, side="left").astype(np.int64),
        stops=np.searchsorted(ordered, queries, side="right").astype(np.int64),
    )


def from_matrix(matrix: Any) -> Relevance:
    """Read a matrix of grades: (queries, n), bool or numbers >= 0; 0 or False is not relevant."""
    grades = np.asarray(matrix)
    if grades.ndim != 2:
        raise ShapeError(f"relevance matrix: expected shape (queries, n), got {grades.shape}")
    rows, columns = np.nonzero(grades)
    return _from_entries(
        rows, columns, grades[rows, columns].astype(np.float64), len(grades), grades.shape[1]
    )


def from_lists(
    columns: Sequence[Any], gallery: int, *, grades: Sequence[Any] | None = None
) -> Relevance:
    """Read, for every query, the positions of its relevant items (any length, also none).

    columns: one int sequence per query, each position once, 0 .. gallery - 1.
    grades: numbers >= 0 in the same shape; without them every grade is 1.
    """
    lengths = [len(some) for some in columns]
    if grades is not None and [len(some) for some in grades] != lengths:
        raise ShapeError("relevance lists: expected one grade per relevant item")
    flat = _concatenated(columns, np.int64)
    values = np.ones(len(flat)) if grades is None else _concatenated(grades, np.float64)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return _from_entries(rows, flat, values, len(lengths), gallery)


def from_qrels(
    qrels: Mapping[str, Mapping[str, float]], query_ids: Sequence[str], item_ids: Sequence[str]
) -> Relevance:
    """Read judgements by name, as in a TREC qrels file: {query id: {item id: grade}}.

    query_ids, item_ids: the names of score rows and columns, each once. Judgements of other
    queries or of items that the gallery does not hold are left out; grades <= 0 are not relevant.
    """
    position = {name: column for column, name in enumerate(item_ids)}
    check_ids(item_ids)
    check_ids(query_ids)
    judged = [
        {position[item]: grade for item, grade in qrels.get(query, {}).items() if item in position}
        for query in query_ids
    ]
    return from_lists(
        [[column for column, grade in some.items() if grade > 0] for some in judged],
        len(item_ids),
        grades=[[grade for grade in some.values() if grade > 0] for some in judged],
    )


def _from_entries(
    rows: NDArray[Any],
    columns: NDArray[Any],
    grades: NDArray[np.float64],
    queries: int,
    gallery: int,
) -> Relevance:
    """Sort entries by query and position, and check them."""
    if not np.all(np.isfinite(grades) & (grades >= 0)):
        raise InputError("relevance grades must be finite numbers >= 0")
    if len(columns) and not 0 <= columns.min() <= columns.max() < gallery:
        raise InputError(
            f"relevant items must be positions 0 .. {gallery - 1} in the gallery, "
            f"got {columns.min()} .. {columns.max()}"
        )
    keep = grades > 0
    rows, columns, grades = rows[keep], columns[keep], grades[keep]
    order = np.lexsort((columns, rows))
    rows, columns, grades = rows[order], columns[order].astype(np.int64), grades[order]
    if np.any((np.diff(rows) == 0) & (np.diff(columns) == 0)):
        raise InputError("relevance lists: an item stands twice for one query")
    edges = np.searchsorted(rows, np.arange(queries + 1)).astype(np.int64)
    return Relevance(gallery, columns, grades, edges[:-1], edges[1:])


def _concatenated(parts: Sequence[Any], dtype: Any) -> NDArray[Any]:
    arrays = [np.asarray(part) for part in parts if len(part)]
    flat = np.concatenate(arrays) if arrays else np.empty(0, dtype)
    if not np.can_cast(flat.dtype, dtype, casting="same_kind"):
        raise InputError(
            f"relevance lists: expected numbers like {dtype.__name__}, got {flat.dtype}"
        )
    return flat.astype(dtype)


def _flat(labels: Any, what: str) -> NDArray[Any]:
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ShapeError(f"{what}: expected shape (n,), got {array.shape}")
    if array.dtype.kind not in "biuUS":
        raise InputError(f"{what}: expected integers or texts, got {array.dtype}")
    return array
