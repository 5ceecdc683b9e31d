"""Maps that are trained (by `hotfill.lab.training`), and applied here without torch.

The forward map of FCT and FastFill takes stored old vectors, with or without side-information:

    branch old : d_o -> 2 d_o -> 2 d_n         } each layer with ReLU, batch normalisation folded in
    branch side: d_s -> 2 d_s -> 2 d_n         }
    mixer      : 4 d_n -> hidden -> hidden -> d_n       the last layer without ReLU
    sigma head : d_n -> 1                               FastFill only, on the mixer's plain output

Without side-information both branches read the old vector. Source: Ramanujan et al., CVPR 2022 and
Jaeckle et al., ICLR 2023; shapes read in their public code, the head derived from parameter counts
(section 3.2 of the method notes).

Side-information is a second vector stored with each old one, from a model trained without labels.
Both together are one row of a joint space: see `joint_model` and `join`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from hotfill.errors import ConfigError, ShapeError
from hotfill.ranking.transform import StampedTransform
from hotfill.types import ModelId
from hotfill.vectors import as_compared, check_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.types import Vectors


@final
class ForwardMap(StampedTransform):
    """Old vectors to the new space, and how doubtful each is; see the module.

    source: the old model, or the joint space of old model and side model.
    arrays: stacks "old", "side" and "mixer" (see `stack`); with a sigma head also "sigma".
    """

    kind: ClassVar[str] = "forward"

    @property
    def has_head(self) -> bool:
        """Whether it was trained to say how doubtful it is (FastFill)."""
        return depth_of(self._arrays, "sigma") > 0

    def confidence(self, rows: Vectors) -> Vectors:
        """Minus the log variance of the sigma head, float32 (n,), for rows as compared.

        The variance is that of FastFill's combined loss, not of the feature error alone. Raises
        ConfigError where there is no head (FCT).
        """
        if not self.has_head:
            raise ConfigError(
                "this forward map has no sigma head, so it cannot order a backfill; "
                "train it with train_fastfill, or order at random"
            )
        return -apply_stack(self._map(rows), self._arrays, "sigma")[:, 0]

    def _check(self) -> None:
        refuse_others(self._arrays, {"old", "side", "mixer", "sigma"})
        old, side = check_stack(self._arrays, "old"), check_stack(self._arrays, "side")
        mixer = check_stack(self._arrays, "mixer")
        given, target = self.source.dimension, self.target.dimension
        alone = old[0] == side[0] == given
        if not (alone or old[0] + side[0] == given):
            raise ShapeError(
                f"the branches read {old[0]} and {side[0]} numbers, but rows of {self.source} "
                f"have {given}: both must read all of them, or share them"
            )
        if mixer != (old[1] + side[1], target):
            raise ShapeError(
                f"expected a mixer from {old[1]} + {side[1]} to {target} numbers, got {mixer}"
            )
        if self.has_head and check_stack(self._arrays, "sigma") != (target, 1):
            raise ShapeError(f"expected a sigma head from {target} numbers to one")

    def _map(self, rows: Vectors) -> Vectors:
        width = len(self._arrays["old.matrix_0"])
        alone = len(self._arrays["side.matrix_0"]) == width == rows.shape[1]
        side = rows if alone else rows[:, width:]
        old_features = apply_stack(rows[:, :width], self._arrays, "old", last_relu=True)
        side_features = apply_stack(side, self._arrays, "side", last_relu=True)
        return apply_stack(np.hstack([old_features, side_features]), self._arrays, "mixer")


def joint_model(old_model: ModelId, side_model: ModelId) -> ModelId:
    """Name the space of rows made by `join`. Lengths mean something in it: nothing is rescaled."""
    return ModelId(
        f"{old_model.name} + {side_model.name}",
        f"{old_model.fingerprint} + {side_model.fingerprint}",
        old_model.dimension + side_model.dimension,
        metric="l2",
        normalised=False,
    )


def join(
    old_vectors: Any, side_vectors: Any, *, old_model: ModelId, side_model: ModelId
) -> Vectors:
    """Put old vectors and side-information of the same items into one row each.

    old_vectors, side_vectors: (n, dimension) of each model; both are brought to unit length where
    their space compares them so. Returns float32 (n, old + side dimension).
    Raises ShapeError, VectorError.
    """
    old = check_vectors(old_vectors, old_model.dimension, what=f"vectors of {old_model.name}")
    side = check_vectors(side_vectors, side_model.dimension, what=f"vectors of {side_model.name}")
    if len(old) != len(side):
        raise ShapeError(f"expected one side vector per item, got {len(old)} and {len(side)} rows")
    return np.hstack([as_compared(old, old_model), as_compared(side, side_model)])


STACK = "layers"  # of an `MlpMap`


@final
class MlpMap(StampedTransform):
    """x -> (... relu(x M_0 + o_0) M_1 + o_1 ...); the last layer without ReLU. Numpy only.

    arrays: a stack "layers" from source.dimension to target.dimension; see `stack`. Trained by
    `hotfill.lab.training.transforms`, with batch normalisation already folded in.
    """

    kind: ClassVar[str] = "mlp"

    def _check(self) -> None:
        refuse_others(self._arrays, {STACK})
        got, wanted = (
            check_stack(self._arrays, STACK),
            (self.source.dimension, self.target.dimension),
        )
        if got != wanted:
            raise ShapeError(f"an MLP between these spaces goes from and to {wanted}, got {got}")

    def _map(self, rows: Vectors) -> Vectors:
        return apply_stack(rows, self._arrays, STACK)


@final
class ResidualMlp(StampedTransform):
    """x -> scale * (x W + o + gelu(x W_1 + o_1) W_2), gelu(y) = y Phi(y).

    Drift-Adapter's third map, for unequal dimensions too. Source: Vejendla 2025 (section 5 of the
    method notes) [read in a third party's transcription], where W is the identity; for unequal
    dimensions it becomes a linear map [as proposed there].

    arrays: straight (source, target), offset and scale (target,), inner (source, hidden),
    inner_offset (hidden,), outer (hidden, target).
    """

    kind: ClassVar[str] = "residual_mlp"

    def _check(self) -> None:
        source, target = self.source.dimension, self.target.dimension
        hidden = len(self._arrays.get("inner_offset", ()))
        expected = {
            "inner": (source, hidden),
            "inner_offset": (hidden,),
            "offset": (target,),
            "outer": (hidden, target),
            "scale": (target,),
            "straight": (source, target),
        }
        self._check_shapes("a residual MLP", expected)

    def _map(self, rows: Vectors) -> Vectors:
        from scipy.special import ndtr

        arrays = self._arrays
        inner = rows @ arrays["inner"] + arrays["inner_offset"]
        bent = (inner * ndtr(inner)) @ arrays["outer"]
        mapped = (rows @ arrays["straight"] + arrays["offset"] + bent) * arrays["scale"]
        return np.asarray(mapped, dtype=np.float32)


@final
class ResidualMap(StampedTransform):
    """x -> x S + relu(x W_1 + o_1) W_2 + o_2: what BiCT and DMU train as their forward map.

    Source: our reading of the abstracts of BiCT and DMU; see `hotfill.lab.losses.maps.Residual`.

    arrays: straight (source, target), inner (source, hidden), inner_offset (hidden,),
    outer (hidden, target), outer_offset (target,).
    """

    kind: ClassVar[str] = "residual"

    def _check(self) -> None:
        source, target = self.source.dimension, self.target.dimension
        hidden = len(self._arrays.get("inner_offset", ()))
        expected = {
            "inner": (source, hidden),
            "inner_offset": (hidden,),
            "outer": (hidden, target),
            "outer_offset": (target,),
            "straight": (source, target),
        }
        self._check_shapes("a residual map", expected)

    def _map(self, rows: Vectors) -> Vectors:
        arrays = self._arrays
        inner = np.maximum(rows @ arrays["inner"] + arrays["inner_offset"], 0)
        mapped = rows @ arrays["straight"] + inner @ arrays["outer"] + arrays["outer_offset"]
        return np.asarray(mapped, dtype=np.float32)


# A stack: linear layers with ReLU between them. Layer i of the stack "psi" is two arrays,
# "psi.matrix_i" (in, out) and "psi.offset_i" (out,). Batch normalisation is an affine map once
# training is over, so it is folded into the layer before it when a network is exported.


def check_stack(arrays: Mapping[str, np.ndarray], name: str) -> tuple[int, int]:
    """Return the widths that a stack takes and gives. Raises ShapeError where layers do not fit."""
    depth = depth_of(arrays, name)
    if depth == 0:
        raise ShapeError(f"expected the layers of {name!r}, got none")
    taken, given = 0, 0
    for layer in range(depth):
        matrix, offset = arrays[f"{name}.matrix_{layer}"], arrays.get(f"{name}.offset_{layer}")
        if (
            matrix.ndim != 2
            or offset is None
            or offset.shape != (matrix.shape[1],)
            or (layer > 0 and matrix.shape[0] != given)
        ):
            raise ShapeError(
                f"layer {layer} of {name!r} does not fit: matrix {matrix.shape}, offset "
                f"{None if offset is None else offset.shape}, layer before gives {given}"
            )
        taken = matrix.shape[0] if layer == 0 else taken
        given = matrix.shape[1]
    return taken, given


def depth_of(arrays: Mapping[str, np.ndarray], name: str) -> int:
    """Count the layers of a stack."""
    depth = 0
    while f"{name}.matrix_{depth}" in arrays:
        depth += 1
    return depth


def apply_stack(
    rows: Vectors, arrays: Mapping[str, np.ndarray], name: str, *, last_relu: bool = False
) -> Vectors:
    """Send rows through a stack: ReLU after every layer, after the last only if asked."""
    depth = depth_of(arrays, name)
    for layer in range(depth):
        rows = rows @ arrays[f"{name}.matrix_{layer}"] + arrays[f"{name}.offset_{layer}"]
        if layer < depth - 1 or last_relu:
            rows = np.maximum(rows, 0, out=rows)
    return np.asarray(rows, dtype=np.float32)


def refuse_others(arrays: Mapping[str, np.ndarray], names: set[str]) -> None:
    """Raise ShapeError where an array does not belong to one of these stacks."""
    for array in arrays:
        stack, _, layer = array.partition(".")
        if stack not in names or not layer.startswith(("matrix_", "offset_")):
            raise ShapeError(f"expected layers of {', '.join(sorted(names))}; got {array!r}")
