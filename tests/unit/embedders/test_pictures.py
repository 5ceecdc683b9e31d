"""Pictures come as files, bytes, arrays or Pillow's own."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from hotfill.embedders.pictures import as_picture
from hotfill.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, size=(5, 7, 3), dtype=np.uint8)


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_every_form_gives_the_same_picture(tmp_path) -> None:
    picture = Image.fromarray(PIXELS)
    path = tmp_path / "picture.png"
    path.write_bytes(png(picture))
    for content in (picture, path, path.read_bytes(), PIXELS, picture.convert("RGBA")):
        made = as_picture(content)
        assert made.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(made), PIXELS)


def test_grey_and_black_and_white_become_rgb() -> None:
    np.testing.assert_array_equal(np.asarray(as_picture(PIXELS[:, :, 0]))[:, :, 2], PIXELS[:, :, 0])
    drawn = np.asarray(as_picture(PIXELS[:, :, 0] > 127))
    np.testing.assert_array_equal(drawn[:, :, 1], (PIXELS[:, :, 0] > 127) * 255)


@pytest.mark.parametrize(
    "content",
    [b"no picture", b"", "a/path/as/text.png", 3, PIXELS.astype(np.float32), PIXELS[:, :, :2]],
)
def test_what_is_no_picture_is_refused(content, tmp_path) -> None:
    with pytest.raises(InputError, match="expected"):
        as_picture(content)
    with pytest.raises(InputError, match="readable"):
        as_picture(tmp_path / "absent.png")


def test_half_a_file_is_refused() -> None:
    whole = png(Image.fromarray(PIXELS))
    with pytest.raises(InputError, match="readable"):
        as_picture(whole[: len(whole) // 2])
