"""An upgrade as a retriever of LangChain or LlamaIndex: right in every phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hotfill.extras import need

if TYPE_CHECKING:
    from hotfill.stores.base import Where
    from hotfill.upgrade.upgrade import Upgrade


def langchain_retriever(up: Upgrade, *, k: int = 10, where: Where | None = None) -> Any:
    """Make a LangChain retriever: `retriever.invoke("query")` gives documents, best first.

    A document's id is the item's; its metadata is the item's own, with item_id, score and model.
    Returns a `BaseRetriever`. Raises MissingExtraError.
    """
    retrievers: Any = need("langchain_core.retrievers", "langchain")
    documents: Any = need("langchain_core.documents", "langchain")

    class LangchainRetriever(retrievers.BaseRetriever):  # type: ignore[misc]  # an extra: any type
        """Searches through an upgrade."""

        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Any]:
            return [
                documents.Document(page_content=hit.text, metadata=hit.metadata, id=hit.item_id)
                for hit in _find_texts(up, query, k, where)
            ]

    return LangchainRetriever()


def llama_index_retriever(up: Upgrade, *, k: int = 10, where: Where | None = None) -> Any:
    """Make a LlamaIndex retriever: `retriever.retrieve("query")` gives scored nodes, best first.

    A node's id is the item's; its metadata is the item's own, with item_id, score and model.
    Returns a `BaseRetriever`. Raises MissingExtraError.
    """
    retrievers: Any = need("llama_index.core.retrievers", "llama-index")
    schema: Any = need("llama_index.core.schema", "llama-index")

    class LlamaIndexRetriever(retrievers.BaseRetriever):  # type: ignore[misc]  # an extra: any type
        """Searches through an upgrade."""

        def _retrieve(self, query_bundle: Any) -> list[Any]:
            return [
                schema.NodeWithScore(
                    node=schema.TextNode(id_=hit.item_id, text=hit.text, metadata=hit.metadata),
                    score=hit.score,
                )
                for hit in _find_texts(up, query_bundle.query_str, k, where)
            ]

    return LlamaIndexRetriever()


class _FoundText(NamedTuple):
    item_id: str
    text: str
    score: float
    metadata: dict[str, Any]


def _find_texts(up: Upgrade, query: str, k: int, where: Where | None) -> list[_FoundText]:
    """Search, and read texts and metadata of what is found; an item whose text is gone is left out.

    Raises as `Upgrade.search` and the source.
    """
    result = up.search([query], k, where=where)[0]
    texts = up.contents(result.item_ids)
    states = up.gallery.get(result.item_ids)
    return [
        _FoundText(
            hit.item_id,
            str(texts[hit.item_id]),
            hit.score,
            {
                **(state.metadata if state is not None else {}),
                "item_id": hit.item_id,
                "score": hit.score,
                "model": str(hit.model),
            },
        )
        for hit, state in zip(result.hits, states, strict=True)
        if hit.item_id in texts
    ]
