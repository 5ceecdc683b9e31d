"""What a candidate is worth, from its searches on the held-out split."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from hotfill.errors import ConfigError

RewardName: TypeAlias = Literal["r1", "r2", "r3"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Search quality on the held-out split, 0 to 1.

    query_to_query: M(q, q), queries and gallery by the query model.
    query_to_gallery: M(q, g), queries by the query model, gallery by the gallery model.
    """

    query_to_query: float
    query_to_gallery: float

    @property
    def keeps_the_rule(self) -> bool:
        """The compatibility rule M(q, g) > M(q, q): the large gallery model must pay."""
        return self.query_to_gallery > self.query_to_query


def reward(name: RewardName, measured: Measured) -> float:
    """R1 = M(q, q), R2 = M(q, g), R3 = R1 * R2 (CMP-NAS's choice).

    Raises ConfigError for another name or a quality outside 0 to 1.
    """
    values = (measured.query_to_query, measured.query_to_gallery)
    if not all(math.isfinite(value) and 0 <= value <= 1 for value in values):
        raise ConfigError(f"reward: expected qualities from 0 to 1, got {measured}")
    rewards = {"r1": values[0], "r2": values[1], "r3": values[0] * values[1]}
    if name not in rewards:
        raise ConfigError(
            f"reward: expected one of {', '.join(get_args(RewardName))}, got {name!r}"
        )
    return rewards[name]
