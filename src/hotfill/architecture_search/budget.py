"""How much a query may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from hotfill.architecture_search.flops import block_flops, flops
from hotfill.architecture_search.space import Architecture, Space
from hotfill.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


@final
class Budget:
    """The most multiply-adds that an architecture of a space may cost.

    Raises ConfigError when no architecture is that cheap; it names what the cheapest one costs.
    """

    def __init__(self, space: Space, flops_at_most: int) -> None:
        self.space, self.flops_at_most = space, flops_at_most
        self._table = block_flops(space)
        self.cheapest = Architecture(
            tuple(min(costs, key=lambda b: costs[b]) for costs in self._table)
        )
        self._least = [min(costs.values()) for costs in self._table]
        least = flops(space, self.cheapest)
        if flops_at_most < least:
            raise ConfigError(
                f"a budget of {flops_at_most:,} FLOPs is impossible: the cheapest architecture of "
                f"space {space.name!r} costs {least:,}; raise the budget, or take a space with "
                "fewer channels or smaller pictures"
            )
        self._fixed = least - sum(self._least)

    def allows(self, architecture: Architecture) -> bool:
        """Tell whether an architecture is cheap enough."""
        return flops(self.space, architecture) <= self.flops_at_most

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw an architecture within the budget.

        The blocks choose in random order, each uniformly among what leaves enough for the cheapest
        choice of those after it. Where the budget binds nothing this is the uniform draw; where it
        is tight, drawing and rejecting would hardly ever end.
        """
        left = self.flops_at_most - self._fixed - sum(self._least)
        chosen: dict[int, int] = {}
        choices = self.space.choices()
        for place in rng.permutation(len(self._table)):
            extra = [self._table[place][block] - self._least[place] for block in choices]
            possible = [number for number, cost in enumerate(extra) if cost <= left]
            chosen[int(place)] = possible[int(rng.integers(len(possible)))]
            left -= extra[chosen[int(place)]]
        return Architecture(tuple(choices[chosen[place]] for place in range(len(self._table))))
