"""How to train a map between spaces: the numbers of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hotfill.errors import ConfigError


@dataclass(frozen=True)
class MapSettings:
    """The numbers of one training; with the same ones it gives the same map on a CPU.

    epochs: passes over the pairs. In the second half batch normalisation is frozen, as in FCT.
    batch: pairs per step, >= 2.
    learning_rate: of Adam; reached after `warm_up_epochs`, then half a cosine down to 0.
    weight_decay: Adam's, on all parameters. seed: of the weights and the order of pairs.
    device: as torch names it.
    The defaults are those of section 2.6 of the method notes: partly from memory of the paper,
    partly project defaults. FCT's own are epochs=80 and the rest alike.
    Raises ConfigError.
    """

    epochs: int = 50
    batch: int = 1024
    learning_rate: float = 5e-4
    warm_up_epochs: int = 5
    weight_decay: float = 2.0**-15
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, right in {
                "epochs >= 1": self.epochs >= 1,
                "batch >= 2": self.batch >= 2,
                "learning_rate > 0": 0 < self.learning_rate < math.inf,
                "warm_up_epochs >= 0": self.warm_up_epochs >= 0,
                "weight_decay >= 0": 0 <= self.weight_decay < math.inf,
                "seed >= 0": self.seed >= 0,
            }.items()
            if not right
        ]
        if wrong:
            raise ConfigError(f"training of a map: expected {', '.join(wrong)}; got {self}")

    def learning_rate_of(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0; constant within it."""
        warm_up = min(self.warm_up_epochs, self.epochs - 1)
        if epoch < warm_up:
            return self.learning_rate * (epoch + 1) / warm_up
        falling = (epoch - warm_up) / (self.epochs - warm_up)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * falling))
