"""How much a query may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from hotfill.errors import ConfigError
from hotfill.lab.architecture_search.flops import block_flops, flops
from hotfill.lab.architecture_search.space import Architecture, Space

if TYPE_CHECKING:
    import numpy as np

_DRAWS = 2000  # before a budget is called too narrow


@final
class Budget:
    """How many multiply-adds an architecture of a space may cost.

    flops_at_least: keeps a search near what may be spent, as SPOS's does (290 to 360 of 330 M):
        shared weights tell small networks from larger ones badly.
    Raises ConfigError when no architecture is so cheap, or none so dear; it names what the cheapest
    or the dearest one costs.
    """

    def __init__(self, space: Space, flops_at_most: int, flops_at_least: int = 0) -> None:
        self.space, self.flops_at_most = space, flops_at_most
        self.flops_at_least = flops_at_least
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
        most = self._fixed + sum(max(costs.values()) for costs in self._table)
        if flops_at_least > min(most, flops_at_most):
            raise ConfigError(
                f"at least {flops_at_least:,} FLOPs are impossible: the budget is "
                f"{flops_at_most:,}, and the dearest architecture of space {space.name!r} costs "
                f"{most:,}"
            )

    def allows(self, architecture: Architecture) -> bool:
        """Tell whether an architecture costs neither too much nor too little."""
        return self.flops_at_least <= flops(self.space, architecture) <= self.flops_at_most

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw an architecture within the budget.

        The blocks choose in random order, each uniformly among what leaves enough for the cheapest
        choice of those after it. Where the budget binds nothing this is the uniform draw; where it
        is tight, drawing and rejecting would hardly ever end. What costs too little is drawn again;
        raises ConfigError where that does not end either.
        """
        for _ in range(_DRAWS):
            drawn = self._draw(rng)
            if self.allows(drawn):
                return drawn
        raise ConfigError(
            f"hardly any architecture costs {self.flops_at_least:,} to {self.flops_at_most:,} "
            f"FLOPs: none of {_DRAWS} drawn did; leave more room between the two"
        )

    def _draw(self, rng: np.random.Generator) -> Architecture:
        left = self.flops_at_most - self._fixed - sum(self._least)
        chosen: dict[int, int] = {}
        choices = self.space.choices()
        for place in rng.permutation(len(self._table)):
            extra = [self._table[place][block] - self._least[place] for block in choices]
            possible = [number for number, cost in enumerate(extra) if cost <= left]
            chosen[int(place)] = possible[int(rng.integers(len(possible)))]
            left -= extra[chosen[int(place)]]
        return Architecture(tuple(choices[chosen[place]] for place in range(len(self._table))))
