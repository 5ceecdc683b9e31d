"""The kernel bridge: searched like a bridge, its best hits scored through the kernel map.

The store is searched with a linear `bridge`; the hits read back are mapped by `kernel` and
compared with the query in the weighed new space,

    exact(q, g) = < W(q - mean), p(g) > / |p(g)|,

p the kernel regression. No stored vector is rewritten. Scoring a hit costs one row of kernel
values, so it pays where old and new space are not joined by straight lines: far better on the
small networks measured, a little better on image models, no better on text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from hotfill.checks import check_vectors
from hotfill.errors import ShapeError
from hotfill.transforms.base import Transform, as_compared
from hotfill.transforms.bridge import Bridge, fit_bridge
from hotfill.transforms.kernel import KernelMap, fit_kernel

if TYPE_CHECKING:
    from hotfill.types import ModelId, Vectors


@final
class KernelBridge(Transform):
    """New-model queries to vectors that search old space; see the module.

    source: the new model. target: the old model.
    arrays: those of a `Bridge` as "bridge.NAME", of a `KernelMap` as "kernel.NAME".
    """

    kind: ClassVar[str] = "kernel_bridge"
    overfetch: ClassVar[int] = 10
    """How many times k hits to score exactly: 100 held 0.94 to 1 of the exact ten."""

    @property
    def kernel(self) -> KernelMap:
        """The map of old vectors to the new space within, for `prefill`."""
        return self._kernel

    def query_features(self, queries: Vectors, /) -> Vectors:
        """Features of new-model queries, the weighed query: float32 (q, new.dimension)."""
        given = check_vectors(queries, self.source.dimension, what=f"queries of {self.source.name}")
        return self._kernel.weighed_queries(as_compared(given, self.source))

    def gallery_features(self, vectors: Vectors, /) -> Vectors:
        """Features of stored old vectors, mapped and weighed: float32 (n, new.dimension)."""
        given = check_vectors(vectors, self.target.dimension, what=f"vectors of {self.target.name}")
        return self._kernel.weighed(as_compared(given, self.target))

    def confidence(self, rows: Vectors) -> Vectors:
        """Length of the kernel's prediction, float32 (n,); see `uncertainty`."""
        return self._kernel.confidence(rows)

    def _check(self) -> None:
        parts: dict[str, dict[str, np.ndarray]] = {"bridge": {}, "kernel": {}}
        for name, array in self._arrays.items():
            part, _, inner = name.partition(".")
            if part not in parts:
                raise ShapeError(f"a kernel bridge has no array {name!r}")
            parts[part][inner] = array
        self._bridge = Bridge(self.source, self.target, parts["bridge"])
        facts = {**self._facts, "method": "kernel ridge"}
        self._kernel = KernelMap(self.target, self.source, parts["kernel"], facts)

    def _map(self, rows: Vectors) -> Vectors:
        return self._bridge(rows)


def fit_kernel_bridge(
    new_vectors: Any, old_vectors: Any, *, new_model: ModelId, old_model: ModelId
) -> KernelBridge:
    """Fit from pairs: row i of both is the same item, in random order, n >= 50.

    Raises ShapeError, VectorError (NaN, zero, constant), InputError (too few pairs).
    """
    bridge = fit_bridge(new_vectors, old_vectors, new_model=new_model, old_model=old_model)
    kernel = fit_kernel(old_vectors, new_vectors, old_model=old_model, new_model=new_model)
    arrays = {f"bridge.{name}": array for name, array in bridge.arrays.items()}
    arrays |= {f"kernel.{name}": array for name, array in kernel.arrays.items()}
    return KernelBridge(new_model, old_model, arrays, {**kernel.facts, "method": "kernel bridge"})
