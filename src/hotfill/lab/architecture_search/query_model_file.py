"""A found query model in one file: weights, architecture, and whose gallery it searches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hotfill.errors import InputError
from hotfill.lab.architecture_search.network import Network
from hotfill.lab.architecture_search.space import Architecture, Space
from hotfill.lab.training.checkpoint import Checkpoint, under
from hotfill.types import ModelId


@dataclass(frozen=True, eq=False)
class QueryModelFile:
    """What the file holds. gallery_model: the space that the network's embeddings live in."""

    network: Network
    gallery_model: ModelId

    def save(self, path: Path) -> None:
        """Write one safetensors file, in one step."""
        facts = {
            "space": self.network.space.to_dict(),
            "architecture": self.network.architecture.to_dict(),
            "gallery_model": self.gallery_model.to_dict(),
        }
        tensors = under("model", self.network.state_dict())
        Checkpoint(tensors, {"query_model": facts}).save(path)

    @classmethod
    def read(cls, path: Path) -> QueryModelFile:
        """Read what `save` wrote, in evaluation mode. Raises InputError, ConfigError."""
        found = Checkpoint.read(path)
        if "query_model" not in found.facts:
            raise InputError(f"{path}: expected a query model that a search has found")
        facts = found.facts["query_model"]
        network = Network(
            Space.from_dict(facts["space"]), Architecture.from_dict(facts["architecture"])
        )
        network.load_state_dict(found.part("model"))
        return cls(network.eval(), ModelId.from_dict(facts["gallery_model"]))
