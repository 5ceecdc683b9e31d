"""A sample of a live gallery in a folder: what a rehearsal is made of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.array_files import read_array
from hotfill.errors import InputError
from hotfill.rehearsal.budget import Cost
from hotfill.rehearsal.sample import EmbeddedBy, Judgements, Labels
from hotfill.text_files import text_lines
from hotfill.types import ModelId, Vectors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_ARRAYS = ("old", "new", "queries_old", "queries_new", "labels", "query_labels")
_ABOUT = "sample.json"
_FILES = {**{name: f"{name}.npy" for name in _ARRAYS}, "qrels": "qrels.txt"}
"""What was not taken is not there."""


@dataclass(frozen=True, slots=True, eq=False)
class GallerySample:
    """Items and queries as both models see them; row i of `old` and of `new` is item_ids[i].

    queries_old, queries_new: given queries, (q, d_old) and (q, d_new); None where a rehearsal is to
    take items. labels, query_labels: texts, (n,) and (q,). qrels: judgements {query: {item: 1}},
    both named by their row number as text; empty without any. cost: of embedding the whole gallery,
    as measured on the sample. imputed_items: of the gallery, found by vectors that were imputed
    into the old model's space; none of those vectors is in the sample. queries_from_items: whether
    the queries are contents of other items, embedded as queries are.
    """

    old_model: ModelId
    new_model: ModelId
    item_ids: tuple[str, ...]
    old: Vectors
    new: Vectors
    queries_old: Vectors | None = None
    queries_new: Vectors | None = None
    labels: NDArray[np.str_] | None = None
    query_labels: NDArray[np.str_] | None = None
    qrels: Judgements = field(default_factory=dict)
    cost: Cost | None = None
    imputed_items: int = 0
    queries_from_items: bool = False

    def given(self) -> tuple[EmbeddedBy, EmbeddedBy, Labels | Judgements | None]:
        """Return what `rehearse` takes as old, new and relevant."""
        labels = None if self.labels is None else Labels(self.labels, self.query_labels)
        return (
            EmbeddedBy(self.old, self.queries_old, self.queries_from_items),
            EmbeddedBy(self.new, self.queries_new, self.queries_from_items),
            labels or self.qrels or None,
        )

    def save(self, folder: Path) -> None:
        """Write a new folder, whole or not at all. Raises InputError where there is one already."""
        check_free(folder)
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        draft.mkdir(parents=True)
        for name in _ARRAYS:
            array = getattr(self, name)
            if array is not None:
                np.save(draft / _FILES[name], array, allow_pickle=False)
        if self.qrels:
            lines = (
                f"{query} 0 {item} {grade:g}\n"
                for query, grades in self.qrels.items()
                for item, grade in grades.items()
            )
            (draft / _FILES["qrels"]).write_text("".join(lines), encoding="utf-8")
        about = {
            "old_model": self.old_model.to_dict(),
            "new_model": self.new_model.to_dict(),
            "item_ids": self.item_ids,
            "cost": None if self.cost is None else self.cost.to_dict(),
            "imputed_items": self.imputed_items,
            "queries_from_items": self.queries_from_items,
        }
        (draft / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
        draft.rename(folder)


def check_free(folder: Path) -> None:
    """Raise InputError where a sample cannot be written, before anything is embedded for it."""
    if folder.exists():
        raise InputError(
            f"{folder} is there already: rehearse from it with --sample {folder}, or name another"
        )


def read_sample(folder: Path) -> tuple[EmbeddedBy, EmbeddedBy, Labels | Judgements | None]:
    """Map what `save` wrote: what `rehearse` takes as old, new and relevant. Raises InputError."""
    if not (folder / _ABOUT).is_file():
        raise InputError(f"{folder}: expected a folder that `hotfill sample` wrote")
    paths = {name: folder / file for name, file in _FILES.items()}
    old, new, relevant = read_files({name: each for name, each in paths.items() if each.exists()})
    from_items = bool(_about(folder).get("queries_from_items"))
    old, new = (replace(each, queries_from_items=from_items) for each in (old, new))
    return old, new, relevant


def read_cost(folder: Path) -> Cost | None:
    """Read what embedding the gallery of a sample costs; None where it was not measured."""
    about = _about(folder)
    return Cost(**about["cost"]) if about.get("cost") else None


def read_imputed_items(folder: Path) -> int:
    """Read how many items of the gallery of a sample had stayed imputed."""
    return int(_about(folder)["imputed_items"])


def _about(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    return found


def read_files(
    paths: Mapping[str, Path],
) -> tuple[EmbeddedBy, EmbeddedBy, Labels | Judgements | None]:
    """Map files of embeddings, labels and judgements: what `rehearse` takes.

    paths: by the names old, new, queries_old, queries_new, labels, query_labels (.npy) and qrels
    (TREC's or BEIR's format). Raises InputError, also for labels and judgements at once.
    """
    if {"labels", "qrels"} <= set(paths):
        raise InputError("labels and judgements were both given; which of them is the truth?")
    if "query_labels" in paths and "labels" not in paths:
        raise InputError("query labels were given, but no labels of the items")

    def array(name: str, dimensions: int) -> Any:
        return read_array(paths[name], dimensions) if name in paths else None

    relevant: Labels | Judgements | None = None
    if "labels" in paths:
        relevant = Labels(array("labels", 1), array("query_labels", 1))
    elif "qrels" in paths:
        relevant = read_qrels(paths["qrels"])
    old, new = (EmbeddedBy(array(name, 2), array(f"queries_{name}", 2)) for name in ("old", "new"))
    return old, new, relevant


def read_qrels(path: Path) -> dict[str, dict[str, float]]:
    """Read judgements: a line is "query iteration item grade" (TREC) or "query item grade" (BEIR).

    Queries and items are named by their row number, counted from 0. A header line is skipped.
    Raises InputError naming the line that does not fit.
    """
    judged: dict[str, dict[str, float]] = {}
    for number, line in text_lines(path):
        fields = line.split()
        if number == 1 and not _is_number(fields[-1]):
            continue
        if len(fields) not in (3, 4) or not _is_number(fields[-1]):
            raise InputError(
                f"{path}, line {number}: expected 'query iteration item grade', got {line!r}"
            )
        judged.setdefault(fields[0], {})[fields[-2]] = float(fields[-1])
    if not judged:
        raise InputError(f"{path}: holds no judgements")
    return judged


def read_query_log(path: Path, items: int) -> NDArray[np.int64]:
    """Count how often each item was returned: int64 (items,).

    A text file as `query_log` of an upgrade, one line per returned hit, but with the item's row
    number, counted from 0, for its id. Empty lines are skipped.
    Raises InputError naming the line that holds something else.
    """
    counts = np.zeros(items, dtype=np.int64)
    for number, line in text_lines(path):
        name = line.strip()
        if not (name.isdecimal() and int(name) < items):
            raise InputError(
                f"{path}, line {number}: expected the row number of an item, "
                f"0 .. {items - 1}, got {name!r}"
            )
        counts[int(name)] += 1
    if not counts.any():
        raise InputError(f"{path}: the query log is empty")
    return counts


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
