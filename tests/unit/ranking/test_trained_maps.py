"""The maps that training gives: applied with numpy, kept in files, refused when they do not fit."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hotfill.errors import ConfigError, ShapeError
from hotfill.ranking import (
    ForwardMap,
    MlpMap,
    ResidualMlp,
    join,
    joint_model,
    load_transform,
    uncertainty,
)
from hotfill.types import ModelId

OLD = ModelId("old", "1", 3, metric="l2", normalised=False)
NEW = ModelId("new", "1", 4, metric="l2", normalised=False)
SIDE = ModelId("side", "1", 2)


def stack(name: str, *widths: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = {}
    for place, (taken, given) in enumerate(pairwise(widths)):
        arrays[f"{name}.matrix_{place}"] = rng.normal(size=(taken, given)).astype(np.float32)
        arrays[f"{name}.offset_{place}"] = rng.normal(size=given).astype(np.float32)
    return arrays


def slow_stack(row: list[float], arrays: dict, name: str, *, last_relu: bool) -> list[float]:
    place = 0
    while f"{name}.matrix_{place}" in arrays:
        matrix, offset = arrays[f"{name}.matrix_{place}"], arrays[f"{name}.offset_{place}"]
        row = [
            sum(float(row[i]) * float(matrix[i, j]) for i in range(len(row))) + float(offset[j])
            for j in range(matrix.shape[1])
        ]
        place += 1
        if last_relu or f"{name}.matrix_{place}" in arrays:
            row = [max(0.0, value) for value in row]
    return row


def forward_arrays(old: int, side: int, *, sigma: bool) -> dict[str, np.ndarray]:
    arrays = {
        **stack("old", old, 5, 6, seed=1),
        **stack("side", side, 4, 7, seed=2),
        **stack("mixer", 13, 8, 4, seed=3),
    }
    return arrays | (stack("sigma", 4, 1, seed=4) if sigma else {})


def slow_forward(row: list[float], side: list[float], arrays: dict) -> list[float]:
    both = slow_stack(row, arrays, "old", last_relu=True)
    both = both + slow_stack(side, arrays, "side", last_relu=True)
    return slow_stack(both, arrays, "mixer", last_relu=False)


ROWS = np.random.default_rng(9).normal(size=(6, 3)).astype(np.float32)


def test_an_mlp_is_its_layers_one_number_at_a_time() -> None:
    arrays = stack("layers", 3, 7, 5, 4)
    mapped = MlpMap(OLD, NEW, arrays)(ROWS)
    slow = [slow_stack(list(row), arrays, "layers", last_relu=False) for row in ROWS]
    np.testing.assert_allclose(mapped, slow, rtol=1e-4, atol=1e-5)
    assert mapped.dtype == np.float32


def test_a_residual_mlp_is_its_equation() -> None:
    rng = np.random.default_rng(0)
    shapes = {
        "inner": (3, 5),
        "inner_offset": (5,),
        "offset": (4,),
        "outer": (5, 4),
        "scale": (4,),
        "straight": (3, 4),
    }
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    mapped = ResidualMlp(OLD, NEW, arrays)(ROWS)
    for row, found in zip(ROWS.astype(float), mapped, strict=True):
        inner = row @ arrays["inner"] + arrays["inner_offset"]
        bent = [y * 0.5 * (1 + math.erf(y / math.sqrt(2))) for y in inner]
        whole = row @ arrays["straight"] + arrays["offset"] + np.array(bent) @ arrays["outer"]
        np.testing.assert_allclose(found, whole * arrays["scale"], rtol=1e-4, atol=1e-5)


def test_a_forward_map_without_side_information_reads_the_old_vector_twice() -> None:
    arrays = forward_arrays(3, 3, sigma=True)
    made = ForwardMap(OLD, NEW, arrays)
    slow = [slow_forward(list(row), list(row), arrays) for row in ROWS]
    np.testing.assert_allclose(made(ROWS), slow, rtol=1e-4, atol=1e-4)
    doubts = [slow_stack(row, arrays, "sigma", last_relu=False)[0] for row in slow]
    np.testing.assert_allclose(uncertainty(made, ROWS), doubts, rtol=1e-3, atol=1e-3)


def test_side_information_joins_the_old_vector_in_one_row() -> None:
    arrays = forward_arrays(3, 2, sigma=False)
    made = ForwardMap(joint_model(OLD, SIDE), NEW, arrays)
    side = np.random.default_rng(5).normal(size=(6, 2)).astype(np.float32)
    mapped = made(join(ROWS, 7 * side, old_model=OLD, side_model=SIDE))
    unit = side / np.linalg.norm(side, axis=1, keepdims=True)  # SIDE compares by the cosine
    slow = [slow_forward(list(a), list(b), arrays) for a, b in zip(ROWS, unit, strict=True)]
    np.testing.assert_allclose(mapped, slow, rtol=1e-4, atol=1e-4)


def test_side_information_of_other_items_is_refused() -> None:
    with pytest.raises(ShapeError, match="6 and 5"):
        join(ROWS, np.ones((5, 2)), old_model=OLD, side_model=SIDE)


def test_a_forward_map_without_a_head_cannot_order() -> None:
    made = ForwardMap(OLD, NEW, forward_arrays(3, 3, sigma=False))
    assert not made.has_head
    with pytest.raises(ConfigError, match="no sigma head"):
        uncertainty(made, ROWS)


@pytest.mark.parametrize(
    "made",
    [
        MlpMap(OLD, NEW, stack("layers", 3, 5, 4), {"method": "test"}),
        ForwardMap(OLD, NEW, forward_arrays(3, 3, sigma=True)),
        ResidualMlp(
            OLD,
            NEW,
            {
                "inner": np.ones((3, 2)),
                "inner_offset": np.ones(2),
                "offset": np.ones(4),
                "outer": np.ones((2, 4)),
                "scale": np.ones(4),
                "straight": np.ones((3, 4)),
            },
        ),
    ],
    ids=lambda made: made.kind,
)
def test_trained_maps_come_back_from_files(made, tmp_path: Path) -> None:
    path = tmp_path / "map.safetensors"
    made.save(path)
    back = load_transform(path, source=OLD, target=NEW)
    assert type(back) is type(made)
    assert back.fingerprint == made.fingerprint
    np.testing.assert_array_equal(back(ROWS), made(ROWS))


@pytest.mark.parametrize(
    ("kind", "arrays"),
    [
        (MlpMap, stack("layers", 3, 5)),
        (MlpMap, stack("layers", 2, 5, 4)),
        (MlpMap, {}),
        (MlpMap, stack("layers", 3, 4) | stack("other", 3, 4)),
        (MlpMap, stack("layers", 3, 4) | {"layers.matrix_1": np.ones((5, 4))}),
        (MlpMap, {"layers.matrix_0": np.ones((3, 4))}),
        (ForwardMap, forward_arrays(2, 2, sigma=False)),
        (ForwardMap, forward_arrays(3, 3, sigma=False) | stack("mixer", 9, 8, 4)),
        (ForwardMap, forward_arrays(3, 3, sigma=False) | stack("sigma", 4, 2)),
        (ResidualMlp, {"inner": np.ones((3, 2))}),
    ],
)
def test_weights_that_do_not_fit_the_spaces_are_refused(kind, arrays) -> None:
    with pytest.raises(ShapeError):
        kind(OLD, NEW, arrays)
