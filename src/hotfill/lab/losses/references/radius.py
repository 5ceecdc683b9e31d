"""How far a class reaches around its anchor."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from hotfill.errors import ConfigError


def without_outliers(distances: Tensor) -> Tensor:
    """The largest distance that is no outlier, as AdvBCT's metadata (read in code).

    distances: (n,) ascending, n >= 1. From four distances on, those outside
    [q1 - 1.5 IQR, q3 + 1.5 IQR] are dropped, with q1 and q3 at positions n/4 and 3n/4.
    """
    count = len(distances)
    if count >= 4:
        first, third = distances[count // 4], distances[3 * count // 4]
        slack = 1.5 * (third - first)
        kept = distances[(distances >= first - slack) & (distances <= third + slack)]
        distances = kept if len(kept) else distances
    return distances[-1]


def nearest_share(share: float) -> Callable[[Tensor], Tensor]:
    """The distance within which the nearest `share` of a class lies, 0 < share <= 1.

    MixBCT trusts the old embeddings of the nearest 0.9. Raises ConfigError.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"expected a share above 0 and at most 1, got {share}")

    def radius(distances: Tensor) -> Tensor:
        return distances[math.ceil(share * len(distances)) - 1]

    return radius
