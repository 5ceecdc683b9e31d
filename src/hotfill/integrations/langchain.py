"""`Serving` as a retriever of LangChain, in every phase of an upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotfill.extras import need
from hotfill.integrations.found_texts import find_texts

if TYPE_CHECKING:
    from hotfill.stores.base import Gallery, Where
    from hotfill.types import Source
    from hotfill.upgrade.serving import Serving


def langchain_retriever(
    serving: Serving,
    source: Source,
    *,
    k: int = 10,
    where: Where | None = None,
    gallery: Gallery | None = None,
) -> Any:
    """Make a LangChain retriever: `retriever.invoke("query")` gives documents, best first.

    source: gives the texts of items. gallery: gives their own metadata, if wanted.
    A document's id is the item's; its metadata also holds item_id, score and model.
    Returns a `BaseRetriever`. Raises MissingExtraError.
    """
    retrievers: Any = need("langchain_core.retrievers", "langchain")
    documents: Any = need("langchain_core.documents", "langchain")

    class HotfillRetriever(retrievers.BaseRetriever):  # type: ignore[misc]  # an extra: any type
        """Searches through `Serving`."""

        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Any]:
            found = find_texts(serving, source, query, k=k, where=where, gallery=gallery)
            return [
                documents.Document(page_content=hit.text, metadata=hit.metadata, id=hit.item_id)
                for hit in found
            ]

    return HotfillRetriever()
