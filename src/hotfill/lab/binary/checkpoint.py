"""A training's state in a safetensors file, replaced whole after each epoch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hotfill.errors import InputError

if TYPE_CHECKING:
    from hotfill.lab.binary.network import CodeNetwork

_KIND = "hotfill binary training 1"


def save_checkpoint(
    path: Path, key: str, network: CodeNetwork, optimiser: torch.optim.Optimizer, epochs: int
) -> None:
    """Write weights, statistics and momenta after some epochs. key: names the training."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for name, weight in network.named_parameters():
        tensors[f"momentum.{name}"] = optimiser.state[weight]["momentum_buffer"]
    partial = path.with_name(path.name + ".partial")
    stamp = {"kind": _KIND, "key": key, "epochs": str(epochs)}
    save_file({name: value.contiguous() for name, value in tensors.items()}, partial, stamp)
    partial.replace(path)


def load_checkpoint(
    path: Path, key: str, network: CodeNetwork, optimiser: torch.optim.Optimizer
) -> int:
    """Read the state into network and optimiser; returns the epochs done.

    Raises InputError when the file is damaged or of another training.
    """
    try:
        with safe_open(path, framework="pt") as file:
            stamp = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read: {error}; remove it to start again") from error
    if stamp.get("kind") != _KIND or stamp.get("key") != key:
        raise InputError(
            f"{path}: is the checkpoint of another training (data, start or plan differ): name "
            "another file, or remove it to start again"
        )
    prefix = "network."
    network.load_state_dict(
        {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    )
    for name, weight in network.named_parameters():
        optimiser.state[weight]["momentum_buffer"] = tensors[f"momentum.{name}"]
    return int(stamp["epochs"])
