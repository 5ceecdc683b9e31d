"""LangChain's `Embeddings` and LlamaIndex's `BaseEmbedding` as embedders.

Neither framework is imported: an object is known by its methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import ConfigError, EmbedError, HotfillError
from hotfill.types import ModelId
from hotfill.vectors import as_promised, unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hotfill.types import Vectors

_METHODS = (  # of passages, of one query
    ("embed_documents", "embed_query"),
    ("get_text_embedding_batch", "get_query_embedding"),
)
_UNIT_WITHIN = 1e-3


class FrameworkEmbedder:
    """An `Embeddings` of LangChain or a `BaseEmbedding` of LlamaIndex, with the id of its space.

    model_id: None to name it by the object's `model_name` or `model`, or else its class, with
        revision "1", and to embed one word to see how long its vectors are, and whether they have
        unit length. Say it where the weights behind a name may change.
    Passages and queries are embedded by the framework's two methods; `for_queries` gives the second
    one as an embedder of the same space. Vectors are compared by the cosine unless the id says
    otherwise.
    Raises ConfigError when the object has not the methods of either.
    """

    def __init__(self, embeddings: Any, model_id: ModelId | None = None) -> None:
        methods = _methods_of(embeddings)
        if methods is None:
            raise ConfigError(
                "expected an Embeddings of LangChain or a BaseEmbedding of LlamaIndex, got "
                f"{type(embeddings).__name__}"
            )
        self._embeddings = embeddings
        self._passages: Callable[[list[str]], Any] = getattr(embeddings, methods[0])
        self._query: Callable[[str], Any] = getattr(embeddings, methods[1])
        self._for_queries = False
        self._model_id = model_id or self._looked_at()

    @property
    def model_id(self) -> ModelId:
        """The space of the vectors."""
        return self._model_id

    def for_queries(self) -> FrameworkEmbedder:
        """Give the one that embeds queries, in the same space."""
        made = FrameworkEmbedder(self._embeddings, self._model_id)
        made._for_queries = True
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
        rows = self._embedded(list(contents))
        if rows.shape != (len(contents), self._model_id.dimension):
            raise EmbedError(
                f"{type(self._embeddings).__name__} gave an array of {rows.shape} for "
                f"{len(contents)} texts of {self._model_id}",
                retryable=False,
            )
        return as_promised(rows, self._model_id)

    def close(self) -> None:
        """Close the object, where it can be closed."""
        close = getattr(self._embeddings, "close", None)
        if callable(close):
            close()

    def _embedded(self, texts: list[str]) -> Vectors:
        if not texts:
            return np.empty((0, self._model_id.dimension), dtype=np.float32)
        try:
            if self._for_queries:
                made = [self._query(text) for text in texts]
            else:
                made = self._passages(texts)
            return np.asarray(made, dtype=np.float32)
        except HotfillError:
            raise
        except Exception as error:  # whatever the provider's client raises
            name = type(self._embeddings).__name__
            raise EmbedError(f"{name} failed: {type(error).__name__}: {error}") from error

    def _looked_at(self) -> ModelId:
        """Embed one word, and tell the id of the space from what comes."""
        row = np.atleast_2d(np.asarray(self._passages(["word"]), dtype=np.float32))
        if row.shape[0] != 1 or not row.shape[1]:
            raise ConfigError(
                f"{type(self._embeddings).__name__} gave an array of {row.shape} for one text"
            )
        named = (getattr(self._embeddings, key, None) for key in ("model_name", "model"))
        name = next((each for each in named if isinstance(each, str) and each), None)
        return ModelId(
            name or type(self._embeddings).__name__,
            "1",
            row.shape[1],
            normalised=bool(np.allclose(row, unit(row), atol=_UNIT_WITHIN)),
        )


def of_framework(made: Any) -> bool:
    """Tell whether an object is a framework's, which `FrameworkEmbedder` makes an embedder of."""
    return _methods_of(made) is not None


def _methods_of(made: Any) -> tuple[str, str] | None:
    return next(
        (pair for pair in _METHODS if all(callable(getattr(made, name, None)) for name in pair)),
        None,
    )
