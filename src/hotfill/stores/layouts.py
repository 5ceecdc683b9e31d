"""How frameworks lay out what they keep, and how it is told from the names of its fields.

A store that can hold such a collection adopts it without being told the names, and says what its
items are made of, so that they can be embedded again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Layout:
    """What one class of a framework makes.

    fields: by which it is known: the columns of a table, the keys of a payload or of metadata.
    content: the field with the text. nodes: the field with LlamaIndex's own record of a node, from
        which it makes the text that it embeds; None for other frameworks.
    id, vector, metadata: columns of a table. collection: the column that tells the collections of a
        table apart. names: table, id and name of collections, where people know them by a name.
    """

    framework: str
    fields: frozenset[str]
    content: str
    nodes: str | None = None
    id: str = "id"
    vector: str = "embedding"
    metadata: str | None = None
    collection: str | None = None
    names: tuple[str, str, str] | None = None


_TABLES = (
    Layout(
        "LangChain's PGVector",
        frozenset({"id", "collection_id", "embedding", "document", "cmetadata"}),
        content="document",
        metadata="cmetadata",
        collection="collection_id",
        names=("langchain_pg_collection", "uuid", "name"),
    ),
    Layout(
        "LangChain's PGVectorStore",
        frozenset({"langchain_id", "content", "embedding", "langchain_metadata"}),
        content="content",
        id="langchain_id",
        metadata="langchain_metadata",
    ),
    Layout(
        "LlamaIndex's PGVectorStore",
        frozenset({"id", "text", "metadata_", "node_id", "embedding"}),
        content="text",
        nodes="metadata_",
        metadata="metadata_",
    ),
    Layout(
        "pgai",
        frozenset({"embedding_uuid", "chunk_seq", "chunk", "embedding"}),
        content="chunk",
        id="embedding_uuid",
    ),
)

_PAYLOADS = (
    Layout(
        "LlamaIndex's QdrantVectorStore",
        frozenset({"_node_content", "_node_type"}),
        content="_node_content",
        nodes="",
    ),
    Layout(
        "LangChain's QdrantVectorStore", frozenset({"page_content", "metadata"}), "page_content"
    ),
)

_COLLECTIONS = (
    Layout(
        "LangChain's Milvus",
        frozenset({"pk", "text", "vector"}),
        content="text",
        id="pk",
        vector="vector",
    ),
)


DOCUMENT = "chroma:document"
"""Chroma's own name for the document of a row, which no key of metadata can have."""

_DOCUMENTS = (
    Layout(
        "LlamaIndex's ChromaVectorStore",
        frozenset({"_node_content", "_node_type"}),
        content=DOCUMENT,
        nodes="",
    ),
    # LangChain's Chroma, too: it keeps texts as documents, and adds nothing to the metadata.
    Layout("Chroma's own classes", frozenset({DOCUMENT}), content=DOCUMENT),
)


def table_layout(columns: Iterable[str]) -> Layout | None:
    """Tell which framework made a table; None where none did."""
    return _told(_TABLES, columns)


def payload_layout(keys: Iterable[str]) -> Layout | None:
    """Tell which framework made a payload; None where none did."""
    return _told(_PAYLOADS, keys)


def collection_layout(fields: Iterable[str]) -> Layout | None:
    """Tell which framework made a collection, by the fields it declares; None where none did."""
    return _told(_COLLECTIONS, fields)


def document_layout(keys: Iterable[str]) -> Layout | None:
    """Tell which framework made a row of Chroma, by the keys of its metadata and `DOCUMENT`."""
    return _told(_DOCUMENTS, keys)


def _told(layouts: tuple[Layout, ...], names: Iterable[str]) -> Layout | None:
    there = set(names)
    return next((layout for layout in layouts if layout.fields <= there), None)
