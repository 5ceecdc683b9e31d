"""The fast first pass: FAISS's 4-bit fast-scan kernels with our grid as their codebooks.

A nibble holds one dimension of 4 (or 3) bits, two of 2 bits, or four of 1 bit; its 16 centroids are
the product grid, in units of levels. The kernel sums one table entry per nibble, in 8-bit integers.

Distances are squared Euclidean ones, because the length of a code varies and the inner product
alone ignores it (up to 10 points of recall, measured):

* Symmetric (codes ask codes): entries are integers (c - c')^2. One more nibble, the *ruler*, is the
  same for all items; its table spans exactly 255, which fixes the rounding step of the whole table
  at one. So the distances are exact integers, as long as the sum of the spans stays below 65,536
  (1 or 2 bits: 7,000 dimensions; 4 bits: about 400; beyond, the step grows).
* Asymmetric (floats ask codes): entries are rounded to 1/255 of the widest entry's span.

A coarse scan reads the first bits of each dimension alone: its cells are those of the grid joined,
each with the middle of its levels. A single query waits for the memory that it reads, so half the
bits are nearly twice as fast; what they confuse is told apart by the exact second pass.

Inverted lists: an item is scanned when its list is among the `probes` nearest to the query; one
list means everything is scanned, with the same kernel.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.binary.codes import CodeFormat, Levels
from hotfill.extras import faiss_search, need
from hotfill.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hotfill.types import Vectors

_RULER_SPAN = 255.0
# Squared distance ranks like the cosine near the cosine for which the query's length is right.
# Measured at 2 and 4 bits on image and text vectors: 0.8 is best for the scan alone (0.694 of the
# neighbours against 0.683 at 1.0 and 0.620 at 0.3); with the exact second pass over 2 k or 4 k
# candidates everything from 0.5 to 1.0 gives the same.
_TYPICAL_COSINE = 0.8


class Scanner:
    """FAISS lists of nibbles under slot numbers. Not safe for writing from several threads."""

    def __init__(
        self,
        code_format: CodeFormat,
        centroids: NDArray[np.float32],
        *,
        bits: int | None = None,
    ) -> None:
        """Make it empty. centroids: float32 (lists, dimension), in levels; see `fit_lists`.

        bits: of each dimension that are read, 1, 2 or 4; all when None or more than there are.
        """
        self._faiss = need("faiss", "faiss")
        self._format = code_format
        self.bits = min(bits or code_format.stored_bits, code_format.stored_bits)
        self._joined = 2 ** max(0, code_format.bits - self.bits)  # levels in a cell
        self._per_nibble = 4 // self.bits
        nibbles = -(-code_format.dimension // self._per_nibble)
        self._width = (nibbles + 1) * self._per_nibble  # the last nibble is the ruler
        faiss = self._faiss
        coarse = faiss.IndexFlatL2(self._width)
        coarse.add(self._widen(centroids))
        self._coarse = coarse  # kept here: FAISS does not own it
        self._index = faiss.IndexIVFPQFastScan(
            coarse, self._width, len(centroids), nibbles + 1, 4, faiss.METRIC_L2
        )
        self._index.by_residual = False
        faiss.copy_array_to_vector(self._codebooks(nibbles).ravel(), self._index.pq.centroids)
        self._index.is_trained = True

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, slots: NDArray[np.int64], levels: Levels) -> None:
        """Put items into their nearest lists."""
        self._index.add_with_ids(self._widen(levels), np.ascontiguousarray(slots))

    def remove(self, slots: NDArray[np.int64]) -> None:
        """Take items out."""
        lists = self._faiss.downcast_InvertedLists(self._index.invlists)
        before = [lists.list_size(number) for number in range(self._index.nlist)]
        self._index.remove_ids(np.ascontiguousarray(slots))
        for number, size in enumerate(before):
            if lists.list_size(number) != size:
                self._wipe_end(lists, number)

    def _wipe_end(self, lists: Any, number: int) -> None:
        """Set to zero what a removal left behind the last item of a list, in its last block.

        FAISS 1.15.1 adds the next items there by "or", so they would get codes mixed of two.
        """
        whole, used = divmod(lists.list_size(number), lists.n_per_block)
        if used == 0:
            return
        codes = self._faiss.rev_swig_ptr(lists.get_codes(number), (whole + 1) * lists.block_size)
        last = codes.reshape(-1, lists.block_size)[-1:]
        nothing = np.zeros(lists.packer.code_size, np.uint8)
        for place in range(used, lists.n_per_block):
            lists.packer.pack_1(nothing, place, last)

    def search_codes(
        self, levels: Levels, k: int, probes: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the k nearest by squared distance in levels: distances and slots, both (q, k).

        Missing places hold slot -1.
        """
        return self._search(self._widen(levels), k, probes)

    def search_floats(
        self, queries: Vectors, k: int, probes: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the k nearest to float queries in code space, (q, dimension); as `search_codes`."""
        return self._search(self.float_rows(queries), k, probes)

    def float_rows(self, queries: Vectors) -> Vectors:
        """Bring float queries to the typical length of a code and into units of levels."""
        rows = np.zeros((len(queries), self._width), np.float32)
        scale = np.float32(2**self._format.loops / 2)
        middle = np.float32(self._format.top_level / 2)
        wished = np.float32(typical_length(self._format) / _TYPICAL_COSINE)
        rows[:, : self._format.dimension] = unit(queries) * (wished * scale) + middle
        # Half-way between its two ends the ruler adds the same to all and widens no table.
        rows[:, -self._per_nibble] = np.sqrt(_RULER_SPAN) / 2
        return rows

    def _search(
        self, rows: Vectors, k: int, probes: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        parameters = self._faiss.SearchParametersIVF(nprobe=min(probes, self._index.nlist))
        return faiss_search(self._index, rows, k, parameters)

    def _widen(self, levels: NDArray[Any]) -> Vectors:
        rows = np.zeros((len(levels), self._width), np.float32)
        rows[:, : self._format.dimension] = levels
        return rows

    def _codebooks(self, nibbles: int) -> NDArray[np.float32]:
        """Centroids of all nibbles, float32 (nibbles + 1, 16, dimensions per nibble)."""
        cells = np.arange(2**self.bits, dtype=np.float32)
        cells = self._joined * cells + np.float32((self._joined - 1) / 2)
        # Three bits use eight of sixteen cells; the others repeat the last and widen no table.
        cells = np.minimum(cells, self._format.top_level)
        grid = np.stack(np.meshgrid(*[cells] * self._per_nibble, indexing="ij"), axis=-1)
        books = np.repeat(grid.reshape(1, 16, self._per_nibble), nibbles + 1, axis=0)
        books[-1] = 0
        books[-1, -1, 0] = np.sqrt(_RULER_SPAN)
        return np.asarray(books, np.float32)


# Root mean square of a standard normal variable rounded to the best grid, in grid values.
_GRID_DEVIATION = {1: 1.0, 2: 0.94, 3: 0.82, 4: 0.74}


def typical_length(code_format: CodeFormat) -> float:
    """Tell the length of a typical code in grid values: that of normal variables on the grid."""
    return float(np.sqrt(code_format.dimension) * _GRID_DEVIATION[code_format.bits])


def fit_lists(levels: Levels, lists: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Find the centres of inverted lists by k-means over codes, float32 (lists, dimension)."""
    if lists == 1:
        return np.asarray(levels.mean(axis=0)[None], np.float32)
    faiss = need("faiss", "faiss")
    means = faiss.Kmeans(levels.shape[1], lists, niter=10, seed=seed, max_points_per_centroid=64)
    means.train(levels.astype(np.float32))
    return np.asarray(means.centroids, np.float32)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let FAISS use this many threads inside the block; None leaves its setting."""
    if count is None:
        yield
        return
    faiss = need("faiss", "faiss")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
