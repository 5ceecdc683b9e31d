"""The encoder against the paper's equations, written as a loop over single vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hotfill.binary.code_file import Codes
from hotfill.binary.codes import CodeFormat, grid_values, quantise, unpack
from hotfill.binary.encoder import BinaryEncoder
from hotfill.binary.encoder_file import load_encoder, save_encoder
from hotfill.binary.mlp import Mlp
from hotfill.binary.preparation import Preparation, fit_preparation
from hotfill.binary.recurrent import Networks, Recurrent
from hotfill.binary.scores import asymmetric_scores
from hotfill.errors import ConfigError, InputError, ModelMismatchError, ShapeError, VectorError
from hotfill.lab.binary.start import fit_start
from hotfill.types import ModelId

SOURCE = ModelId("text", "3", 24)


def vectors(n: int, seed: int = 0, dimension: int = 24) -> NDArray[np.float32]:
    """Clustered, of unequal spread, off centre: like real embeddings."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((8, dimension))
    rows = centres[random.integers(0, 8, n)] + 0.6 * random.standard_normal((n, dimension))
    return (rows * np.linspace(1.5, 0.3, dimension) + 0.2).astype(np.float32)


def random_mlp(inputs: int, outputs: int, seed: int) -> Mlp:
    random = np.random.default_rng(seed)

    def draw(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape).astype(np.float32)

    return Mlp(draw(10, inputs), draw(10), draw(outputs, 10), draw(outputs))


def random_networks(inner: int, outer: int, loops: int) -> Networks:
    return Networks(
        random_mlp(inner, outer, 0),
        tuple(random_mlp(outer, inner, 1 + loop) for loop in range(loops)),
        tuple(random_mlp(inner, outer, 9 + loop) for loop in range(loops)),
    )


def slow_code(row: NDArray[np.float32], recurrent: Recurrent) -> NDArray[np.float64]:
    """BEBR's loop for one vector in plain steps, with the anchor's terms."""
    networks, anchor = recurrent.networks, recurrent.anchor
    assert networks is not None

    def apply(mlp: Mlp, x: NDArray[np.float64]) -> NDArray[np.float64]:
        hidden = [
            max(0.0, float(w @ x + b)) for w, b in zip(mlp.inner, mlp.inner_bias, strict=True)
        ]
        return np.array(
            [w @ np.array(hidden) + b for w, b in zip(mlp.outer, mlp.outer_bias, strict=True)]
        )

    def sign(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([1.0 if value > 0 else -1.0 for value in x])

    base = anchor @ row if anchor is not None else 0.0
    code = sign(apply(networks.first, row) + base)
    for loop in range(recurrent.code_format.loops):
        back = apply(networks.reconstructions[loop], code)
        residual = row - back / np.sqrt(sum(value * value for value in back))
        drive = apply(networks.residuals[loop], residual)
        if anchor is not None:
            drive = drive + base - code
        code = code + 2.0 ** -(loop + 1) * sign(drive)
    return code


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("anchored", [False, True])
def test_the_forward_pass_is_the_paper_s(bits: int, anchored: bool) -> None:
    code_format = CodeFormat(12, bits)
    anchor = np.random.default_rng(3).standard_normal((12, 8)).astype(np.float32)
    recurrent = Recurrent(
        code_format, anchor if anchored else None, random_networks(8, 12, bits - 1)
    )
    rows = vectors(40, dimension=8)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    expected = np.stack([slow_code(row, recurrent) for row in rows])
    assert np.array_equal(grid_values(recurrent(rows), code_format), expected)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_an_anchor_with_silent_networks_is_the_uniform_grid(bits: int) -> None:
    code_format = CodeFormat(12, bits)
    random = np.random.default_rng(3)
    anchor = (2 * random.standard_normal((12, 8))).astype(np.float32)

    def silent(inputs: int, outputs: int) -> Mlp:
        mlp = random_mlp(inputs, outputs, 0)
        return Mlp(mlp.inner, mlp.inner_bias, 0 * mlp.outer, 0 * mlp.outer_bias)

    networks = Networks(
        silent(8, 12),
        tuple(random_mlp(12, 8, loop) for loop in range(bits - 1)),
        tuple(silent(8, 12) for _ in range(bits - 1)),
    )
    rows = random.standard_normal((50, 8)).astype(np.float32)
    levels = Recurrent(code_format, anchor, networks)(rows)
    assert np.array_equal(levels, quantise(rows @ anchor.T, code_format))
    assert np.array_equal(levels, Recurrent(code_format, anchor, None)(rows))


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("dimension", [10, 24, 40])
def test_more_bits_bring_codes_closer_to_their_vectors(dimension: int, centre: bool) -> None:
    """Monotone in u: the mean cosine of a decoded code and its vector rises with every loop."""
    rows = vectors(600)
    closeness = []
    for bits in (1, 2, 3, 4):
        encoder = fit_start(rows, SOURCE, CodeFormat(dimension, bits), centre=centre)
        decoded = encoder.decode(encoder.encode(rows))
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        lengths = np.linalg.norm(decoded, axis=1)
        closeness.append(float(((unit * decoded).sum(axis=1) / lengths).mean()))
    assert closeness == sorted(closeness)
    assert closeness[0] > 0.6


def test_asymmetric_scores_estimate_the_cosine() -> None:
    rows, asked = vectors(400), vectors(30, seed=1)
    exact = unit(asked) @ unit(rows).T
    for centre in (False, True):
        encoder = fit_start(rows, SOURCE, CodeFormat(24, 4), centre=centre)
        codes = encoder.encode(rows)
        scores = asymmetric_scores(
            encoder.queries(asked), codes.packed, codes.factors, codes.code_format
        )
        constant = unit(asked) @ encoder.preparation.mean
        # Rounding 24 normal coordinates to 4 bits: sqrt(0.0115 / 24) = 0.022.
        errors = scores + constant[:, None] - exact
        assert np.sqrt(np.mean(errors**2)) < 0.03
        # The same numbers come from the decoded vectors.
        assert np.allclose(
            unit(asked) @ encoder.decode(codes).T, scores + constant[:, None], atol=1e-4
        )


def test_a_query_along_an_item_gets_its_exact_score() -> None:
    rows = vectors(50)
    encoder = fit_start(rows, SOURCE, CodeFormat(24, 1))
    codes = encoder.encode(rows)
    scores = asymmetric_scores(
        encoder.queries(rows), codes.packed, codes.factors, codes.code_format
    )
    assert np.allclose(np.diag(scores), 1.0, atol=1e-3)


def test_an_item_at_the_mean_scores_zero_not_nan() -> None:
    rows = unit(vectors(50))
    preparation = Preparation(rows[0], None)
    start = fit_start(rows, SOURCE, CodeFormat(24, 2))
    encoder = BinaryEncoder(SOURCE, preparation, start.recurrent, start.decoder)
    codes = encoder.encode(rows[:2])
    assert codes.factors[0] == 0
    assert codes.factors[1] > 0


def test_batches_give_the_same_codes_as_one_call() -> None:
    rows = vectors(60)
    encoder = fit_start(rows, SOURCE, CodeFormat(24, 2))
    whole = encoder.encode(rows)
    for at in (0, 17, 59):
        assert np.array_equal(encoder.encode(rows[at : at + 1]).packed[0], whole.packed[at])


def test_an_encoder_comes_back_from_its_file(tmp_path: Path) -> None:
    start = fit_start(vectors(300), SOURCE, CodeFormat(12, 3), centre=True)
    recurrent = Recurrent(start.code_format, start.recurrent.anchor, random_networks(12, 12, 2))
    encoder = BinaryEncoder(SOURCE, start.preparation, recurrent, start.decoder)
    for one in (start, encoder):
        save_encoder(one, tmp_path / "encoder")
        again = load_encoder(tmp_path / "encoder")
        assert again.space == one.space
        expected, got = one.encode(vectors(20)), again.encode(vectors(20))
        assert np.array_equal(expected.packed, got.packed)
        assert np.array_equal(expected.factors, got.factors)


def test_a_damaged_encoder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder"
    save_encoder(fit_start(vectors(300), SOURCE, CodeFormat(24, 2)), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.raises(InputError, match="damaged"):
        load_encoder(path)
    path.write_bytes(whole[:-10])
    with pytest.raises(InputError, match="is not a readable safetensors file"):
        load_encoder(path)
    with pytest.raises(InputError, match="there is no binary encoder file"):
        load_encoder(tmp_path / "nothing")


def test_every_weight_counts_in_the_space() -> None:
    one = fit_start(vectors(300), SOURCE, CodeFormat(24, 2), seed=0)
    two = fit_start(vectors(300), SOURCE, CodeFormat(24, 2), seed=1)
    assert one.space != two.space
    assert one.space == fit_start(vectors(300), SOURCE, CodeFormat(24, 2), seed=0).space
    assert one.space.dimension == 24
    assert "2-bit codes" in one.space.preprocessing


def test_bad_input_is_named() -> None:
    rows = vectors(100)
    encoder = fit_start(rows, SOURCE, CodeFormat(24, 2))
    with pytest.raises(ShapeError, match=r"expected shape \(n, 24\)"):
        encoder.encode(rows[:, :20])
    with pytest.raises(ShapeError):
        encoder.queries(rows[:, :20])
    broken = rows.copy()
    broken[3, 2] = np.nan
    with pytest.raises(VectorError, match="row 3"):
        encoder.encode(broken)
    with pytest.raises(InputError, match="at least 12"):
        fit_start(rows[:5], SOURCE, CodeFormat(12, 2))
    with pytest.raises(InputError, match="none"):
        fit_start(rows[:0], SOURCE, CodeFormat(12, 2))
    with pytest.raises(ConfigError, match="directions"):
        fit_start(rows, ModelId("text", "3", 24, "l2", normalised=False), CodeFormat(24, 2))
    with pytest.raises(ConfigError, match="neither"):
        Recurrent(CodeFormat(24, 2), None, None)
    codes = encoder.encode(rows)
    other = fit_start(rows, SOURCE, CodeFormat(24, 2), seed=5)
    with pytest.raises(ModelMismatchError):
        other.decode(codes)
    unstamped = Codes(codes.code_format, codes.packed, codes.factors)
    assert encoder.decode(unstamped).shape == (100, 24)
    with pytest.raises(ShapeError, match="mean"):
        BinaryEncoder(
            SOURCE,
            fit_preparation(rows[:, :23], 23, centre=False),
            Recurrent(CodeFormat(23, 1), np.eye(23, dtype=np.float32), None),
            np.eye(23, dtype=np.float32),
        )


def test_codes_unpack_to_what_the_forward_pass_said() -> None:
    rows = vectors(30)
    encoder = fit_start(rows, SOURCE, CodeFormat(24, 3))
    prepared, _ = encoder.preparation.items(rows)
    assert np.array_equal(
        unpack(encoder.encode(rows).packed, encoder.code_format), encoder.recurrent(prepared)
    )


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
