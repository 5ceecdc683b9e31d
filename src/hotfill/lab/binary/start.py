"""What training of codes starts from: encoders in closed form, decoders, pairs, old codes.

The untrained encoder: a rotation, then the uniform grid. Seconds to fit, and hard to beat.

A random rotation spreads the vector evenly over all dimensions, so that one grid suits them all
(RaBitQ's first step). A few alternations then turn the rotation towards the grid, as ITQ does for
signs (Gong and Lazebnik, 2011; for several bits the same least-squares step, derived).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hotfill.binary.code_file import Codes
from hotfill.binary.codes import CodeFormat, grid_values, pack, quantise, unpack
from hotfill.binary.encoder import BinaryEncoder
from hotfill.binary.preparation import fit_preparation
from hotfill.binary.recurrent import Recurrent
from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.extras import need

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


# The linear decoder: from a code back to the direction it stands for.


def fit_decoder(rows: Vectors, recurrent: Recurrent) -> NDArray[np.float32]:
    """Fit the decoder of an encoder by ridge regression of rows on their codes.

    rows: float32 (n, prepared dimension), unit length; at most 50,000 are used.
    Returns float32 (prepared dimension, code dimension). Where there is an anchor, the fit is
    pulled towards its transpose, which is the grid's own decoder, else towards zero.
    """
    step = -(-len(rows) // _MOST_ROWS)
    rows = np.asarray(rows[::step], np.float64)
    values = grid_values(recurrent(rows.astype(np.float32)), recurrent.code_format)
    codes = values.astype(np.float64)
    prior = np.zeros((rows.shape[1], codes.shape[1]))
    if recurrent.anchor is not None:
        prior = recurrent.anchor.T.astype(np.float64)
        rebuilt = codes @ prior.T
        prior = prior * (np.sum(rebuilt * rows) / np.sum(rebuilt * rebuilt))
    moments = codes.T @ codes
    # A tenth of the rows' worth of belief in the prior; more when there are few rows.
    ridge = np.trace(moments) / len(moments) * max(0.1, len(moments) / len(rows))
    moments[np.diag_indices_from(moments)] += ridge
    change = np.linalg.solve(moments, codes.T @ (rows - codes @ prior.T))
    return np.ascontiguousarray(prior + change.T, np.float32)


# What to train on: rows, and for each row the partners that belong together with it.


@dataclass(frozen=True)
class TrainingPairs:
    """Rows and their partners.

    vectors: float32 (n, dimension), of the source model.
    partners: int64 (p, j): row i < p is paired with one of vectors[partners[i]] at random.
    items: int64 (n,): equal numbers are the same item and never each other's negatives.
    noise: length of a random step added to unit rows, so that an item can be its own partner.
    """

    vectors: Vectors
    partners: NDArray[np.int64]
    items: NDArray[np.int64]
    noise: float

    def __len__(self) -> int:
        return len(self.partners)


def pairs_of_items(vectors: Vectors, *, noise: float = 0.3) -> TrainingPairs:
    """Pair each item with itself, both moved by noise. Needs nothing but vectors."""
    rows = np.arange(len(vectors))
    return TrainingPairs(vectors, rows[:, None], rows, noise)


def pairs_of_neighbours(
    vectors: Vectors, *, neighbours: int = 5, noise: float = 0.0
) -> TrainingPairs:
    """Pair each item with its nearest neighbours by cosine, found exactly (n^2 work).

    Needs FAISS. Raises InputError when there are too few items.
    """
    if len(vectors) <= neighbours:
        raise InputError(f"{neighbours} neighbours need more items than {len(vectors)}")
    faiss = need("faiss", "faiss")
    rows = np.array(vectors, np.float32)
    faiss.normalize_L2(rows)
    _, found = faiss.knn(rows, rows, neighbours + 1, metric=faiss.METRIC_INNER_PRODUCT)
    own = np.arange(len(rows))
    # Among equal vectors the item itself may not come first, or not at all.
    others = [line[line != row][:neighbours] for row, line in zip(own, found, strict=True)]
    return TrainingPairs(vectors, np.stack(others).astype(np.int64), own, noise)


def pairs_given(
    first: Vectors, second: Vectors, items: NDArray[np.int64] | None = None, *, noise: float = 0.0
) -> TrainingPairs:
    """Pair rows with rows: queries with clicked items, captions with images.

    first, second: float32 (p, dimension). items: int64 (p,), equal where pairs show the same item.
    Raises ShapeError.
    """
    if np.shape(first) != np.shape(second):
        raise ShapeError(f"expected pairs of one shape, got {np.shape(first)} {np.shape(second)}")
    rows = np.arange(len(first))
    items = rows if items is None else np.asarray(items, np.int64)
    if items.shape != (len(first),):
        raise ShapeError(f"expected one item per pair ({len(first)}), got {items.shape}")
    return TrainingPairs(
        np.concatenate([first, second]),
        (rows + len(first))[:, None],
        np.concatenate([items, items]),
        noise,
    )


# Codes that search an old gallery of codes: BEBR's compatible training, method notes 1.5.
# The new encoder is trained with the loss among new codes plus the same loss between new codes and
# the frozen old codes of the same items (`train_encoder(..., old_values=...)`). Its start here is
# ours: the rotation that carries new vectors nearest to the old codes (Procrustes), which keeps the
# new geometry whole and already lets new codes search old ones.


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
