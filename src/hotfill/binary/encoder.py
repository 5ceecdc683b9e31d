"""The binary encoder: float vectors of one model to codes, and float queries into code space."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hotfill.binary.code_file import Codes, as_factors
from hotfill.binary.codes import CodeFormat, check_width, grid_values, pack, unpack
from hotfill.errors import ConfigError, ModelMismatchError, ShapeError
from hotfill.types import ModelId

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.binary.preparation import Preparation
    from hotfill.binary.recurrent import Recurrent
    from hotfill.types import Vectors

_BATCH = 8192


@dataclass(frozen=True)
class BinaryEncoder:
    """Makes codes from the vectors of one model. Numpy only; train with `train_encoder`.

    source: the model whose vectors it takes; compared by cosine, or of unit length.
    preparation, recurrent: what is done to a vector. decoder: float32 (prepared dimension, code
    dimension), the linear map from a code back to the direction of its vector.

    Scores. Two codes are compared by their cosine (`hotfill.binary.scores.symmetric_scores`). A
    float query is compared with codes by `queries` and the code's factor: the score estimates the
    cosine of query and item in the source space, less a constant of the query (zero unless the
    preparation centres).
    """

    source: ModelId
    preparation: Preparation
    recurrent: Recurrent
    decoder: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.source.metric != "cosine" and not self.source.normalised:
            raise ConfigError(
                f"codes keep directions, not lengths: model {self.source} must be compared by "
                "cosine or give unit vectors"
            )
        expected = (self.preparation.kept, self.code_format.dimension)
        if self.decoder.shape != expected:
            raise ShapeError(f"decoder: expected shape {expected}, got {self.decoder.shape}")
        if len(self.preparation.mean) != self.source.dimension:
            raise ShapeError(
                f"preparation: expected a mean of {self.source.dimension} dimensions, "
                f"got {len(self.preparation.mean)}"
            )

    @property
    def code_format(self) -> CodeFormat:
        """Dimension and bits of the codes."""
        return self.recurrent.code_format

    @cached_property
    def space(self) -> ModelId:
        """The model id of the codes: differs whenever any weight of the encoder does."""
        done = f"{self.code_format.bits}-bit codes by {self.fingerprint}"
        before = self.source.preprocessing
        return ModelId(
            name=self.source.name,
            revision=self.source.revision,
            dimension=self.code_format.dimension,
            metric="cosine",
            normalised=False,
            preprocessing=f"{before}; {done}" if before else done,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of source, format and weights."""
        digest = hashlib.sha256(repr((self.source.to_dict(), self.code_format)).encode())
        for name, array in sorted(self.arrays().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:12]

    def encode(self, vectors: Vectors) -> Codes:
        """Binarise items, float32 (n, source dimension), batch by batch.

        The factor of a code is |x|^2 / <x, D b> for the prepared vector x and its decoded code
        D b: with it a query along x gets its exact score (RaBitQ's correction, method notes 4.3).
        Raises ShapeError, VectorError.
        """
        check_width(vectors, self.source.dimension, "vectors to binarise")
        packed = np.empty((len(vectors), self.code_format.row_bytes), np.uint8)
        factors = np.empty(len(vectors), np.float16)
        for start in range(0, len(vectors), _BATCH):
            rows = slice(start, start + _BATCH)
            prepared, lengths = self.preparation.items(vectors[rows])
            levels = self.recurrent(prepared)
            decoded = grid_values(levels, self.code_format) @ self.decoder.T
            agreement = np.einsum("ij,ij->i", prepared, decoded)
            # A code that points away from its vector says nothing about it: it scores zero.
            usable = agreement > 1e-6 * np.linalg.norm(decoded, axis=1)
            factor = np.divide(lengths, agreement, out=np.zeros_like(lengths), where=usable)
            packed[rows] = pack(levels, self.code_format)
            factors[rows] = as_factors(factor)
        return Codes(self.code_format, packed, factors, self.space)

    def queries(self, vectors: Vectors) -> Vectors:
        """Carry float queries into code space without rounding, float32 (n, code dimension).

        Raises ShapeError, VectorError.
        """
        return np.ascontiguousarray(self.preparation.queries(vectors) @ self.decoder)

    def decode(self, codes: Codes) -> Vectors:
        """Estimate the vectors that codes stand for, float32 (n, source dimension).

        Raises ModelMismatchError when another encoder made the codes.
        """
        self.check_codes(codes)
        values = grid_values(unpack(codes.packed, self.code_format), self.code_format)
        values *= codes.factors.astype(np.float32)[:, None]
        return self.preparation.restore(values @ self.decoder.T)

    def check_codes(self, codes: Codes) -> None:
        """Raise ModelMismatchError unless this encoder made the codes."""
        if codes.space is not None and codes.space != self.space:
            raise ModelMismatchError("codes", self.space, codes.space)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return every weight by name."""
        arrays = {"mean": self.preparation.mean, "decoder": self.decoder}
        if self.preparation.projection is not None:
            arrays["projection"] = self.preparation.projection
        if self.recurrent.anchor is not None:
            arrays["anchor"] = self.recurrent.anchor
        networks = self.recurrent.networks
        if networks is not None:
            arrays |= networks.first.arrays("first")
            for loop in range(self.code_format.loops):
                arrays |= networks.reconstructions[loop].arrays(f"reconstruction{loop}")
                arrays |= networks.residuals[loop].arrays(f"residual{loop}")
        return arrays
