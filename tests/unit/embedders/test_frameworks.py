"""Embedding models of LangChain and LlamaIndex are embedders."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill import config
from hotfill.embedders.frameworks import FrameworkEmbedder, of_framework
from hotfill.errors import ConfigError, EmbedError
from hotfill.types import ModelId
from tests.scenarios.frameworks import embeddings

pytestmark = pytest.mark.filterwarnings("default")  # of the libraries' own dependencies
TEXTS = ["red fox", "blue car", "a house"]


def langchain():
    pytest.importorskip("langchain_core")
    return embeddings.langchain(2, 16)


def llama_index():
    pytest.importorskip("llama_index.core")
    return embeddings.llama_index(2, 16)


@pytest.mark.parametrize("make", [langchain, llama_index])
def test_texts_are_embedded_by_the_framework_and_keep_their_order(make):
    embedder = FrameworkEmbedder(make())
    wanted = np.array(embeddings.letters(TEXTS, 2, 16), np.float32)
    np.testing.assert_array_equal(embedder(TEXTS), wanted)
    assert embedder([]).shape == (0, 16)


def test_the_id_says_what_the_object_shows():
    model = FrameworkEmbedder(langchain()).model_id
    assert (model.name, model.revision, model.dimension) == ("Letters", "1", 16)
    assert not model.normalised
    assert FrameworkEmbedder(llama_index()).model_id.name == "letters-2"
    named = ModelId("mine", "7", 16)
    unit = FrameworkEmbedder(langchain(), named)
    assert unit.model_id == named
    np.testing.assert_allclose(np.linalg.norm(unit(TEXTS), axis=1), 1, atol=1e-6)


class Asymmetric:
    """Two methods that differ, as those of E5 or Cohere do."""

    model = "two-sided"

    def embed_documents(self, texts):
        return [[1.0, 0.0] for _ in texts]

    def embed_query(self, text):
        return [0.0, 1.0]


def test_queries_are_embedded_by_their_own_method_in_the_same_space():
    embedder = FrameworkEmbedder(Asymmetric())
    asking = embedder.for_queries()
    assert asking.model_id == embedder.model_id
    assert embedder.model_id.normalised
    np.testing.assert_array_equal(embedder(["a", "b"]), [[1, 0], [1, 0]])
    np.testing.assert_array_equal(asking(["a", "b"]), [[0, 1], [0, 1]])


def test_what_is_no_text_and_what_fails_is_said():
    embedder = FrameworkEmbedder(Asymmetric())
    with pytest.raises(EmbedError, match="expected texts, got bytes in row 1") as caught:
        embedder(["a", b"b"])
    assert (caught.value.rows, caught.value.retryable) == ((1,), False)

    class Failing(Asymmetric):
        def embed_documents(self, texts):
            if texts != ["word"]:
                raise TimeoutError("no answer")
            return [[1.0, 0.0]]

    with pytest.raises(EmbedError, match="Failing failed: TimeoutError: no answer"):
        FrameworkEmbedder(Failing())(["a"])

    class Short(Asymmetric):
        def embed_documents(self, texts):
            return [[1.0, 0.0]]

    with pytest.raises(EmbedError, match=r"an array of \(1, 2\) for 2 texts"):
        FrameworkEmbedder(Short())(["a", "b"])
    with pytest.raises(ConfigError, match="got dict"):
        FrameworkEmbedder({})
    assert not of_framework(lambda texts: texts)


def test_a_configuration_file_names_a_class_of_a_framework(tmp_path):
    (tmp_path / "named_models.py").write_text(
        "class Letters:\n"
        "    model = 'letters'\n"
        "    def __init__(self, size): self.size = size\n"
        "    def embed_documents(self, texts): return [[1.0] * self.size for _ in texts]\n"
        "    def embed_query(self, text): return [2.0] * self.size\n"
    )
    path = tmp_path / "upgrade.toml"
    path.write_text(
        '[store]\npath = "gallery"\n[source]\nkind = "store"\nfield = "text"\n'
        '[old]\nembedder = "named_models:Letters"\noptions = { size = 3 }\n'
        '[new]\nembedder = "named_models:Letters"\noptions = { size = 4 }\n'
        'model = { name = "n", revision = "5", dimension = 4, normalised = false }\n'
    )
    project = config.read(path)
    assert project.model("old") == ModelId("letters", "1", 3, normalised=False)
    assert project.embedder("new").model_id == ModelId("n", "5", 4, normalised=False)
    np.testing.assert_array_equal(project.query_embedder("new")(["a"]), [[2, 2, 2, 2]])
    with pytest.raises(ConfigError, match="open it first"):
        project.source()
