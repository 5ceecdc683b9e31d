"""The untrained encoder: a rotation, then the uniform grid. Seconds to fit, and hard to beat.

A random rotation spreads the vector evenly over all dimensions, so that one grid suits them all
(RaBitQ's first step). A few alternations then turn the rotation towards the grid, as ITQ does for
signs (Gong and Lazebnik, 2011; for several bits the same least-squares step, derived).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.binary.codes import CodeFormat, grid_values, quantise
from hotfill.binary.encoder import BinaryEncoder
from hotfill.binary.preparation import fit_preparation
from hotfill.binary.recurrent import Recurrent
from hotfill.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.types import ModelId, Vectors

# Step of the uniform quantiser with the least squared error for a normal variable of variance 1
# (Max, 1960), by bits.
_GAUSSIAN_STEP = {1: 1.596, 2: 0.9957, 3: 0.5860, 4: 0.3352}
_MOST_ROWS = 50_000


def fit_start(
    vectors: Vectors,
    source: ModelId,
    code_format: CodeFormat,
    *,
    centre: bool = False,
    alternations: int = 20,
    seed: int = 0,
) -> BinaryEncoder:
    """Fit rotation and grid on vectors of `source`, float32 (n, dimension).

    code_format: with fewer dimensions than the source the leading principal directions are kept;
        with more, the rotation is a random frame.
    centre: subtract the mean first. alternations: steps that fit the rotation to the grid; 0
        keeps it random. At most 50,000 rows are used.
    Raises ShapeError, VectorError, InputError.
    """
    if len(vectors) == 0:
        raise InputError("an encoder is fitted on vectors; got none")
    random = np.random.default_rng(seed)
    if len(vectors) > _MOST_ROWS:
        vectors = vectors[np.sort(random.choice(len(vectors), _MOST_ROWS, replace=False))]
    kept = min(source.dimension, code_format.dimension)
    preparation = fit_preparation(vectors, kept, centre=centre)
    rows, _ = preparation.items(vectors)
    scale = grid_scale(code_format)
    rotation = _random_frame(code_format.dimension, kept, random)
    # Fewer rows than dimensions leave the best rotation undetermined.
    for _ in range(alternations if len(rows) >= 2 * code_format.dimension else 0):
        target = grid_values(quantise(rows @ (scale * rotation).T, code_format), code_format)
        left, _, right = np.linalg.svd(target.T @ rows, full_matrices=False)
        rotation = (left @ right).astype(np.float32)
    return BinaryEncoder(
        source=source,
        preparation=preparation,
        recurrent=Recurrent(code_format, (scale * rotation).astype(np.float32), None),
        decoder=np.ascontiguousarray(rotation.T),
    )


def grid_scale(code_format: CodeFormat) -> float:
    """Return what a rotated unit vector is multiplied by, so that the grid suits it best.

    Its coordinates have variance 1 / dimension and are nearly normal.
    """
    step = code_format.step / _GAUSSIAN_STEP[code_format.bits]
    return float(np.sqrt(code_format.dimension) * step)


def _random_frame(rows: int, columns: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Draw a random matrix with orthonormal columns, rows >= columns."""
    frame, upper = np.linalg.qr(random.standard_normal((rows, columns)))
    return np.asarray(frame * np.sign(np.diag(upper)), np.float32)
