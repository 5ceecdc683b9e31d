"""An embedder whose vectors are codes, for any store that holds float vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.binary.codes import grid_values, unpack
from hotfill.errors import ModelMismatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.binary.encoder import BinaryEncoder
    from hotfill.types import Embedder, ModelId, Vectors


class BinaryEmbedder:
    """A float embedder followed by a binary encoder; an `Embedder` of the code's space.

    Its vectors are the codes' grid values as float32 (n, code dimension): compared by cosine, as
    the space says, and packed again by `levels_from_values`, also when the store scaled them.
    """

    def __init__(
        self, embedder: Embedder, encoder: BinaryEncoder, *, float_queries: bool = False
    ) -> None:
        """Put them together.

        float_queries: give float queries in code space instead of codes. Such an embedder belongs
            on the query side only; its space is the same.
        Raises ModelMismatchError when the encoder was made for another model.
        """
        if embedder.model_id != encoder.source:
            raise ModelMismatchError("embedder to binarise", encoder.source, embedder.model_id)
        self.embedder = embedder
        self._encoder = encoder
        self._float_queries = float_queries

    @property
    def model_id(self) -> ModelId:
        """The space of the codes."""
        return self._encoder.space

    def for_queries(self) -> BinaryEmbedder:
        """Give the one that makes float queries in the same space."""
        return BinaryEmbedder(self.embedder, self._encoder, float_queries=True)

    def __call__(self, contents: Sequence[Any], /) -> Vectors:
        """Embed and binarise. Raises EmbedError."""
        return self.carry(self.embedder(contents))

    def carry(self, vectors: Vectors) -> Vectors:
        """Binarise vectors that the embedder made already."""
        if self._float_queries:
            return self._encoder.queries(vectors)
        codes = self._encoder.encode(vectors)
        return np.asarray(grid_values(unpack(codes.packed, codes.code_format), codes.code_format))


class Binarisation:
    """The encoder as a `Transform`: float vectors of the source to grid values of their codes.

    It is an `Embedder` too, one whose contents are vectors: with a source that reads stored
    vectors, a gallery goes from float to binary without its contents being read again.
    """

    def __init__(self, encoder: BinaryEncoder) -> None:
        self._encoder = encoder

    @property
    def source(self) -> ModelId:
        """The space of the float vectors."""
        return self._encoder.source

    @property
    def target(self) -> ModelId:
        """The space of the codes."""
        return self._encoder.space

    @property
    def model_id(self) -> ModelId:
        """The space of the codes."""
        return self._encoder.space

    @property
    def fingerprint(self) -> str:
        """The space's own: a code made from a stored vector is the model's code, no estimate."""
        return self._encoder.space.fingerprint

    def __call__(self, vectors: Vectors | Sequence[Any], /) -> Vectors:
        """Binarise (n, source dimension) to float32 (n, code dimension)."""
        codes = self._encoder.encode(np.asarray(vectors))
        return np.asarray(grid_values(unpack(codes.packed, codes.code_format), codes.code_format))
