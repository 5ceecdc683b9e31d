"""Float to binary, binary to newer binary: spaces, embedders, and codes that search old codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hotfill.binary import Binarisation, BinaryEmbedder, CodeIndex, Codes, symmetric_scores
from hotfill.binary.codes import CodeFormat, grid_values, levels_from_values, pack, unpack
from hotfill.errors import ConfigError, InputError, ModelMismatchError, ShapeError
from hotfill.lab.binary import as_old_codes, fit_compatible_start, fit_start, old_code_values
from hotfill.lab.binary.choice import overlap
from hotfill.types import Embedder, ModelId, Transform

OLD = ModelId("shop", "1", 24)
NEW = ModelId("shop", "2", 40)


def worlds(n: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The same n items seen by an old, noisier model and by a new one in other coordinates."""
    random = np.random.default_rng(seed)
    hidden = random.standard_normal((n, 20))
    maps = np.random.default_rng(99)
    old = hidden @ maps.standard_normal((20, 24)) + 1.5 * random.standard_normal((n, 24))
    new = hidden @ maps.standard_normal((20, 40)) + 0.3 * random.standard_normal((n, 40))
    return old.astype(np.float32), new.astype(np.float32)


class Table:
    """An embedder that looks vectors up."""

    def __init__(self, model_id: ModelId, rows: NDArray[np.float32]) -> None:
        self._model_id = model_id
        self._rows = rows

    @property
    def model_id(self) -> ModelId:
        return self._model_id

    def __call__(self, contents: Sequence[Any], /) -> NDArray[np.float32]:
        return self._rows[[int(content) for content in contents]]


def test_a_binary_embedder_gives_grid_values_that_pack_without_loss() -> None:
    rows, _ = worlds(300)
    encoder = fit_start(rows, OLD, CodeFormat(24, 2))
    embedder = BinaryEmbedder(Table(OLD, rows), encoder)
    assert isinstance(embedder, Embedder)
    assert embedder.model_id == encoder.space
    values = embedder(range(10))
    codes = encoder.encode(rows[:10])
    packed = pack(levels_from_values(values, codes.code_format), codes.code_format)
    assert np.array_equal(packed, codes.packed)
    # A store that compares them by cosine ranks as symmetric search does.
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    exact = symmetric_scores(codes.packed, codes.packed, codes.code_format)
    assert np.allclose(unit @ unit.T, exact, atol=1e-6)


def test_float_queries_live_in_the_same_space_and_find_more() -> None:
    rows, _ = worlds(600)
    encoder = fit_start(rows, OLD, CodeFormat(24, 1))
    items = BinaryEmbedder(Table(OLD, rows), encoder)
    floats = BinaryEmbedder(Table(OLD, rows), encoder, float_queries=True)
    assert floats.model_id == items.model_id
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    truth = np.argsort(-(unit[:50] @ unit.T), axis=1)[:, :10]
    gallery = items(range(600))
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)

    def found(queries: NDArray[np.float32]) -> float:
        best = np.argsort(-(queries @ gallery.T), axis=1)[:, :10]
        return float(np.mean([len(set(a) & set(b)) for a, b in zip(best, truth, strict=True)]))

    assert found(floats(range(50))) > found(items(range(50)))


def test_the_encoder_as_a_transform_makes_the_same_vectors() -> None:
    rows, _ = worlds(300)
    encoder = fit_start(rows, OLD, CodeFormat(24, 2))
    transform = Binarisation(encoder)
    assert isinstance(transform, Transform)
    assert (transform.source, transform.target) == (OLD, encoder.space)
    embedder = BinaryEmbedder(Table(OLD, rows), encoder)
    assert np.array_equal(transform(rows[:9]), embedder(range(9)))
    assert transform.fingerprint == encoder.space.fingerprint


def test_an_encoder_of_another_model_is_refused() -> None:
    rows, new = worlds(300)
    encoder = fit_start(rows, OLD, CodeFormat(24, 2))
    with pytest.raises(ModelMismatchError):
        BinaryEmbedder(Table(NEW, new), encoder)


@pytest.mark.parametrize("dimension", [24, 40])
def test_new_codes_search_an_old_gallery_better_than_old_codes_do(dimension: int) -> None:
    """The start alone is compatible: M(new, old) > M(old, old), and new codes stay themselves."""
    old_rows, new_rows = worlds(2000)
    fitted, gallery, asked = slice(0, 1000), slice(1000, 1800), slice(1800, 2000)
    old = fit_start(old_rows[fitted], OLD, CodeFormat(24, 2))
    values = old_code_values(old, old_rows[fitted])
    new = fit_compatible_start(new_rows[fitted], values, NEW, CodeFormat(dimension, 2))
    plain = fit_start(new_rows[fitted], NEW, CodeFormat(dimension, 2), alternations=0)
    # Both models look at the same hidden items; whose neighbours are near there is relevant.
    hidden = np.random.default_rng(0).standard_normal((2000, 20))
    hidden /= np.linalg.norm(hidden, axis=1, keepdims=True)
    truth = np.argsort(-(hidden[asked] @ hidden[gallery].T), axis=1)[:, :10]

    def found(queries: Codes, codes: Codes) -> float:
        return overlap(CodeIndex(codes).search(queries, 10).items, truth)

    old_codes = old.encode(old_rows[gallery])
    new_queries = new.encode(new_rows[asked])
    new_to_old = found(as_old_codes(new_queries, old.space), old_codes)
    assert new_to_old > found(old.encode(old_rows[asked]), old_codes)
    new_to_new = found(new_queries, new.encode(new_rows[gallery]))
    assert new_to_new > new_to_old
    independent = found(plain.encode(new_rows[asked]), plain.encode(new_rows[gallery]))
    assert new_to_new > 0.85 * independent


def test_codes_are_cut_to_the_old_dimension() -> None:
    _, new_rows = worlds(300)
    codes = fit_start(new_rows, NEW, CodeFormat(40, 2)).encode(new_rows[:5])
    space = ModelId("shop", "1", 24, normalised=False, preprocessing="codes")
    cut = as_old_codes(codes, space)
    assert cut.space == space
    levels = unpack(codes.packed, codes.code_format)
    assert np.array_equal(
        grid_values(unpack(cut.packed, cut.code_format), cut.code_format),
        grid_values(levels[:, :24], cut.code_format),
    )
    with pytest.raises(ConfigError, match="cannot be compatible"):
        as_old_codes(codes, ModelId("shop", "1", 64))


def test_impossible_compatible_codes_are_named() -> None:
    old_rows, new_rows = worlds(300)
    old = fit_start(old_rows, OLD, CodeFormat(24, 2))
    values = old_code_values(old, old_rows)
    with pytest.raises(InputError, match="24 to 40"):
        fit_compatible_start(new_rows, values, NEW, CodeFormat(20, 2))
    with pytest.raises(InputError, match="24 to 40"):
        fit_compatible_start(new_rows, values, NEW, CodeFormat(48, 2))
    with pytest.raises(ShapeError, match="old code"):
        fit_compatible_start(new_rows[:5], values, NEW, CodeFormat(24, 2))
