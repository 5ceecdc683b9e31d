"""Two models that cost nothing, as LangChain and LlamaIndex have them. Named by TOML files too."""

from __future__ import annotations

import zlib

import numpy as np

SMALL, LARGE = {"parts": 2, "size": 32}, {"parts": 3, "size": 48}


def letters(texts: list[str], parts: int, size: int, unit: bool = False) -> list[list[float]]:
    """Count the parts of texts: similar texts get similar vectors, of any length or of 1."""
    counts = np.zeros((len(texts), size))
    for row, text in enumerate(texts):
        for i in range(len(text) - parts + 1):
            counts[row, zlib.crc32(text[i : i + parts].encode()) % size] += 1
    return (counts / np.linalg.norm(counts, axis=1, keepdims=True) if unit else counts).tolist()


def langchain(parts: int, size: int, unit: bool = False):
    from langchain_core.embeddings import Embeddings

    class Letters(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return letters(texts, parts, size, unit)

        def embed_query(self, text: str) -> list[float]:
            return letters([text], parts, size, unit)[0]

    return Letters()


def llama_index(parts: int, size: int, unit: bool = False):
    from llama_index.core.base.embeddings.base import BaseEmbedding

    class Letters(BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return letters([text], parts, size, unit)[0]

        def _get_query_embedding(self, query: str) -> list[float]:
            return letters([query], parts, size)[0]

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

    return Letters(model_name=f"letters-{parts}")
