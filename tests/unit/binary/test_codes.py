"""Codes against slow, obvious arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hotfill.binary.codes import (
    CodeFormat,
    grid_values,
    integers,
    levels_from_planes,
    levels_from_values,
    pack,
    quantise,
    unpack,
)
from hotfill.binary.scores import (
    asymmetric_scores,
    integer_products,
    squared_norms,
    symmetric_scores,
)
from hotfill.errors import ConfigError, InputError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@st.composite
def formats_and_levels(draw: st.DrawFn) -> tuple[CodeFormat, NDArray[np.uint8]]:
    code_format = CodeFormat(draw(st.integers(1, 37)), draw(st.integers(1, 4)))
    shape = (draw(st.integers(0, 9)), code_format.dimension)
    cells = st.integers(0, code_format.top_level)
    return code_format, draw(hnp.arrays(np.uint8, shape, elements=cells))


def slow_values(levels: NDArray[np.uint8], bits: int) -> NDArray[np.float64]:
    """The weighted sum of signs, plane by plane, as the paper writes it."""
    out = np.zeros(levels.shape)
    for plane in range(bits):
        bit = (levels >> (bits - 1 - plane)) & 1
        out += np.where(bit == 1, 1.0, -1.0) * 2.0**-plane
    return out


@given(formats_and_levels())
def test_packing_loses_nothing(case: tuple[CodeFormat, NDArray[np.uint8]]) -> None:
    code_format, levels = case
    packed = pack(levels, code_format)
    assert packed.shape == (len(levels), code_format.row_bytes)
    assert np.array_equal(unpack(packed, code_format), levels)


@given(formats_and_levels())
def test_the_grid_is_the_weighted_sum_of_signs(case: tuple[CodeFormat, NDArray[np.uint8]]) -> None:
    code_format, levels = case
    values = grid_values(levels, code_format)
    assert np.array_equal(values, slow_values(levels, code_format.bits))
    assert np.array_equal(quantise(values, code_format), levels)
    assert np.array_equal(levels_from_values(values, code_format), levels)
    planes = np.stack([(levels >> (code_format.loops - i)) & 1 for i in range(code_format.bits)])
    assert np.array_equal(levels_from_planes(planes.astype(bool)), levels)


@given(formats_and_levels(), st.floats(0.01, 50))
def test_a_scaled_row_packs_to_a_code_of_its_direction(
    case: tuple[CodeFormat, NDArray[np.uint8]], scale: float
) -> None:
    code_format, levels = case
    values = grid_values(levels, code_format)
    got = grid_values(levels_from_values(values * np.float32(scale), code_format), code_format)
    for one, two in zip(values, got, strict=True):
        assert one @ two == pytest.approx(np.linalg.norm(one) * np.linalg.norm(two), rel=1e-5)


@given(formats_and_levels())
def test_scores_equal_a_double_loop_over_unpacked_values(
    case: tuple[CodeFormat, NDArray[np.uint8]],
) -> None:
    code_format, levels = case
    if len(levels) < 2:
        return
    packed, values = pack(levels, code_format), slow_values(levels, code_format.bits)
    products = integer_products(packed[:1], packed, code_format)
    norms = squared_norms(packed, code_format)
    cosines = symmetric_scores(packed[:1], packed, code_format)
    factors = np.linspace(0.5, 2.0, len(levels), dtype=np.float32)
    query = np.linspace(-1, 1, code_format.dimension, dtype=np.float32)[None]
    floats = asymmetric_scores(query, packed, factors, code_format)
    unit = 4.0**code_format.loops
    for row in range(len(levels)):
        dot = sum(a * b for a, b in zip(values[0], values[row], strict=True))
        length = [sum(v * v for v in values[i]) for i in (0, row)]
        assert products[0, row] == dot * unit
        assert norms[row] == length[1] * unit
        assert cosines[0, row] == pytest.approx(dot / (length[0] * length[1]) ** 0.5, abs=1e-6)
        expected = factors[row] * sum(a * b for a, b in zip(query[0], values[row], strict=True))
        assert floats[0, row] == pytest.approx(expected, abs=1e-4)


def test_the_layout_is_the_documented_one() -> None:
    """Earlier dimensions in higher bits, three bits stored as four, zeros at the end."""
    assert pack(np.array([[1, 0, 1]], np.uint8), CodeFormat(3, 1)).tolist() == [[0b10100000]]
    assert pack(np.array([[3, 0, 1]], np.uint8), CodeFormat(3, 2)).tolist() == [[0b11000100]]
    assert pack(np.array([[7, 1, 5]], np.uint8), CodeFormat(3, 3)).tolist() == [[0x71, 0x50]]
    assert pack(np.array([[15, 1, 5]], np.uint8), CodeFormat(3, 4)).tolist() == [[0xF1, 0x50]]


def test_the_values_of_each_depth_are_those_of_the_paper() -> None:
    def grid(bits: int) -> list[float]:
        levels = np.arange(2**bits, dtype=np.uint8)[None]
        return grid_values(levels, CodeFormat(2**bits, bits))[0].tolist()

    assert grid(1) == [-1, 1]
    assert grid(2) == [-1.5, -0.5, 0.5, 1.5]
    assert grid(3) == [-1.75, -1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75]
    assert grid(4)[0] == -1.875
    assert grid(4)[1] - grid(4)[0] == 0.25


def test_integer_scores_reproduce_the_first_row_of_the_published_table() -> None:
    """BEBR's symmetric table for two 2-bit dimensions per nibble: (v v' + w w' + 18) / 2."""
    code_format = CodeFormat(2, 2)
    nibbles = np.array([[c >> 2, c & 3] for c in range(16)], np.uint8)
    packed = pack(nibbles, code_format)
    row = (integer_products(packed[:1], packed, code_format)[0] + 18) // 2
    assert row.tolist() == [18, 15, 12, 9, 15, 12, 9, 6, 12, 9, 6, 3, 9, 6, 3, 0]


@given(hnp.arrays(np.float32, (3, 17), elements=st.floats(-1.9375, 1.9375, width=32)))
def test_more_bits_never_lie_further_from_the_value(values: NDArray[np.float32]) -> None:
    """Inside the grid the worst error halves with each bit, for every value."""
    for bits in (1, 2, 3, 4):
        code_format = CodeFormat(17, bits)
        edge = 2.0 - code_format.step / 2
        inside = np.clip(values, -edge, edge)
        rounded = grid_values(quantise(inside, code_format), code_format)
        assert np.abs(rounded - inside).max() <= code_format.step / 2


def test_zero_falls_below() -> None:
    for bits in (1, 2, 3, 4):
        code_format = CodeFormat(1, bits)
        level = quantise(np.zeros((1, 1), np.float32), code_format)
        assert integers(level, code_format)[0, 0] == -1


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigError, match="1, 2, 3 or 4 bits"):
        CodeFormat(8, 5)
    with pytest.raises(ConfigError, match="dimension"):
        CodeFormat(0, 1)
    with pytest.raises(ShapeError, match=r"expected shape \(n, 8\)"):
        pack(np.zeros((2, 7), np.uint8), CodeFormat(8, 2))
    with pytest.raises(InputError, match="from 0 to 3"):
        pack(np.full((1, 8), 4, np.uint8), CodeFormat(8, 2))
    with pytest.raises(ShapeError, match="packed"):
        unpack(np.zeros((2, 3), np.uint8), CodeFormat(8, 2))
    with pytest.raises(InputError, match="grid"):
        levels_from_values(np.linspace(0.3, 1, 8, dtype=np.float32)[None], CodeFormat(8, 2))
    with pytest.raises(ShapeError, match="factor"):
        asymmetric_scores(
            np.ones((1, 8), np.float32),
            np.zeros((2, 2), np.uint8),
            np.ones(3, np.float32),
            CodeFormat(8, 2),
        )
