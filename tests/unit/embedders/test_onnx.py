"""Real ONNX models, made here, against plain arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hotfill.errors import ConfigError, EmbedError, ShapeError
from hotfill.types import Embedder

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from hotfill.embedders.onnx import OnnxEmbedder, from_options  # noqa: E402

WORDS = ["[PAD]", "[UNK]", "red", "green", "blue", "fox", "tree"]


def save(path: Path, nodes, inputs, outputs, constants) -> Path:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


MATRIX = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
TABLE = np.random.default_rng(2).normal(size=(len(WORDS), 5)).astype(np.float32)


@pytest.fixture
def projection(tmp_path) -> Path:
    return save(
        tmp_path / "projection.onnx",
        [helper.make_node("MatMul", ["x", "matrix"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", ["n", 3])],
        {"matrix": MATRIX},
    )


@pytest.fixture
def words(tmp_path) -> Path:
    """A text model: each token's row of a table; (n, tokens, 5)."""
    return save(
        tmp_path / "words.onnx",
        [helper.make_node("Gather", ["table", "input_ids"], ["tokens"])],
        [("input_ids", TensorProto.INT64, ["n", "t"])],
        [("tokens", ["n", "t", 5])],
        {"table": TABLE},
    )


@pytest.fixture
def tokenizer(tmp_path) -> Path:
    library = pytest.importorskip("tokenizers")
    made = library.Tokenizer(
        library.models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    made.pre_tokenizer = library.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def arrays(n: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(size=(n, 4)))


def test_arrays_go_through_the_model_batch_by_batch(projection) -> None:
    embedder = OnnxEmbedder(projection, name="projection", batch_size=4, threads=1)
    assert isinstance(embedder, Embedder)
    made = embedder(arrays(10))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, unit(np.stack(arrays(10)) @ MATRIX), atol=1e-5)
    assert embedder([]).shape == (0, 3)


def test_the_model_id_follows_the_files_bytes_and_what_is_done_before(projection, tmp_path) -> None:
    one = OnnxEmbedder(projection, name="projection").model_id
    assert one == OnnxEmbedder(projection, name="projection").model_id
    assert one != OnnxEmbedder(projection, name="projection", preprocessing="scaled").model_id
    other = save(
        tmp_path / "other.onnx",
        [helper.make_node("MatMul", ["x", "matrix"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", ["n", 3])],
        {"matrix": MATRIX + 1},
    )
    assert one.revision != OnnxEmbedder(other, name="projection").model_id.revision
    assert OnnxEmbedder(other, name="projection", revision="7").model_id.revision == "7"


def test_arrays_that_do_not_fit_are_named(projection) -> None:
    embedder = OnnxEmbedder(projection, name="projection", batch_size=2)
    wrong = [*arrays(3), np.ones(5), "text"]
    with pytest.raises(EmbedError, match="expected arrays of shape") as caught:
        embedder(wrong)
    assert (caught.value.rows, caught.value.retryable) == ((3,), False)


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_texts_are_tokenised_and_pooled_over_their_own_tokens(words, tokenizer, pooling) -> None:
    embedder = from_options(
        path=str(words), name="words", tokenizer=str(tokenizer), pooling=pooling
    )
    texts = ["red fox", "green", "blue tree fox red unknown"]
    rows = [[WORDS.index(word) if word in WORDS else 1 for word in text.split()] for text in texts]
    expected = [TABLE[ids].mean(axis=0) if pooling == "mean" else TABLE[ids[0]] for ids in rows]
    np.testing.assert_allclose(embedder(texts), unit(np.stack(expected)), atol=1e-5)


def test_long_texts_are_cut_off_and_the_model_id_says_where(words, tokenizer) -> None:
    options = {"path": str(words), "name": "words", "tokenizer": str(tokenizer), "pooling": "mean"}
    short = from_options(**options, max_tokens=1)
    np.testing.assert_allclose(short(["red fox tree"]), unit(TABLE[[2]]), atol=1e-5)
    assert short.model_id != from_options(**options).model_id


def test_what_is_no_text_is_named(words, tokenizer) -> None:
    embedder = from_options(
        path=str(words), name="words", tokenizer=str(tokenizer), pooling="mean", batch_size=2
    )
    with pytest.raises(EmbedError, match="expected texts") as caught:
        embedder(["red", "fox", "tree", 4])
    assert caught.value.rows == (3,)


def test_tokens_without_pooling_are_refused(words, tokenizer) -> None:
    embedder = from_options(path=str(words), name="words", tokenizer=str(tokenizer))
    with pytest.raises(ShapeError, match="its `pooling` is 'none'"):
        embedder(["red fox"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "absent.onnx"}, "cannot be read"),
        ({"output": "other"}, "is not among y"),
        ({"pooling": "max"}, "expected none, mean or first"),
        ({"tokenizer": "absent.json"}, "absent.json"),
        ({"batchsize": 3}, "batchsize"),
    ],
)
def test_options_that_cannot_work_are_refused(projection, change, message) -> None:
    with pytest.raises(ConfigError, match=message):
        from_options(**{"path": str(projection), "name": "projection", **change})


def test_a_file_that_is_no_model_is_refused(tmp_path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("no model")
    with pytest.raises(ConfigError, match="cannot be loaded as an ONNX model"):
        OnnxEmbedder(path, name="text")


def test_a_model_with_several_inputs_needs_preparation(tmp_path) -> None:
    path = save(
        tmp_path / "sum.onnx",
        [helper.make_node("Add", ["a", "b"], ["y"])],
        [("a", TensorProto.FLOAT, ["n", 3]), ("b", TensorProto.FLOAT, ["n", 3])],
        [("y", ["n", 3])],
        {},
    )
    with pytest.raises(ConfigError, match="several inputs"):
        OnnxEmbedder(path, name="sum")
    embedder = OnnxEmbedder(
        path,
        name="sum",
        prepare=lambda rows: {
            "a": np.stack(rows).astype(np.float32),
            "b": np.ones((len(rows), 3), np.float32),
        },
    )
    np.testing.assert_allclose(embedder([np.zeros(3)]), unit(np.ones((1, 3))), atol=1e-6)
