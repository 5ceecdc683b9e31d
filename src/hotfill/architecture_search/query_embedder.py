"""A found query model as an embedder of queries.

[new]
query_embedder = "hotfill.architecture_search.query_embedder:from_options"
query_options = { path = "{here}/search/query_model.safetensors" }
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from hotfill.architecture_search import _torch as _torch  # isort: split

import numpy as np

from hotfill.architecture_search.query_model_file import QueryModelFile
from hotfill.embedders.torch_module import TorchEmbedder
from hotfill.embedders.weights import file_revision
from hotfill.training.picture_tensor import as_given, scaled
from hotfill.types import ModelId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from hotfill.types import Vectors


@final
class QueryEmbedder:
    """Embeds pictures by a small network, to be compared with a large model's vectors.

    path: of the file that a search wrote. Takes arrays of the size that the network was trained on,
    and whatever else `as_picture` takes, scaled to it.
    Raises InputError when the file is no query model.
    """

    def __init__(self, path: Path, *, device: str = "cpu", batch_size: int = 64) -> None:
        file = QueryModelFile.read(path)
        space = file.network.space
        self._gallery_model = file.gallery_model

        def prepare(content: Any) -> Tensor:
            if isinstance(content, np.ndarray):
                return as_given(content, space.channels)
            return scaled(content, space.side, space.channels)

        large = file.gallery_model
        model_id = ModelId(
            f"query-{large.name}",
            file_revision(path),
            large.dimension,
            large.metric,
            preprocessing=f"{space.side} x {space.side} pixels, {space.channels} channels",
        )
        self._embedder = TorchEmbedder(
            file.network, model_id, prepare, device=device, batch_size=batch_size
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
