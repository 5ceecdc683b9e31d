"""Codes that search an old gallery of codes: BEBR's compatible training, method notes 1.5.

The new encoder is trained with the loss among new codes plus the same loss between new codes and
the frozen old codes of the same items (`train_encoder(..., old_values=...)`). Its start here is
ours: the rotation that carries new vectors nearest to the old codes (Procrustes), which keeps the
new geometry whole and already lets new codes search old ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.binary.code_file import Codes
from hotfill.binary.codes import CodeFormat, grid_values, pack, unpack
from hotfill.binary.encoder import BinaryEncoder
from hotfill.binary.preparation import fit_preparation
from hotfill.binary.recurrent import Recurrent
from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.lab.binary.start import grid_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.types import ModelId, Vectors


def old_code_values(old: BinaryEncoder, vectors: Vectors) -> NDArray[np.float32]:
    """Grid values of old codes, float32 (n, old dimension), as `train_encoder` takes them."""
    return grid_values(unpack(old.encode(vectors).packed, old.code_format), old.code_format)


def fit_compatible_start(
    vectors: Vectors,
    old_values: NDArray[np.float32],
    source: ModelId,
    code_format: CodeFormat,
    *,
    seed: int = 0,
) -> BinaryEncoder:
    """Fit the grid in the rotation nearest to old codes of the same items.

    vectors: float32 (n, dimension) of the new model `source`.
    old_values: float32 (n, old dimension), see `old_code_values`.
    code_format: at least the old dimension, at most the larger of it and the source's; its first
        dimensions are those of the old codes, the others are what the new model adds.
    Raises ShapeError, InputError.
    """
    if len(vectors) != len(old_values):
        raise ShapeError(
            f"expected the old code of each of {len(vectors)} items, got {len(old_values)}"
        )
    old_dimension = old_values.shape[1]
    most = max(old_dimension, source.dimension)
    if not old_dimension <= code_format.dimension <= most:
        raise InputError(
            f"compatible codes here have {old_dimension} to {most} dimensions, "
            f"got {code_format.dimension}"
        )
    preparation = fit_preparation(vectors, source.dimension, centre=False)
    rows, _ = preparation.items(vectors)
    left, _, right = np.linalg.svd(old_values.T @ rows, full_matrices=False)
    rotation = left @ right
    if code_format.dimension > old_dimension:
        added = code_format.dimension - old_dimension
        rotation = np.concatenate([rotation, _orthogonal_to(rotation, added, rows, seed)])
    rotation = np.ascontiguousarray(rotation, np.float32)
    # Where rows are projected, not only rotated, they are shorter than one.
    length = float(np.sqrt(np.mean(np.sum((rows @ rotation.T) ** 2, axis=1))))
    anchor = (grid_scale(code_format) / length * rotation).astype(np.float32)
    return BinaryEncoder(
        source=source,
        preparation=preparation,
        recurrent=Recurrent(code_format, anchor, None),
        decoder=np.ascontiguousarray(rotation.T),
    )


def as_old_codes(codes: Codes, old_space: ModelId) -> Codes:
    """Cut new codes to the old dimension, so that they can be asked of an old index.

    For encoders that were fitted to be compatible with `old_space`; for others the answer means
    nothing, and nothing here can tell. Raises ConfigError when the old codes are longer.
    """
    if old_space.dimension > codes.code_format.dimension:
        raise ConfigError(
            f"old codes have {old_space.dimension} dimensions, more than the new "
            f"{codes.code_format.dimension}: these cannot be compatible"
        )
    cut = CodeFormat(old_space.dimension, codes.code_format.bits)
    levels = unpack(codes.packed, codes.code_format)[:, : cut.dimension]
    return Codes(cut, pack(levels, cut), codes.factors.copy(), old_space)


def _orthogonal_to(
    rotation: NDArray[np.float32], added: int, rows: Vectors, seed: int
) -> NDArray[np.float64]:
    """Find directions orthogonal to those of `rotation`, evenly mixed, (added, dimension)."""
    rest = rows - (rows @ rotation.T) @ rotation
    _, directions = np.linalg.eigh((rest.T @ rest).astype(np.float64))
    leading = directions[:, ::-1][:, :added].T
    mixed = np.random.default_rng(seed).standard_normal((added, added))
    return np.asarray(np.linalg.qr(mixed)[0] @ leading)
