"""Which items make up which step: a function of the seed, so that a resumed run goes on exactly."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Order:
    """A fresh random order of `items` items for every epoch, cut into batches.

    The last short batch is left out unless it is the only one.
    """

    items: int
    batch: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """At least 1."""
        return max(1, self.items // self.batch)

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.steps_per_epoch * self.epochs

    def rows(self, step: int) -> NDArray[np.int64]:
        """The items of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _permutation(self.items, self.seed, epoch)
        return order[place * self.batch : (place + 1) * self.batch]

    def seed_of(self, step: int) -> int:
        """A seed for whatever a step draws, different for every step and run."""
        digest = hashlib.sha256(f"{self.seed}/{step}".encode()).digest()
        return int.from_bytes(digest[:6], "big")


@lru_cache(maxsize=2)
def _permutation(items: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(items)
