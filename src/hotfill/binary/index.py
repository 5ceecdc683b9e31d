"""An index of codes: a fast scan for candidates, an exact second pass over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.binary.code_file import Codes
from hotfill.binary.code_table import CodeTable
from hotfill.binary.codes import CodeFormat, check_width, unpack
from hotfill.binary.rerank import (
    CodeHits,
    asymmetric_candidates,
    best,
    symmetric_candidates,
)
from hotfill.binary.scan import Scanner, fit_lists, threads
from hotfill.errors import DuplicateItemError, InputError, ModelMismatchError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.types import ModelId, Vectors

_BATCH = 65_536
_GATHER_BYTES = 64 << 20
_CANDIDATES = {1: 4, 2: 32, 4: 64}  # times k, by how many of a scan's bits make one that it reads


class CodeIndex:
    """Items as codes, searched by codes (symmetric) or by float queries (asymmetric).

    Memory per item: the nibbles for the scan (the packed row, and one byte at most), 16 bytes of
    numbers, and the packed row with its factor again for the second pass; the latter stays on disk
    when the codes come from `read_codes`.
    Searches may run in several threads at once; writes need the caller's lock.
    """

    def __init__(
        self,
        codes: Codes,
        items: NDArray[np.int64] | None = None,
        *,
        lists: int = 1,
        centroids: NDArray[np.float32] | None = None,
        scan_bits: int | None = None,
        seed: int = 0,
    ) -> None:
        """Build over codes, possibly none, possibly mapped from a file.

        items: int64 (n,) >= 0, different; row numbers unless given.
        lists: inverted lists; 1 scans everything. About the square root of n suits large n.
        centroids: of the lists, when they are known already (see `load_index`).
        scan_bits: of each dimension that the scan reads, 1, 2 or 4; all by default. Fewer take less
            memory and are quicker, and want more `candidates` in a search.
        Raises InputError, ShapeError, DuplicateItemError.
        """
        numbers = np.arange(len(codes)) if items is None else _checked(items, len(codes))
        self._format = codes.code_format
        self._space = codes.space
        if centroids is None:
            if not 1 <= lists <= max(1, len(codes)):
                raise InputError(f"expected 1 to {len(codes)} lists for {len(codes)}, got {lists}")
            sample = self._sample(codes, min(len(codes), 64 * lists), seed)
            centroids = fit_lists(sample, lists, seed=seed)
        self._centroids = centroids
        if scan_bits not in (None, 1, 2, 4):
            raise InputError(f"scan_bits: expected 1, 2 or 4, got {scan_bits}")
        self._scan_bits = scan_bits
        self._scanner = Scanner(self._format, centroids, bits=scan_bits)
        self._table = CodeTable(codes, numbers)
        for start in range(0, len(codes), _BATCH):
            rows = slice(start, start + _BATCH)
            levels = unpack(codes.packed[rows], self._format)
            self._scanner.add(np.arange(start, start + len(levels)), levels)

    def __len__(self) -> int:
        return len(self._scanner)

    @property
    def code_format(self) -> CodeFormat:
        """Dimension and bits of the codes."""
        return self._format

    @property
    def space(self) -> ModelId | None:
        """The model id of the codes."""
        return self._space

    @property
    def centroids(self) -> NDArray[np.float32]:
        """Centres of the inverted lists, float32 (lists, dimension), in levels."""
        return self._centroids

    @property
    def scan_bits(self) -> int | None:
        """Bits of each dimension that the scan reads; None: all."""
        return self._scan_bits

    def add(self, codes: Codes, items: NDArray[np.int64]) -> None:
        """Add items, int64 (n,) numbers that are not here yet.

        Raises DuplicateItemError, ShapeError, InputError, ModelMismatchError.
        """
        self._check_codes(codes)
        numbers = _checked(items, len(codes))
        present = self._table.slots_of(numbers)
        if present.size:
            raise DuplicateItemError([str(n) for n in self._table.numbers(present)])
        slots = self._table.add(codes, numbers)
        self._scanner.add(slots, unpack(codes.packed, self._format))

    def remove(self, items: NDArray[np.int64]) -> int:
        """Remove items; those that are not here are ignored. Returns how many were."""
        slots = self._table.slots_of(np.asarray(items, np.int64))
        if slots.size:
            self._scanner.remove(slots)
            self._table.remove(slots)
        return int(slots.size)

    def search(
        self,
        queries: Codes | Vectors,
        k: int,
        *,
        candidates: int | None = None,
        probes: int = 8,
        thread_count: int | None = None,
    ) -> CodeHits:
        """Find the k best items of each query.

        queries: codes of the same format for symmetric search (scores are cosines of codes), or
            float32 (q, dimension) in code space, from `BinaryEncoder.queries`, for asymmetric
            search (scores estimate the cosine in the source space).
        candidates: this many times k come out of the scan for the exact second pass, >= 1; by
            default 4 where all bits are scanned, 32 where half are and 64 where a quarter is, with
            which at most 0.002 of the ten nearest were missed that a whole scan finds of image
            features, 0.006 of made vectors that are hard to tell apart.
        probes: inverted lists visited. thread_count: for the scan, over queries; None is FAISS's.
        Fewer than k items found leave item -1 and score -inf.
        Raises InputError (k, candidates < 1), ShapeError, ModelMismatchError.
        """
        if candidates is None:
            candidates = _CANDIDATES[self._format.stored_bits // self._scanner.bits]
        if k < 1 or candidates < 1 or probes < 1:
            raise InputError(
                f"k, candidates and probes must be >= 1, got {k}, {candidates}, {probes}"
            )
        if isinstance(queries, Codes):
            self._check_codes(queries)
        else:
            check_width(queries, self._format.dimension, "queries in code space")
            queries = np.ascontiguousarray(queries, np.float32)
        wished = min(len(self), k * candidates)
        if wished == 0 or len(queries) == 0:
            empty = np.empty((len(queries), 0))
            return best(empty.astype(np.int64), empty.astype(np.float32), k)
        with threads(thread_count):
            if isinstance(queries, Codes):
                levels = unpack(queries.packed, self._format)
                _, slots = self._scanner.search_codes(levels, wished, probes)
            else:
                _, slots = self._scanner.search_floats(queries, wished, probes)
        scores = np.empty(slots.shape, np.float32)
        step = max(1, _GATHER_BYTES // (4 * wished * self._format.dimension))
        for start in range(0, len(slots), step):
            part = slice(start, start + step)
            found = self._table.take(np.maximum(slots[part], 0).ravel())
            if isinstance(queries, Codes):
                scores[part] = symmetric_candidates(queries.take(part), found)
            else:
                scores[part] = asymmetric_candidates(queries[part], found)
        return best(self._table.numbers(slots), scores, k)

    def contents(self) -> tuple[Codes, NDArray[np.int64]]:
        """Copy all codes and their item numbers, for saving."""
        slots = self._table.live()
        return self._table.take(slots), self._table.numbers(slots)

    def _check_codes(self, codes: Codes) -> None:
        if codes.code_format != self._format:
            raise ShapeError(f"codes: expected {self._format}, got {codes.code_format}")
        if codes.space is not None and self._space is not None and codes.space != self._space:
            raise ModelMismatchError("codes", self._space, codes.space)

    def _sample(self, codes: Codes, rows: int, seed: int) -> NDArray[np.uint8]:
        if len(codes) == 0:
            return np.zeros((1, self._format.dimension), np.uint8)
        chosen = np.random.default_rng(seed).choice(len(codes), rows, replace=False)
        return unpack(codes.packed[np.sort(chosen)], self._format)


def _checked(items: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    numbers = np.asarray(items)
    if numbers.shape != (rows,) or not np.issubdtype(numbers.dtype, np.integer):
        raise ShapeError(f"expected {rows} whole item numbers, got {numbers.dtype} {numbers.shape}")
    if numbers.size and numbers.min() < 0:
        raise InputError(f"item numbers are >= 0, got {int(numbers.min())}")
    unique, counts = np.unique(numbers, return_counts=True)
    if len(unique) != rows:
        raise DuplicateItemError([str(number) for number in unique[counts > 1]])
    return numbers.astype(np.int64)
