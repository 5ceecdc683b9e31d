"""Texts, embedded by a sentence-transformers model."""

from __future__ import annotations

import json
import threading
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotfill.embedders.weights import module_revision
from hotfill.errors import ConfigError, EmbedError
from hotfill.extras import need
from hotfill.types import ModelId
from hotfill.vectors import as_promised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.types import Vectors


class SentenceTransformerEmbedder:
    """A `SentenceTransformer` that you loaded, with the id of its space.

    model: the loaded model. name, revision: of the model id; the revision is by default a hash of
        the weights. Its preprocessing is what changes the vectors: prompt and longest text.
    prompt: put before every text. query_prompt: before every query, where the model has two (E5,
        BGE); see `for_queries`. None: the same.
    batch_size: texts in the model at once.
    Vectors have unit length and are compared by the cosine.
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str,
        revision: str | None = None,
        prompt: str = "",
        query_prompt: str | None = None,
        batch_size: int = 32,
    ) -> None:
        self._model = model
        self._prompt = prompt
        self._query_prompt = prompt if query_prompt is None else query_prompt
        self._batch_size = batch_size
        # The tokeniser sets its padding per call and must not be used by two threads at once.
        self._lock = threading.Lock()
        dimension = model.get_embedding_dimension()
        if dimension is None:
            raise ConfigError(f"{name}: the model does not say how long its vectors are")
        self._model_id = ModelId(
            name,
            revision or module_revision(model),
            dimension,
            preprocessing=json.dumps({"prompt": prompt, "max_tokens": model.max_seq_length}),
        )

    @property
    def model_id(self) -> ModelId:
        """The space of the model's vectors."""
        return self._model_id

    def for_queries(self) -> SentenceTransformerEmbedder | None:
        """Return the one that embeds queries, in the same space; None where that is the same."""
        if self._query_prompt == self._prompt:
            return None
        made = copy(self)
        made._prompt = self._query_prompt
        return made

    def __call__(self, contents: Sequence[Any], /) -> Vectors:
        """Embed texts: float32 (n, dimension). Raises EmbedError naming rows that are no texts."""
        unfit = [row for row, text in enumerate(contents) if not isinstance(text, str)]
        if unfit:
            raise EmbedError(
                f"expected texts, got {type(contents[unfit[0]]).__name__} in row {unfit[0]}",
                rows=unfit,
                retryable=False,
            )
        with self._lock:
            vectors = self._model.encode(
                list(contents),
                prompt=self._prompt or None,
                batch_size=self._batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        return as_promised(vectors.reshape(len(contents), self._model_id.dimension), self._model_id)


def from_options(
    *,
    model: str,
    name: str | None = None,
    revision: str | None = None,
    dimension: int | None = None,
    max_tokens: int | None = None,
    prompt: str = "",
    query_prompt: str | None = None,
    device: str = "cpu",
    batch_size: int = 32,
) -> SentenceTransformerEmbedder:
    """Load a model and make its embedder.

    model: a folder, or a name on the Hugging Face Hub (set HF_HUB_OFFLINE=1 to use only what was
        downloaded before). Weights are read from safetensors only; no code of the model is run.
    name: of the model id; by default the last part of `model`.
    revision: a commit of the Hub, which also names the space; by default a hash of the weights.
    dimension: keep this many leading numbers of each vector (Matryoshka models).
    max_tokens: longer texts are cut off; by default as the model says.
    prompt, query_prompt, batch_size: as for `SentenceTransformerEmbedder`.
    Raises ConfigError when the model cannot be loaded, MissingExtraError.
    """
    library: Any = need("sentence_transformers", "sentence-transformers")
    try:
        loaded = library.SentenceTransformer(
            model,
            device=device,
            revision=revision,
            truncate_dim=dimension,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"the model {model!r} cannot be loaded: {error}") from error
    if max_tokens is not None:
        loaded.max_seq_length = max_tokens
    return SentenceTransformerEmbedder(
        loaded,
        name=name or Path(model).name,
        revision=revision,
        prompt=prompt,
        query_prompt=query_prompt,
        batch_size=batch_size,
    )
