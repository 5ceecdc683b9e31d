"""Any PyTorch module as an embedder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import EmbedError, ShapeError
from hotfill.extras import need
from hotfill.vectors import as_promised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from hotfill.types import ModelId, Vectors


class TorchEmbedder:
    """Prepares contents one by one, and embeds them batch by batch.

    module: maps a batch of tensors to (n, dimension); it is put into evaluation mode, on `device`.
    model_id: of the vectors; where it says normalised, rows are brought to unit length. `revision`
        may be taken from the weights (`hotfill.embedders.weights.module_revision`).
    prepare: makes a tensor of a content; of the same shape for all of a batch.
    batch_size: contents in the module at once; it bounds the memory.
    """

    def __init__(
        self,
        module: nn.Module,
        model_id: ModelId,
        prepare: Callable[[Any], Tensor],
        *,
        device: str = "cpu",
        batch_size: int = 64,
    ) -> None:
        self._torch = need("torch", "train")
        self._module = module.to(device).eval()
        self._model_id = model_id
        self._prepare = prepare
        self._device = device
        self._batch_size = batch_size

    @property
    def model_id(self) -> ModelId:
        """The space of the module's vectors."""
        return self._model_id

    def __call__(self, contents: Sequence[Any], /) -> Vectors:
        """Embed contents: float32 (n, dimension).

        Raises EmbedError naming the rows that cannot be prepared, ShapeError when the module gives
        something else than (n, dimension).
        """
        vectors = np.empty((len(contents), self._model_id.dimension), dtype=np.float32)
        for begin in range(0, len(contents), self._batch_size):
            batch = self._prepared(contents[begin : begin + self._batch_size], begin)
            with self._torch.inference_mode():
                made = self._module(self._torch.stack(batch).to(self._device)).float().cpu().numpy()
            if made.shape != (len(batch), self._model_id.dimension):
                raise ShapeError(
                    f"{self._model_id}: expected ({len(batch)}, {self._model_id.dimension}) from "
                    f"the module, got {made.shape}"
                )
            vectors[begin : begin + len(batch)] = as_promised(made, self._model_id)
        return vectors

    def _prepared(self, contents: Sequence[Any], begin: int) -> list[Tensor]:
        prepared, failed, reason = [], [], ""
        for row, content in enumerate(contents, start=begin):
            try:
                prepared.append(self._prepare(content))
            except Exception as error:  # a user's code may raise anything about a content
                failed.append(row)
                reason = reason or f"{type(error).__name__}: {error}"
        if failed:
            raise EmbedError(
                f"{len(failed)} contents cannot be prepared; row {failed[0]}: {reason}",
                rows=failed,
                retryable=False,
            )
        return prepared
