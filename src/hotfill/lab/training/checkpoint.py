"""Checkpoints: a training between two steps, in one file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from hotfill.errors import InputError
from hotfill.lab.losses import Recipe


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A moment of a training.

    tensors: by name. facts: whatever JSON can say.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write next to `path`, then put it in its place: a crash leaves the file before, whole."""
        draft = path.with_name(f"{path.name}.draft-{os.getpid()}")
        whole = {name: t.detach().cpu().clone().contiguous() for name, t in self.tensors.items()}
        safetensors.torch.save_file(whole, draft, metadata={"facts": json.dumps(self.facts)})
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read what `save` wrote. Raises InputError when the file is something else or damaged."""
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()["facts"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
            raise InputError(f"{path}: expected a checkpoint of hotfill ({error})") from error
        return cls(tensors, facts)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below "prefix/", without it."""
        start = f"{prefix}/"
        return {
            name.removeprefix(start): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(start)
        }


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the tensors "prefix/name"."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def pack_optimiser(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as named tensors, and as JSON whatever is no tensor."""
    state = optimiser.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for parameter, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{parameter}/{key}"] = value
            elif value is not None:
                numbers[f"{parameter}/{key}"] = value
    return tensors, {"numbers": numbers, "groups": state["param_groups"]}


def unpack_optimiser(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> None:
    """Put back what `pack_optimiser` gave."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *facts["numbers"].items()]:
        parameter, _, key = name.partition("/")
        state.setdefault(int(parameter), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": facts["groups"]})


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
