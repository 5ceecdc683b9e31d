"""LangChain's and LlamaIndex's retrievers give what a search finds, in every phase."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.stores.memory import MemoryGallery
from tests.unit.upgrade.small import NEW, OLD, Contents, Projection, half_done, upgrade

ITEMS = 200
pytestmark = pytest.mark.filterwarnings("default")  # of the libraries' own dependencies


def numbers_of(text: str) -> np.ndarray:
    return np.array([float(part) for part in text.split()], dtype=np.float32)


class TextProjection:
    """The tests' projection, of texts that hold numbers."""

    def __init__(self, model) -> None:
        self.model_id = model
        self._inner = Projection(model)

    def __call__(self, contents):
        return self._inner([numbers_of(text) for text in contents])


def texts(n: int) -> Contents:
    rows = np.random.default_rng(0).normal(size=(n, 8)).round(3)
    return Contents({f"item-{i:05}": " ".join(map(str, row)) for i, row in enumerate(rows)})


@pytest.fixture
def world(tmp_path):
    source = texts(ITEMS)
    gallery = MemoryGallery(OLD)
    gallery.upsert(
        list(source),
        TextProjection(OLD)(list(source.values())),
        space=OLD,
        metadata=[{"even": row % 2 == 0} for row in range(ITEMS)],
    )
    old, new = TextProjection(OLD), TextProjection(NEW)
    return upgrade(
        tmp_path,
        source=source,
        gallery=gallery,
        new_embedder=new,
        old_embedder=old,
        fit_items=150,
        fitting=None,
    )


def langchain(up, **options):
    pytest.importorskip("langchain_core")
    from hotfill.integrations.retrievers import langchain_retriever

    retriever = langchain_retriever(up, **options)
    return lambda query: [
        (found.id, found.page_content, found.metadata) for found in retriever.invoke(query)
    ]


def llama_index(up, **options):
    pytest.importorskip("llama_index.core")
    from hotfill.integrations.retrievers import llama_index_retriever

    retriever = llama_index_retriever(up, **options)

    def ask(query):
        found = retriever.retrieve(query)
        assert all(hit.score == hit.node.metadata["score"] for hit in found)
        return [(hit.node.id_, hit.node.get_content(), hit.node.metadata) for hit in found]

    return ask


@pytest.mark.parametrize("library", [langchain, llama_index])
def test_documents_are_what_a_search_finds_before_amid_and_after(world, library) -> None:
    up = world
    query = up.source["item-00005"]
    ask = library(up, k=7)
    for step in (lambda: None, lambda: half_done(up), up.start):
        step()
        expected = up.search(query, 7)
        found = ask(query)
        assert [item_id for item_id, _, _ in found] == list(expected.item_ids)
        assert found[0][0] == "item-00005"
        for (item_id, text, metadata), hit in zip(found, expected.hits, strict=True):
            assert text == up.source[item_id]
            number = int(item_id.removeprefix("item-"))
            assert metadata == {
                "even": number % 2 == 0,
                "item_id": item_id,
                "score": hit.score,
                "model": str(hit.model),
            }


@pytest.mark.parametrize("library", [langchain, llama_index])
def test_metadata_and_filters_of_the_gallery_are_there(world, library) -> None:
    up = world
    ask = library(up, k=5, where={"even": True})
    found = ask(up.source["item-00005"])
    assert len(found) == 5
    assert all(metadata["even"] is True for _, _, metadata in found)


@pytest.mark.parametrize("library", [langchain, llama_index])
def test_an_item_whose_text_is_gone_is_left_out(world, library) -> None:
    up = world
    query = up.source.pop("item-00005")
    found = library(up, k=5)(query)
    assert len(found) == 4
    assert "item-00005" not in [item_id for item_id, _, _ in found]
