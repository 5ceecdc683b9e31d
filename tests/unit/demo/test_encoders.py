import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from demo.omniglot import drawings, encoders
from demo.omniglot.architecture import NEW, OLD

both = pytest.mark.parametrize(
    ("build", "dimension"), [(encoders.old, 64), (encoders.new, 128)], ids=["old", "new"]
)


def some_images(count: int) -> np.ndarray:
    return drawings.load("evaluation").images[::401][:count]


@both
def test_embeddings_are_unit_float32_rows(
    build: Callable[[], encoders.Encoder], dimension: int
) -> None:
    encoder = build()
    embeddings = encoder(some_images(33))
    assert encoder.dimension == dimension
    assert embeddings.shape == (33, dimension)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


@both
def test_a_drawing_has_one_embedding_whatever_stands_beside_it(
    build: Callable[[], encoders.Encoder], dimension: int
) -> None:
    encoder, images = build(), some_images(33)
    together = encoder(images)
    np.testing.assert_allclose(encoder(images[:1]), together[:1], atol=1e-6)
    np.testing.assert_allclose(encoder(images[::-1]), together[::-1], atol=1e-6)


@both
def test_no_drawings_give_no_rows(build: Callable[[], encoders.Encoder], dimension: int) -> None:
    assert build()(np.zeros((0, 28, 28), dtype=np.bool_)).shape == (0, dimension)


def test_an_empty_sheet_still_has_unit_length() -> None:
    for encoder in (encoders.old(), encoders.new()):
        embedding = encoder(np.zeros((1, 28, 28), dtype=np.bool_))
        np.testing.assert_allclose(np.linalg.norm(embedding), 1, atol=1e-6)


def test_bool_and_bytes_are_the_same_drawing() -> None:
    images = some_images(4)
    grey = images.astype(np.uint8) * 255
    np.testing.assert_array_equal(encoders.old()(images), encoders.old()(grey))


@pytest.mark.parametrize(
    "images",
    [np.zeros((28, 28), dtype=np.bool_), np.zeros((1, 28, 28)), np.zeros((1, 105, 105), np.uint8)],
    ids=["one drawing", "floats", "full size"],
)
def test_other_pictures_are_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected bool or uint8 images"):
        encoders.old()(images)


def test_the_two_have_different_names_and_the_revision_is_the_weights() -> None:
    old, new = encoders.old(), encoders.new()
    assert (old.name, new.name) == ("omniglot-old", "omniglot-new")
    weights = (drawings.DATA / "old.safetensors").read_bytes()
    assert old.revision == hashlib.sha256(weights).hexdigest()[:12]
    assert old.revision != new.revision


def test_weights_of_another_architecture_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit omniglot-new"):
        encoders.Encoder(NEW, drawings.DATA / "old.safetensors")


def test_missing_weights_are_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        encoders.Encoder(OLD, tmp_path / "old.safetensors")


def slow_convolution(
    pictures: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int
) -> np.ndarray:
    """One output number at a time, in float64."""
    kernel, _, inputs, outputs = weight.shape
    count, height, width, _ = pictures.shape
    rows, columns = len(range(0, height, stride)), len(range(0, width, stride))
    result = np.zeros((count, rows, columns, outputs))
    for n, row, column, output in np.ndindex(*result.shape):
        total = float(bias[output])
        for down, right, channel in np.ndindex(kernel, kernel, inputs):
            y = row * stride + down - kernel // 2
            x = column * stride + right - kernel // 2
            if 0 <= y < height and 0 <= x < width:
                pixel, factor = pictures[n, y, x, channel], weight[down, right, channel, output]
                total += float(pixel) * float(factor)
        result[n, row, column, output] = total
    return result


@pytest.mark.parametrize(("kernel", "stride"), [(5, 2), (3, 1), (3, 2), (1, 1)])
@pytest.mark.parametrize("side", [7, 8])
def test_a_convolution_equals_the_loops(kernel: int, stride: int, side: int) -> None:
    random = np.random.default_rng(kernel * 10 + stride)
    pictures = random.normal(size=(2, side, side, 2)).astype(np.float32)
    weight = random.normal(size=(kernel, kernel, 2, 3)).astype(np.float32)
    bias = random.normal(size=3).astype(np.float32)
    np.testing.assert_allclose(
        encoders.convolve(pictures, weight, bias, stride=stride),
        slow_convolution(pictures, weight, bias, stride),
        atol=1e-4,
    )


def test_the_first_layer_equals_the_loops_on_drawings() -> None:
    random = np.random.default_rng(0)
    pictures = some_images(2).astype(np.float32)[..., np.newaxis]
    weight = random.normal(size=(5, 5, 1, 4)).astype(np.float32)
    bias = random.normal(size=4).astype(np.float32)
    np.testing.assert_allclose(
        encoders.convolve(pictures, weight, bias, stride=2),
        slow_convolution(pictures, weight, bias, 2),
        atol=1e-4,
    )


@pytest.mark.parametrize("side", [6, 7])
def test_pooling_equals_the_loops(side: int) -> None:
    pictures = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)
    pooled = encoders.pool(pictures)
    assert pooled.shape == (2, 3, 3, 3)
    for n, row, column, channel in np.ndindex(*pooled.shape):
        square = pictures[n, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        assert pooled[n, row, column, channel] == square.max()


def test_torch_is_not_needed() -> None:
    code = (
        "import sys; from demo.omniglot import drawings, encoders, quality, train; "
        "encoders.new()(drawings.load('evaluation').images[:2]); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=drawings.DATA.parents[1])
