"""How to train: the numbers of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hotfill.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """The numbers of one training run; with the same ones it gives the same model.

    epochs: passes over the items. batch: items per step; the last short batch of an epoch is left
        out unless it is the only one.
    learning_rate: the highest; it rises over the first `warm_up` of the steps, then falls to 0 in
        half a cosine.
    optimiser: "adamw", or "sgd" with momentum 0.9. weight_decay: for all parameters alike.
    clip: the largest norm of the whole gradient, or None for no bound.
    seed: of weights drawn later, of the order and of the augmentation.
    device: as torch names it. precision: of the backbone; losses are always float32.
    checkpoint_seconds: at least this long between two checkpoints; one is always made at the end.
    Raises ConfigError.
    """

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 1e-2
    warm_up: float = 0.1
    optimiser: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 0.02
    clip: float | None = None
    seed: int = 0
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, right in {
                "epochs >= 1": self.epochs >= 1,
                "batch >= 1": self.batch >= 1,
                "learning_rate > 0": 0 < self.learning_rate < math.inf,
                "warm_up from 0 to below 1": 0 <= self.warm_up < 1,
                "optimiser 'adamw' or 'sgd'": self.optimiser in ("adamw", "sgd"),
                "weight_decay >= 0": self.weight_decay >= 0,
                "clip > 0 or None": self.clip is None or self.clip > 0,
                "precision 'float32' or 'bfloat16'": self.precision in ("float32", "bfloat16"),
                "checkpoint_seconds >= 0": self.checkpoint_seconds >= 0,
            }.items()
            if not right
        ]
        if wrong:
            raise ConfigError(f"training settings: expected {', '.join(wrong)}; got {self}")

    def learning_rate_at(self, progress: float) -> float:
        """The learning rate at a share of the training, 0 to 1."""
        if progress < self.warm_up:
            return self.learning_rate * (0.01 + 0.99 * progress / self.warm_up)
        falling = (progress - self.warm_up) / (1 - self.warm_up)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * falling))
