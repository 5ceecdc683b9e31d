"""An embedder that remembers: a vector that was made, and perhaps paid for, is not made twice."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from hotfill.embedders.content_hash import content_hash
from hotfill.embedders.vector_cache import Precision, VectorCache
from hotfill.errors import ConfigError, EmbedError, InputError, ShapeError
from hotfill.factories import named

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.types import Embedder, ModelId, Vectors


# Embedders that hand over what is made as soon as it is made -------------------------------------


@runtime_checkable
class InParts(Protocol):
    """What the cache looks for, so that what was paid for is kept even if the rest fails."""

    def parts(self, contents: Sequence[Any], /) -> Iterator[tuple[list[int], Vectors]]:
        """Yield rows of the call and their vectors, in any order, each row at most once.

        Raises EmbedError after everything that could be made was yielded.
        """
        ...


_BATCH = 256  # contents given to an embedder that does not hand over parts by itself
_POLL_SECONDS = 0.05  # how often a vector that somebody else is making is looked for


class CachedEmbedder:
    """Another embedder, asked only for what the cache does not hold.

    embedder: what makes the vectors. cache: where they are kept, under the embedder's model id.
    hash_of: makes bytes that stand for a content; by default `content_hash`.

    Contents that occur twice in a call, or that another thread or process is having embedded at
    this moment, are embedded once. Every part that the embedder hands over (`InParts`; otherwise
    every 256 contents) is on disk before the next one is asked for, so a failure or a kill loses
    at most what is under way.
    Raises ConfigError for float16 and a model without unit vectors.
    """

    def __init__(
        self,
        embedder: Embedder,
        cache: VectorCache,
        *,
        hash_of: Callable[[Any], bytes] = content_hash,
    ) -> None:
        if cache.precision == "float16" and not embedder.model_id.normalised:
            raise ConfigError(
                f"float16 suits vectors of unit length only, and those of {embedder.model_id} have "
                "any; use float32"
            )
        self._embedder = embedder
        self._cache = cache
        self._hash_of = hash_of
        self.made = 0  # vectors asked of the embedder by this object
        self.reused = 0  # vectors that were there

    @property
    def model_id(self) -> ModelId:
        """The space of the vectors: the embedder's."""
        return self._embedder.model_id

    def for_queries(self) -> Embedder | None:
        """Return the embedder's own of queries, which come too seldom twice to be kept."""
        for_queries = getattr(self._embedder, "for_queries", None)
        made: Embedder | None = None if for_queries is None else for_queries()
        return made

    def __call__(self, contents: Sequence[Any], /) -> Vectors:
        """Embed contents: float32 (n, dimension). Raises as the embedder does, naming rows here."""
        hashes = self._hashes(contents)
        first = {key: row for row, key in reversed(list(enumerate(hashes)))}
        known = self._cache.get(self.model_id, list(first))
        self.reused += len(known)
        while len(known) < len(first):
            missing = [key for key in first if key not in known]
            owner = uuid.uuid4().hex
            mine = self._cache.claim(self.model_id, missing, owner)
            if mine:
                try:
                    self._make(known, mine, contents, first, hashes)
                except BaseException:
                    self._cache.release(self.model_id, owner)
                    raise
                continue
            found = self._cache.get(self.model_id, missing)  # made by somebody else
            self.reused += len(found)
            known |= found
            if not found:
                time.sleep(_POLL_SECONDS)
        vectors = np.empty((len(contents), self.model_id.dimension), dtype=np.float32)
        for row, key in enumerate(hashes):
            vectors[row] = known[key]
        return vectors

    def keep(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keep vectors that were made elsewhere, by content hash; what is there stays.

        vectors: float32 (dimension,) each, none of them all zero, NaN or infinite.
        """
        self._cache.put(self.model_id, vectors)

    @property
    def uncached(self) -> Embedder:
        """What makes the vectors that the cache does not hold."""
        return self._embedder

    @property
    def kept(self) -> int:
        """How many vectors of the model are kept, of whatever contents."""
        return self._cache.count(self.model_id)

    def cached(self, contents: Iterable[Any], /) -> int:
        """Count the contents whose vectors are kept. Embeds nothing."""
        hashes = self._hashes(list(contents))
        known = self._cache.get(self.model_id, list(dict.fromkeys(hashes)))
        return sum(key in known for key in hashes)

    def close(self) -> None:
        """Close the cache, and the embedder where it can be closed. Idempotent."""
        self._cache.close()
        close = getattr(self._embedder, "close", None)
        if close is not None:
            close()

    def _hashes(self, contents: Sequence[Any]) -> list[bytes]:
        hashes = []
        for row, content in enumerate(contents):
            try:
                hashes.append(self._hash_of(content))
            except InputError as error:
                raise EmbedError(str(error), rows=[row], retryable=False) from error
        return hashes

    def _make(
        self,
        known: dict[bytes, NDArray[np.float32]],
        keys: Sequence[bytes],
        contents: Sequence[Any],
        first: Mapping[bytes, int],
        hashes: Sequence[bytes],
    ) -> None:
        """Have contents embedded, keep every part, and add it to what is known."""
        unusable: list[bytes] = []
        try:
            for rows, vectors in self._parts([contents[first[key]] for key in keys]):
                part = dict(zip([keys[row] for row in rows], self._checked(vectors), strict=True))
                good = {key: vector for key, vector in part.items() if _is_usable(vector)}
                unusable += part.keys() - good.keys()
                known.update(self._cache.put(self.model_id, good))
                self.made += len(good)
        except EmbedError as error:
            failed = {keys[row] for row in error.rows if row < len(keys)}
            raise EmbedError(
                str(error), rows=_rows(hashes, failed), retryable=error.retryable
            ) from error
        if unusable:
            raise EmbedError(
                f"{len(unusable)} vectors of {self.model_id} hold NaN, infinite or only zero "
                "values; they were not kept",
                rows=_rows(hashes, unusable),
                retryable=False,
            )

    def _checked(self, vectors: Vectors) -> Vectors:
        rows = np.asarray(vectors, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.model_id.dimension:
            raise ShapeError(
                f"{self.model_id}: expected vectors of shape (n, {self.model_id.dimension}), "
                f"got {rows.shape}; they were not kept"
            )
        return rows

    def _parts(self, contents: Sequence[Any]) -> Iterator[tuple[list[int], Vectors]]:
        if isinstance(self._embedder, InParts):
            yield from self._embedder.parts(contents)
            return
        for begin in range(0, len(contents), _BATCH):
            some = contents[begin : begin + _BATCH]
            try:
                vectors = self._embedder(some)
            except EmbedError as error:
                rows = [begin + row for row in error.rows]
                raise EmbedError(str(error), rows=rows, retryable=error.retryable) from error
            if len(vectors) != len(some):
                raise EmbedError(
                    f"{self.model_id}: expected {len(some)} vectors, got {len(vectors)}",
                    retryable=False,
                )
            yield list(range(begin, begin + len(some))), vectors


class KeptEmbedder:
    """Another embedder, asked only for contents whose vectors were kept before.

    embedder, cache: as for `CachedEmbedder`. What is made is not kept. Contents that cannot be told
    apart by a hash go to the embedder.
    """

    def __init__(self, embedder: Embedder, cache: VectorCache) -> None:
        self.uncached = embedder
        self._cache = cache

    @property
    def model_id(self) -> ModelId:
        """The space of the vectors: the embedder's."""
        return self.uncached.model_id

    def __call__(self, contents: Sequence[Any], /) -> Vectors:
        """Embed contents: float32 (n, dimension). Raises as the embedder does, naming rows here."""
        known = self._known(contents)
        missing = [row for row in range(len(contents)) if row not in known]
        vectors = np.empty((len(contents), self.model_id.dimension), dtype=np.float32)
        for row, vector in known.items():
            vectors[row] = vector
        if missing:
            try:
                vectors[missing] = self.uncached([contents[row] for row in missing])
            except EmbedError as error:
                rows = [missing[row] for row in error.rows]
                raise EmbedError(str(error), rows=rows, retryable=error.retryable) from error
        return vectors

    @property
    def kept(self) -> int:
        """How many vectors of the model are kept, of whatever contents."""
        return self._cache.count(self.model_id)

    def cached(self, contents: Iterable[Any], /) -> int:
        """Count the contents whose vectors are kept. Embeds nothing."""
        return len(self._known(list(contents)))

    def close(self) -> None:
        """Close the cache, and the embedder where it can be closed. Idempotent."""
        self._cache.close()
        close = getattr(self.uncached, "close", None)
        if close is not None:
            close()

    def _known(self, contents: Sequence[Any]) -> dict[int, NDArray[np.float32]]:
        try:
            hashes = [content_hash(content) for content in contents]
        except InputError:
            return {}
        found = self._cache.get(self.model_id, list(dict.fromkeys(hashes)))
        return {row: found[key] for row, key in enumerate(hashes) if key in found}


def _rows(hashes: Sequence[bytes], wanted: Collection[bytes]) -> list[int]:
    return [row for row, key in enumerate(hashes) if key in wanted]


def _is_usable(vector: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(vector).all() and vector.any())


def from_options(
    *,
    path: str,
    embedder: str,
    options: Mapping[str, Any] | None = None,
    precision: Precision = "float32",
) -> CachedEmbedder:
    """Make a cached embedder from the options of a configuration file.

    path: of the cache's file. embedder, options: the embedder to wrap, as in `[new]`.
    Raises ConfigError.
    """
    factory = named("embedder", embedder)
    cache = VectorCache(Path(path).expanduser(), precision=precision)
    return CachedEmbedder(factory(**(options or {})), cache)
