"""A model that `hotfill train` wrote, as an embedder of pictures.

[new]
embedder = "hotfill.lab.training.model_embedder:from_options"
options = { path = "{here}/model.safetensors" }
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotfill.embedders.torch_module import TorchEmbedder
from hotfill.embedders.weights import file_revision
from hotfill.lab.training.model_file import ModelFile
from hotfill.lab.training.picture_tensor import as_given, scaled
from hotfill.types import ModelId

if TYPE_CHECKING:
    from torch import Tensor

    from hotfill.lab.training.model_file import ModelFacts


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
