"""An index that FAISS built over many vectors. It never changes; what leaves it is marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from hotfill.extras import faiss_search, need

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hotfill.types import Metric, ModelId, Vectors

faiss = need("faiss", "faiss")

Kind: TypeAlias = Literal["flat", "hnsw", "ivf"]
"""How a side is searched: by comparing with all, along a graph, or in the nearest parts."""

_LEAST_LIVE = 2_000  # below, comparing with all is as quick, and exact
_LEAST_SHARE_LIVE = 0.1
_NEIGHBOURS, _CANDIDATES_BUILDING, _CANDIDATES = 32, 200, 64  # of a graph
_PARTS_LOOKED_AT = 16  # one in 16, at least 8
_MOST_WIDENING = 16.0
_ADDED_AT_ONCE = 1_000  # between two words of how far it is


class Built:
    """The index, the items in it, and which of them are still there.

    ids, origins: one per position; what made each vector, as in `ItemState`. Marking needs the
    store's turn to write, searching one to read.
    """

    def __init__(
        self, index: Any, ids: Sequence[str], origins: Sequence[str], live: NDArray[np.bool_]
    ) -> None:
        self.ids, self.origins = ids, origins
        self._index = index
        self._live = live
        self._place = {ids[at]: at for at in np.flatnonzero(live).tolist()}
        self._selector: Any = None  # of the live ones; made by the first search after a change

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._place

    @property
    def share_live(self) -> float:
        """How many of the vectors are of items still there, 0 to 1."""
        return len(self._place) / max(1, len(self.ids))

    @property
    def spent(self) -> bool:
        """Whether so little is left that comparing with all of it is as quick."""
        return len(self) < _LEAST_LIVE or self.share_live < _LEAST_SHARE_LIVE

    def bury(self, item_id: str) -> None:
        """Mark an item as gone, if it is here."""
        at = self._place.pop(item_id, None)
        if at is not None:
            self._live[at] = False
            self._selector = None

    def left(self) -> tuple[list[int], Vectors]:
        """Return the positions of the items still here, and their vectors."""
        places = np.flatnonzero(self._live)
        return places.tolist(), self._vectors(places)

    def search(
        self, queries: Vectors, k: int, metric: Metric, ef: int | None, passing: set[str] | None
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Find for each query positions and scores of the k best. passing: no others than these."""
        live, n, selector = self._live, len(self), self._selector
        if passing is not None:
            live = np.zeros_like(live)
            live[[self._place[item_id] for item_id in passing if item_id in self._place]] = True
            n, selector = int(live.sum()), None
        if n < _LEAST_LIVE:
            places = np.flatnonzero(live)
            found = nearest(queries, self._vectors(places), k, metric) if n else []
            return [(places[at], scores) for at, scores in found] or _nothing(len(queries))
        if selector is None and n < len(live):
            selector = faiss.IDSelectorBitmap(np.packbits(live, bitorder="little"))
            if passing is None:
                self._selector = selector
        # What is passed by counts as looked at, so more has to be looked at.
        params = self._params(selector, min(_MOST_WIDENING, len(live) / n), max(k, ef or 0))
        scores, positions = faiss_search(self._index, queries, min(k, n), params)
        if metric == "l2":
            scores = -np.sqrt(np.maximum(scores, 0))
        return [
            (at[at >= 0], row[at >= 0]) if at[-1] < 0 else (at, row)
            for at, row in zip(positions, scores, strict=True)
        ]

    def _vectors(self, places: NDArray[np.int64]) -> Vectors:
        vectors: Vectors = self._index.reconstruct_batch(places)
        return vectors

    def _params(self, selector: Any, widening: float, candidates: int) -> Any:
        if isinstance(self._index, faiss.IndexIVF):
            parts = max(8, self._index.nlist // _PARTS_LOOKED_AT)
            n = min(self._index.nlist, int(widening * parts))
            return faiss.SearchParametersIVF(sel=selector, nprobe=n)
        n = int(widening * max(_CANDIDATES, candidates))
        return faiss.SearchParametersHNSW(sel=selector, efSearch=n)


def make_index(
    kind: Kind, space: ModelId, vectors: Vectors, told: Callable[[int], None] = lambda done: None
) -> Any:
    """Let FAISS build an index over vectors: a graph, or parts around centres.

    told: how many of them are in it, now and then.
    """
    metric = _metric(space)
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(space.dimension, _NEIGHBOURS, metric)
        index.hnsw.efConstruction = _CANDIDATES_BUILDING
    else:
        quantizer = faiss.IndexFlat(space.dimension, metric)
        parts = max(1, int(4 * np.sqrt(len(vectors))))
        index = faiss.IndexIVFFlat(quantizer, space.dimension, parts, metric)
        index.cp.min_points_per_centroid = 1  # a warning to the screen helps nobody
        _train(index, quantizer, vectors, told)
        index.set_direct_map_type(faiss.DirectMap.Array)
    for start in range(0, len(vectors), _ADDED_AT_ONCE):
        index.add(vectors[start : start + _ADDED_AT_ONCE])
        told(min(start + _ADDED_AT_ONCE, len(vectors)))
    return index


def _train(index: Any, quantizer: Any, vectors: Vectors, told: Callable[[int], None]) -> None:
    """Find the centres of an index's parts, as FAISS does, but one round at a time.

    told: called before each, and may raise to end it.
    """
    settings = index.cp
    rounds, settings.niter = settings.niter, 1
    clustering = faiss.Clustering(index.d, index.nlist, settings)
    for _ in range(rounds):
        told(0)
        quantizer.reset()
        clustering.train(vectors, quantizer)  # begins with the centres of the round before
    index.train(vectors)  # finds the centres there, and has nothing left to do


def graph_in(path: Path, space: ModelId) -> tuple[Any, Vectors] | None:
    """Read the graph of an index file, and the vectors it leads along; None for other indexes.

    For vectors of unit length the nearest by the distance are those by the inner product, so that
    a graph of either metric serves. The vectors live as long as the graph.
    """
    try:
        index = whole = faiss.read_index(str(path))
    except RuntimeError:  # it is gone: nothing needs it once its vectors are copied
        return None
    if isinstance(whole, faiss.IndexIDMap):
        index = faiss.downcast_index(whole.index)
        index.referenced_objects = [whole]  # which owns it
    if not isinstance(index, faiss.IndexHNSWFlat):
        return None
    storage = faiss.downcast_index(index.storage)
    index.metric_type = storage.metric_type = _metric(space)
    return index, faiss.rev_swig_ptr(storage.get_xb(), index.ntotal * index.d).reshape(-1, index.d)


def _metric(space: ModelId) -> int:
    return int(faiss.METRIC_L2 if space.metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def save_index(index: Any, path: Path) -> None:
    """Write an index to a file."""
    faiss.write_index(index, str(path))


def load_index(path: Path) -> Any:
    """Read an index that `save_index` wrote."""
    return faiss.read_index(str(path))


def _nothing(n_queries: int) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    return [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))] * n_queries


def nearest(
    queries: Vectors, vectors: Vectors, k: int, metric: Metric
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Compare with every vector: for each query the rows and scores of the k best, best first."""
    k = min(k, len(vectors))
    if k == 0:
        return _nothing(len(queries))
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    scores, rows = faiss.knn(queries, vectors, k, metric=kind)
    if metric == "l2":  # it gives the square
        scores = -np.sqrt(np.maximum(scores, 0))
    return list(zip(rows, scores, strict=True))
