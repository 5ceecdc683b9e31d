"""A sample of a live gallery in a folder: what a rehearsal is made of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError
from hotfill.rehearsal.files import read_arguments
from hotfill.types import ModelId, Vectors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_ARRAYS = ("old", "new", "queries_old", "queries_new", "labels", "query_labels")
_ABOUT = "sample.json"
_FILES = {**{name: f"{name}.npy" for name in _ARRAYS}, "qrels": "qrels.txt"}
"""By the arguments of `rehearse`; what was not taken is not there."""


@dataclass(frozen=True, slots=True, eq=False)
class GallerySample:
    """Items and queries as both models see them; row i of `old` and of `new` is item_ids[i].

    queries_old, queries_new: given queries, (q, d_old) and (q, d_new); None where a rehearsal is to
    take items. labels, query_labels: texts, (n,) and (q,). qrels: judgements {query: {item: 1}},
    both named by their row number as text; empty without any.
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
    qrels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

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
        }
        (draft / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
        draft.rename(folder)


def check_free(folder: Path) -> None:
    """Raise InputError where a sample cannot be written, before anything is embedded for it."""
    if folder.exists():
        raise InputError(
            f"{folder} is there already: rehearse from it with --sample {folder}, or name another"
        )


def read_sample(folder: Path) -> dict[str, Any]:
    """Map what `save` wrote, as the arguments that `rehearse` takes. Raises InputError."""
    if not (folder / _ABOUT).is_file():
        raise InputError(f"{folder}: expected a folder that `hotfill sample` wrote")
    paths = {name: folder / file for name, file in _FILES.items()}
    return read_arguments({name: path for name, path in paths.items() if path.exists()})
