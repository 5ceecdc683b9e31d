"""An index file that is there, and the list of its ids: read, never written."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill import array_files
from hotfill.checks import check_ids
from hotfill.errors import InputError, StoreError
from hotfill.stores.index_files.index import faiss
from hotfill.text_files import text_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId, Vectors


_AT_ONCE = 10_000  # items written in one transaction


def fill_from_index(
    folder: Path,
    index_file: Path,
    ids_file: Path | None,
    model: ModelId,
    create: Callable[[Path], Gallery],
    told: Callable[[int, int, str], None],
) -> None:
    """Make a gallery of what an index file holds.

    It is made next to its place and put there when it is whole, so that a crash leaves none.
    told: items done, of how many, and what is done with them.
    """
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty: name a folder that is")
    vectors, labels = read_vectors(index_file, model)
    item_ids, metadata = [str(label) for label in labels.tolist()], None
    if ids_file is not None:
        item_ids, metadata = read_ids(ids_file)
        if len(item_ids) != len(vectors):
            raise InputError(
                f"{index_file} holds {len(vectors)} vectors and {ids_file} names {len(item_ids)} "
                "ids: they belong to different states of the index"
            )
    check_ids(item_ids)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    with create(unfinished) as gallery:
        for start in range(0, len(item_ids), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            gallery.upsert(
                item_ids[part],
                vectors[part],
                space=model,
                metadata=None if metadata is None else metadata[part],
            )
            told(min(part.stop, len(item_ids)), len(item_ids), "copying vectors")
    if folder.exists():
        folder.rmdir()
    unfinished.rename(folder)


def read_ids(path: Path) -> tuple[list[str], list[dict[str, Any]] | None]:
    """Read the ids of an index, one per row, and the metadata if the file has any.

    .txt: an id per line. .npy: texts or whole numbers. .jsonl: an object per line with "id"; what
    else it has is metadata. Raises InputError when the file cannot be read.
    """
    if path.suffix not in (".txt", ".npy", ".jsonl"):
        raise InputError(f"{path}: ids are read from .txt, .npy or .jsonl")
    if path.suffix == ".npy":
        return array_files.read_ids(path), None
    lines = [line for _, line in text_lines(path)]
    if path.suffix == ".txt":
        return lines, None
    try:
        rows = [json.loads(line) for line in lines]
        return [str(row.pop("id")) for row in rows], rows
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: expected an object with an id in each line") from error


def read_vectors(path: Path, model: ModelId) -> tuple[Vectors, NDArray[np.int64]]:
    """Read all vectors of an index and their labels, in the order in which they were added.

    Indexes that keep whole vectors can be read: flat, HNSW over flat, IVF over flat, and any of
    these with ids of its own. Raises StoreError for others, and when it does not fit the model.
    """
    try:
        whole = faiss.read_index(str(path))  # has to outlive the parts that are looked at below
    except RuntimeError as error:
        raise StoreError(f"{path} is not an index that FAISS can read: {error}") from error
    index, labels = whole, None
    if isinstance(index, faiss.IndexIDMap):  # and IndexIDMap2, which is one
        labels = faiss.vector_to_array(index.id_map)
        index = faiss.downcast_index(index.index)
    if index.d != model.dimension:
        raise StoreError(f"{path} holds vectors of {index.d} numbers; {model} makes other ones")
    euclidean = index.metric_type == faiss.METRIC_L2
    if model.metric == ("dot" if euclidean else "l2"):
        raise StoreError(
            f"{path} compares by {'the Euclidean distance' if euclidean else 'the inner product'}, "
            f"and {model} by {model.metric!r}"
        )
    if isinstance(index, faiss.IndexIVFFlat):
        vectors, places = _of_lists(index)
        return vectors, places if labels is None else labels[places]
    if isinstance(index, faiss.IndexHNSWFlat):
        index = faiss.downcast_index(index.storage)
    if not isinstance(index, faiss.IndexFlat):
        raise StoreError(
            f"{path} is a {type(index).__name__}, which does not keep vectors whole: make the "
            "gallery from the vectors themselves, by `create` and `upsert`"
        )
    flat = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
    rows: Vectors = flat.reshape(index.ntotal, index.d).copy()
    return rows, np.arange(index.ntotal) if labels is None else labels


def _of_lists(index: Any) -> tuple[Vectors, NDArray[np.int64]]:
    """Read the parts of an IVF index, and put their rows into the order of their labels."""
    vectors, labels = [np.empty((0, index.d), np.float32)], [np.empty(0, np.int64)]
    lists = index.invlists
    for part in range(index.nlist):
        n = lists.list_size(part)
        if n:
            codes = faiss.rev_swig_ptr(lists.get_codes(part), n * index.d * 4)
            vectors.append(codes.view(np.float32).reshape(n, index.d).copy())
            labels.append(faiss.rev_swig_ptr(lists.get_ids(part), n).copy())
    everything = np.concatenate(labels)
    order = np.argsort(everything, kind="stable")
    return np.concatenate(vectors)[order], everything[order]
