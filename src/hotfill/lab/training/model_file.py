"""A trained model in one file: weights, head, forward map; and as an embedder of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hotfill.embedders.torch_module import TorchEmbedder
from hotfill.embedders.weights import file_revision
from hotfill.errors import InputError
from hotfill.lab.training.backbones import build_backbone
from hotfill.lab.training.checkpoint import Checkpoint, under
from hotfill.lab.training.items import as_given, scaled
from hotfill.types import ModelId


@dataclass(frozen=True)
class ModelFacts:
    """How a model was built and trained.

    recipe: the method. backbone: as `build_backbone` takes it. channels: of the pictures.
    dimension: of the embeddings. classes: names, in the order of the head's rows.
    side: what pictures were scaled to, in pixels; 0 = not scaled.
    old_model: whose vectors it was trained to agree with; None for a model of its own, and where
        the old vectors came without their model.
    """

    recipe: str
    backbone: str
    channels: int
    dimension: int
    classes: tuple[str, ...]
    side: int = 0
    old_model: ModelId | None = None


@dataclass(frozen=True, eq=False)
class ModelFile:
    """What a model file holds.

    head: (classes, dimension) anchors of the classes, or None. up: the tensors of a forward map
    from the old space, empty where the method trains none.
    """

    facts: ModelFacts
    model: nn.Module
    head: Tensor | None
    up: Mapping[str, Tensor]

    def save(self, path: Path) -> None:
        """Write one safetensors file, in one step."""
        tensors = {**under("model", self.model.state_dict()), **under("up", self.up)}
        if self.head is not None:
            tensors["head"] = self.head
        Checkpoint(tensors, {"model": asdict(self.facts)}).save(path)

    @classmethod
    def read(cls, path: Path) -> ModelFile:
        """Read what `save` wrote and build the model, in evaluation mode. Raises InputError."""
        found = Checkpoint.read(path)
        if "model" not in found.facts:
            raise InputError(
                f"{path} is a checkpoint of an unfinished training, not a model; finish it first"
            )
        facts = _facts(found.facts["model"])
        model = build_backbone(facts.backbone, channels=facts.channels, dimension=facts.dimension)
        model.load_state_dict(found.part("model"))
        return cls(facts, model.eval(), found.tensors.get("head"), found.part("up"))


def _facts(values: Mapping[str, Any]) -> ModelFacts:
    old = values.get("old_model")
    return ModelFacts(
        **{
            **values,
            "classes": tuple(values["classes"]),
            "old_model": None if old is None else ModelId.from_dict(old),
        }
    )


# A model that `hotfill train` wrote, as an embedder of pictures.
# [new]
# embedder = "hotfill.lab.training.model_file:from_options"
# options = { path = "{here}/model.safetensors" }


def from_options(*, path: str, device: str = "cpu", batch_size: int = 64) -> TorchEmbedder:
    """Make an embedder of pictures, prepared as in the training.

    path: of a model file. A model trained on a folder of pictures takes whatever `as_picture` takes
    and scales it; one trained on an array file takes arrays (height, width[, channels]) of bool,
    uint8 or float, of the size it was trained with.
    Raises InputError when the file is not a model, EmbedError naming rows that do not fit.
    """
    file = ModelFile.read(Path(path))
    facts = file.facts

    def prepare(content: Any) -> Tensor:
        if facts.side:
            return scaled(content, facts.side, facts.channels)
        return as_given(content, facts.channels)

    return TorchEmbedder(
        file.model, model_id_of(Path(path), facts), prepare, device=device, batch_size=batch_size
    )


def model_id_of(path: Path, facts: ModelFacts) -> ModelId:
    """Tell the space of a trained model: unit vectors, compared by the cosine."""
    pixels = f"{facts.side} x {facts.side} pixels" if facts.side else "as trained"
    return ModelId(
        f"{facts.backbone}-{facts.recipe}",
        file_revision(path),
        facts.dimension,
        preprocessing=f"{pixels}, {facts.channels} channels",
    )
