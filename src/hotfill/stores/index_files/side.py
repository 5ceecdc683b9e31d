"""One side in memory: a built index that never changes, and rows for what came since."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.stores.base import Hits
from hotfill.stores.index_files.built import LEAST_LIVE, nearest
from hotfill.stores.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotfill.stores.index_files.built import Built
    from hotfill.types import ModelId, Vectors

_LEAST_SHARE_LIVE = 0.1


class Side:
    """The searched items of a space. Changing needs the store's turn to write."""

    def __init__(self, space: ModelId, built: Built | None = None) -> None:
        self._space = space
        self._built = built
        self._rows = Rows(space.dimension)

    def __len__(self) -> int:
        return len(self._rows.ids) + (0 if self._built is None else len(self._built))

    @property
    def share_built(self) -> float:
        """How good the built index still is: the share of it that lives, and of what it covers."""
        if self._built is None:
            return 0.0
        return min(self._built.share_live, len(self._built) / max(1, len(self)))

    def put(self, item_ids: Sequence[str], vectors: Vectors) -> None:
        """Give items vectors, in the place of those they have."""
        for item_id, vector in zip(item_ids, vectors, strict=True):
            if self._built is not None:
                self._built.bury(item_id)
            self._rows.put(item_id, vector)
        self._leave_built()

    def remove(self, item_ids: Iterable[str]) -> None:
        """Take items away, if they are here."""
        for item_id in item_ids:
            if item_id in self._rows:
                self._rows.remove(item_id)
            elif self._built is not None:
                self._built.bury(item_id)
        self._leave_built()

    def search(self, queries: Vectors, k: int, ef: int | None, passing: set[str] | None) -> Hits:
        """Find the k best items for each query. passing: no others than these."""
        ids, vectors = self._rows.ids, self._rows.filled
        if passing is not None:
            places = self._rows.places(passing)
            ids, vectors = [ids[at] for at in places], vectors[places]
        metric = self._space.metric
        lists = [
            ([ids[at] for at in places.tolist()], scores)
            for places, scores in nearest(queries, vectors, k, metric)
        ]
        if self._built is not None:
            merged = []
            for some, others in zip(
                lists, self._built.search(queries, k, metric, ef, passing), strict=True
            ):
                scores = np.concatenate([some[1], others[1]])
                order = np.argsort(-scores, kind="stable")[:k]
                names = some[0] + others[0]
                merged.append(([names[at] for at in order.tolist()], scores[order]))
            lists = merged
        return Hits(tuple(tuple(names) for names, _ in lists), tuple(s for _, s in lists))

    def _leave_built(self) -> None:
        """Go on without an index of which little is left."""
        built = self._built
        if built is None:
            return
        if len(built) < LEAST_LIVE or built.share_live < _LEAST_SHARE_LIVE:
            self._built = None
            for item_id, vector in zip(*built.left(), strict=True):
                self._rows.put(item_id, vector)
