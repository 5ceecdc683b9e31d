from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hotfill.errors import InputError, ModelMismatchError, ShapeError, VectorError
from hotfill.ranking import Affine, StampedTransform, identity, load_transform
from hotfill.types import ModelId, Transform

OLD = ModelId("old", "1", 3)
NEW = ModelId("new", "1", 4)
OTHER = ModelId("other", "1", 4)


def affine(seed: int = 0, target: ModelId = NEW) -> Affine:
    rng = np.random.default_rng(seed)
    arrays = {"matrix": rng.normal(size=(3, 4)), "offset": rng.normal(size=4)}
    return Affine(OLD, target, arrays, {"method": "test", "pairs": 7})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "up.safetensors"


def test_a_transform_comes_back_as_it_was(path: Path) -> None:
    made = affine()
    made.save(path)
    back = load_transform(path, source=OLD, target=NEW)
    rows = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    assert isinstance(back, Affine)
    assert (back.fingerprint, back.facts) == (made.fingerprint, made.facts)
    np.testing.assert_array_equal(back(rows), made(rows))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_identity_comes_back_although_it_has_no_weights(path: Path) -> None:
    identity(NEW, OTHER).save(path)
    assert load_transform(path).kind == "identity"


def test_a_file_of_other_models_is_refused(path: Path) -> None:
    affine().save(path)
    with pytest.raises(ModelMismatchError, match="target"):
        load_transform(path, source=OLD, target=OTHER)
    with pytest.raises(ModelMismatchError, match="source"):
        load_transform(path, source=OTHER)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"up\.safetensors"):
        load_transform(path)


@pytest.mark.parametrize("keep", [0, 3, 40, -1])
def test_a_truncated_file_is_refused(path: Path, keep: int) -> None:
    affine().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="not a readable"):
        load_transform(path)


def test_one_changed_bit_in_the_weights_is_noticed(path: Path) -> None:
    affine().save(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        load_transform(path)


def test_a_foreign_safetensors_file_is_refused(path: Path) -> None:
    save_file({"matrix": np.zeros((3, 4), np.float32)}, path)
    with pytest.raises(InputError, match="not a transform"):
        load_transform(path)


def test_an_unknown_kind_or_format_is_refused(path: Path) -> None:
    for stamp in ('{"format": 1, "kind": "os.system"}', '{"format": 2}', "no json", "[]"):
        save_file({"x": np.zeros(1, np.float32)}, path, metadata={"hotfill.transform": stamp})
        with pytest.raises(InputError):
            load_transform(path)


def test_every_transform_fulfils_the_protocol_of_types() -> None:
    assert isinstance(affine(), Transform)
    assert issubclass(Affine, StampedTransform)


def test_the_fingerprint_differs_with_weights_and_spaces() -> None:
    prints = {affine().fingerprint, affine(1).fingerprint, affine(target=OTHER).fingerprint}
    assert len(prints) == 3
    assert affine().fingerprint == affine().fingerprint


def test_weights_are_copied_and_frozen() -> None:
    matrix = np.ones((3, 4), np.float32)
    made = Affine(OLD, NEW, {"matrix": matrix, "offset": np.zeros(4)})
    matrix[:] = 7
    assert made.matrix[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        made.matrix[0, 0] = 2


def test_weights_of_the_wrong_shape_or_with_nan_are_refused() -> None:
    with pytest.raises(ShapeError):
        Affine(OLD, NEW, {"matrix": np.ones((4, 3)), "offset": np.zeros(4)})
    with pytest.raises(VectorError, match="matrix"):
        Affine(OLD, NEW, {"matrix": np.full((3, 4), np.nan), "offset": np.zeros(4)})


def test_a_vector_mapped_to_zero_is_refused_and_named() -> None:
    made = Affine(OLD, NEW, {"matrix": np.eye(3, 4), "offset": [0, 0, -1.0, 0]})
    with pytest.raises(VectorError, match="length zero") as caught:
        made(np.float32([[1, 0, 0], [0, 0, 1]]))
    assert caught.value.item_ids == ("row 1",)


def test_many_rows_are_mapped_batch_by_batch_without_a_seam() -> None:
    rows = np.random.default_rng(2).normal(size=(9000, 3)).astype(np.float32)
    made = affine()
    np.testing.assert_allclose(made(rows)[4095:4098], made(rows[4095:4098]), atol=1e-6)


def test_an_identity_refuses_unequal_dimensions_and_metrics() -> None:
    with pytest.raises(ShapeError, match="equal dimensions"):
        identity(OLD, NEW)
    with pytest.raises(ShapeError, match="one metric"):
        identity(NEW, ModelId("new", "2", 4, metric="l2"))


def test_an_identity_gives_back_the_vectors() -> None:
    rows = np.float32([[0.6, 0.8, 0, 0]])
    np.testing.assert_allclose(identity(NEW, OTHER)(rows), rows)
