"""A model that `hotfill train` wrote, as an embedder of pictures.

[new]
embedder = "hotfill.training.model_embedder:from_options"
options = { path = "{here}/model.safetensors" }
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.embedders.pictures import as_picture
from hotfill.embedders.torch_module import TorchEmbedder
from hotfill.embedders.weights import file_revision
from hotfill.errors import InputError
from hotfill.training.items import as_tensor
from hotfill.training.model_file import ModelFile
from hotfill.types import ModelId

if TYPE_CHECKING:
    from torch import Tensor

    from hotfill.training.model_file import ModelFacts


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
        return _scaled(content, facts) if facts.side else _as_given(content, facts)

    return TorchEmbedder(
        file.model, model_id_of(Path(path), facts), prepare, device=device, batch_size=batch_size
    )


def model_id_of(path: Path, facts: ModelFacts) -> ModelId:
    """Tell the space of a trained model: unit vectors, compared by the cosine."""
    scaled = f"{facts.side} x {facts.side} pixels" if facts.side else "as trained"
    return ModelId(
        f"{facts.backbone}-{facts.recipe}",
        file_revision(path),
        facts.dimension,
        preprocessing=f"{scaled}, {facts.channels} channels",
    )


def _scaled(content: Any, facts: ModelFacts) -> Tensor:
    mode = "L" if facts.channels == 1 else "RGB"
    picture = as_picture(content).convert(mode).resize((facts.side, facts.side))
    return as_tensor(np.asarray(picture).reshape(1, facts.side, facts.side, facts.channels))[0]


def _as_given(content: Any, facts: ModelFacts) -> Tensor:
    array = np.asarray(content)
    if array.ndim not in (2, 3) or array.dtype.kind not in "buf":
        raise InputError(
            f"expected (height, width[, channels]) of bool, uint8 or float, got {array.dtype} "
            f"{array.shape}"
        )
    picture: Tensor = as_tensor(array[None])[0]
    if len(picture) != facts.channels:
        raise InputError(f"expected {facts.channels} channels, got {len(picture)}")
    return picture
