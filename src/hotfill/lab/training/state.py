"""A training between two steps, and the way to and from its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hotfill.errors import InputError
from hotfill.lab.losses import Recipe
from hotfill.lab.training.checkpoint import (
    Checkpoint,
    pack_optimiser,
    under,
    unpack_optimiser,
)


@dataclass(eq=False)
class TrainingState:
    """What a step changes: weights, the optimiser's memory, the number of the step."""

    model: nn.Module
    recipe: Recipe
    optimiser: torch.optim.Optimizer
    step: int = 0

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write a checkpoint. identity: what must be the same when it is read."""
        tensors, facts = pack_optimiser(self.optimiser)
        Checkpoint(
            {
                **under("model", self.model.state_dict()),
                **under("recipe", self.recipe.state_dict()),
                **under("optimiser", tensors),
            },
            {"step": self.step, "optimiser": facts, "identity": identity},
        ).save(path)

    def restore(self, path: Path, identity: dict[str, Any]) -> None:
        """Read a checkpoint. Raises InputError when it belongs to another training."""
        found = Checkpoint.read(path)
        before = found.facts["identity"]
        if before != identity:
            differ = [
                f"{key} {before.get(key)!r} there, {identity.get(key)!r} now"
                for key in sorted({*before, *identity})
                if before.get(key) != identity.get(key)
            ]
            raise InputError(
                f"{path} belongs to another training ({'; '.join(differ)}); "
                "choose another folder, or repeat the same call to go on with it"
            )
        self.model.load_state_dict(found.part("model"))
        self.recipe.load_state_dict(found.part("recipe"))
        unpack_optimiser(self.optimiser, found.part("optimiser"), found.facts["optimiser"])
        self.step = found.facts["step"]
