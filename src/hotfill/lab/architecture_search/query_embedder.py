"""A small model as an embedder of queries for a large model's gallery.

[new]
query_embedder = "hotfill.lab.architecture_search.query_embedder:from_options"
query_options = { path = "{here}/search/query_model.safetensors" }
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from hotfill.embedders.torch_module import TorchEmbedder
from hotfill.embedders.weights import file_revision
from hotfill.errors import InputError
from hotfill.lab.architecture_search.query_model_file import QueryModelFile
from hotfill.lab.training.checkpoint import Checkpoint
from hotfill.lab.training.model_file import ModelFile
from hotfill.lab.training.picture_tensor import as_given, scaled
from hotfill.types import ModelId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from hotfill.types import Vectors


@final
class QueryEmbedder:
    """Embeds pictures by a small network, to be compared with a large model's vectors.

    path: of the query model that a search found, or of a model that `hotfill train` trained to
        agree with the large one. Takes arrays of the size that the network was trained on, and
        whatever else `as_picture` takes, scaled to it (unless it was trained on an array file).
    Raises InputError when the file is neither, or its dimension is not the large model's.
    """

    def __init__(self, path: Path, *, device: str = "cpu", batch_size: int = 64) -> None:
        read = _read(path)
        large = self._gallery_model = read.gallery_model

        def prepare(content: Any) -> Tensor:
            if isinstance(content, np.ndarray) or not read.side:
                return as_given(content, read.channels)
            return scaled(content, read.side, read.channels)

        pixels = f"{read.side} x {read.side} pixels" if read.side else "as trained"
        model_id = ModelId(
            f"query-{large.name}",
            file_revision(path),
            large.dimension,
            large.metric,
            preprocessing=f"{pixels}, {read.channels} channels",
        )
        self._embedder = TorchEmbedder(
            read.network, model_id, prepare, device=device, batch_size=batch_size
        )

    @property
    def model_id(self) -> ModelId:
        """What tells this query model from others."""
        return self._embedder.model_id

    @property
    def gallery_model(self) -> ModelId:
        """Whose vectors it was trained to search."""
        return self._gallery_model

    def __call__(self, contents: Sequence[Any], /) -> Vectors:
        """Embed contents: float32 (n, dimension), of unit length."""
        return self._embedder(contents)


def from_options(*, path: str, device: str = "cpu", batch_size: int = 64) -> QueryEmbedder:
    """Make the embedder; see `QueryEmbedder`."""
    return QueryEmbedder(Path(path), device=device, batch_size=batch_size)


@dataclass(frozen=True, eq=False)
class _Read:
    """What both kinds of file tell. side: in pixels; 0 = pictures are not scaled."""

    network: nn.Module
    gallery_model: ModelId
    side: int
    channels: int


def _read(path: Path) -> _Read:
    if "query_model" in Checkpoint.read(path).facts:
        found = QueryModelFile.read(path)
        space = found.network.space
        return _Read(found.network, found.gallery_model, space.side, space.channels)
    trained = ModelFile.read(path)
    facts, large = trained.facts, trained.facts.old_model
    if large is None:
        raise InputError(
            f"{path}: expected a model trained to agree with another one, whose gallery it is to "
            f"search; recipe {facts.recipe!r} without an old model's file gives one that stands "
            "alone: train it with --old MODEL_FILE"
        )
    if facts.dimension != large.dimension:
        raise InputError(
            f"{path}: its vectors have {facts.dimension} dimensions, the gallery of {large} has "
            f"{large.dimension}: train it with --dimension {large.dimension}"
        )
    return _Read(trained.model, large, facts.side, facts.channels)
