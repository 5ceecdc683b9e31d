"""Code files come back as they were written, or are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hotfill.binary.code_file import CodeFileWriter, Codes, as_factors, read_codes, write_codes
from hotfill.binary.codes import CodeFormat
from hotfill.errors import InputError, ShapeError
from hotfill.types import ModelId

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = CodeFormat(13, 2)
SOURCE = ModelId("photo", "1", 16)
SPACE = ModelId("photo", "1", 13, normalised=False, preprocessing="binary")


def some_codes(n: int, seed: int = 0) -> Codes:
    random = np.random.default_rng(seed)
    packed = random.integers(0, 256, (n, FORMAT.row_bytes), np.uint8)
    return Codes(FORMAT, packed, as_factors(random.random(n)), SPACE)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "gallery.codes"
    write_codes(path, some_codes(50), source=SOURCE)
    return path


def test_codes_come_back_as_they_were_written(written: Path) -> None:
    codes, original = read_codes(written), some_codes(50)
    assert codes.space == SPACE
    assert codes.code_format == FORMAT
    assert np.array_equal(codes.packed, original.packed)
    assert np.array_equal(codes.factors, original.factors)
    assert not codes.packed.flags.writeable


def test_batches_make_the_same_file_as_one_write(written: Path, tmp_path: Path) -> None:
    codes = some_codes(50)
    with CodeFileWriter(tmp_path / "two", space=SPACE, source=SOURCE, bits=2) as writer:
        writer.append(codes.take(slice(0, 7)))
        writer.append(codes.take(slice(7, 50)))
    assert (tmp_path / "two").read_bytes() == written.read_bytes()


def test_an_empty_file_holds_no_codes(tmp_path: Path) -> None:
    write_codes(tmp_path / "none", some_codes(0), source=SOURCE)
    assert len(read_codes(tmp_path / "none")) == 0


def test_every_damaged_byte_is_noticed(written: Path) -> None:
    whole = written.read_bytes()
    places = [*range(0, 330, 7), *range(4096, len(whole), 31)]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        written.write_bytes(damaged)
        with pytest.raises(InputError, match=r"damaged|version|not a code file"):
            read_codes(written)


@pytest.mark.parametrize("length", [0, 5, 30, 4096, 4100])
def test_a_cut_file_is_refused(written: Path, length: int) -> None:
    written.write_bytes(written.read_bytes()[:length])
    with pytest.raises(InputError, match=r"damaged|not a code file"):
        read_codes(written, check=False)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_codes(tmp_path / "nothing")


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(written: Path) -> None:
    before = written.read_bytes()

    def fail_half_way() -> None:
        with CodeFileWriter(written, space=SPACE, source=SOURCE, bits=2) as writer:
            writer.append(some_codes(3))
            raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        fail_half_way()
    assert written.read_bytes() == before
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_codes_of_another_format_are_refused(tmp_path: Path) -> None:
    wrong = Codes(CodeFormat(13, 1), np.zeros((2, 2), np.uint8), np.ones(2, np.float16))
    with (
        pytest.raises(InputError, match="holds"),
        CodeFileWriter(tmp_path / "x", space=SPACE, source=SOURCE, bits=2) as writer,
    ):
        writer.append(wrong)
    with pytest.raises(InputError, match="model id"):
        write_codes(tmp_path / "x", wrong, source=SOURCE)
    with pytest.raises(ShapeError, match="factor"):
        Codes(FORMAT, np.zeros((2, 4), np.uint8), np.ones(3, np.float16))
    with pytest.raises(InputError, match="65504"):
        as_factors(np.array([1e6]))
