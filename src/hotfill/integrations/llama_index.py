"""`Serving` as a retriever of LlamaIndex, in every phase of an upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotfill.extras import need
from hotfill.integrations.found_texts import find_texts

if TYPE_CHECKING:
    from hotfill.stores.base import Gallery, Where
    from hotfill.types import Source
    from hotfill.upgrade.serving import Serving


def llama_index_retriever(
    serving: Serving,
    source: Source,
    *,
    k: int = 10,
    where: Where | None = None,
    gallery: Gallery | None = None,
) -> Any:
    """Make a LlamaIndex retriever: `retriever.retrieve("query")` gives scored nodes, best first.

    source: gives the texts of items. gallery: gives their own metadata, if wanted.
    A node's id is the item's; its metadata also holds item_id, score and model.
    Returns a `BaseRetriever`. Raises MissingExtraError.
    """
    retrievers: Any = need("llama_index.core.retrievers", "llama-index")
    schema: Any = need("llama_index.core.schema", "llama-index")

    class HotfillRetriever(retrievers.BaseRetriever):  # type: ignore[misc]  # an extra: any type
        """Searches through `Serving`."""

        def _retrieve(self, query_bundle: Any) -> list[Any]:
            query = query_bundle.query_str
            found = find_texts(serving, source, query, k=k, where=where, gallery=gallery)
            return [
                schema.NodeWithScore(
                    node=schema.TextNode(id_=hit.item_id, text=hit.text, metadata=hit.metadata),
                    score=hit.score,
                )
                for hit in found
            ]

    return HotfillRetriever()
