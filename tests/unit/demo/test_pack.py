from pathlib import Path

import numpy as np
import pytest

from demo.omniglot import drawings, pack


def write_raw(folder: Path, images: np.ndarray, class_ids: range) -> None:
    np.savez_compressed(folder / "omniglot_28.npz", images=images)
    lines = ["class_id\tsplit\talphabet\tcharacter\tsource_prefix"]
    lines += [
        f"{number}\t{'background' if number < 964 else 'evaluation'}\tA\tcharacter{number}\tx"
        for number in class_ids
    ]
    (folder / "classes.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_what_is_packed_loads_again(tmp_path: Path) -> None:
    raw, packed = tmp_path / "raw", tmp_path / "packed"
    raw.mkdir()
    grey = np.random.default_rng(0).integers(0, 256, (1623, 20, 28, 28), dtype=np.uint8)
    write_raw(raw, grey, range(1623))
    pack.write(raw, packed)
    data = drawings.load("evaluation", folder=packed)
    np.testing.assert_array_equal(data.images, grey[964:].reshape(-1, 28, 28) >= 32)
    assert data.item_ids[20] == "A/character965/01"


def test_a_class_table_that_does_not_match_is_refused(tmp_path: Path) -> None:
    write_raw(tmp_path, np.zeros((1623, 20, 28, 28), dtype=np.uint8), range(1622))
    with pytest.raises(ValueError, match="1622 in classes"):
        pack.write(tmp_path, tmp_path / "packed")


def test_other_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        pack.pack_images(np.zeros((2, 20, 105, 105), dtype=np.uint8))
