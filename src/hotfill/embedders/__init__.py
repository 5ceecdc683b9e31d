"""Embedders: what makes vectors from contents, and a cache so that none is made twice.

http                   any endpoint that speaks OpenAI's /embeddings, with retries and a spend cap
sentence_transformers  texts, by a sentence-transformers model
timm                   pictures, by any timm model
onnx                   any ONNX model
torch_module           any PyTorch module
frameworks             an `Embeddings` of LangChain or a `BaseEmbedding` of LlamaIndex
cache                  keeps the vectors of any of them in a file, by content

Each needs its own extra, and only when it is used. `from_options` of a module is a factory for
`[old]` and `[new]` of a configuration file. Anything else with a `model_id` that can be called with
contents is an embedder too (`hotfill.Embedder`).
"""

from hotfill.embedders.cache import CachedEmbedder
from hotfill.embedders.content_hash import content_hash
from hotfill.embedders.http import HttpEmbedder
from hotfill.embedders.spend_cap import SpendCap
from hotfill.embedders.vector_cache import VectorCache

__all__ = ["CachedEmbedder", "HttpEmbedder", "SpendCap", "VectorCache", "content_hash"]
