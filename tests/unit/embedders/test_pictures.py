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


def test_a_picture_is_turned_as_its_note_says() -> None:
    upright = np.zeros((40, 20, 3), np.uint8)
    upright[:20], upright[20:] = [250, 0, 0], [0, 0, 250]
    note, file = Image.Exif(), io.BytesIO()
    note[0x0112] = 6
    Image.fromarray(np.rot90(upright).copy()).save(file, "PNG", exif=note)
    np.testing.assert_array_equal(np.asarray(as_picture(file.getvalue())), upright)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_whatever_colour_it_hides(mode) -> None:
    shape = np.zeros((20, 20, 4), np.uint8)
    shape[5:15, 5:15] = [200, 200, 200, 255]
    shape[0, 0] = [0, 0, 0, 128]
    other = shape.copy()
    other[other[..., 3] == 0] = [90, 90, 90, 0]
    seen = [np.asarray(as_picture(png(Image.fromarray(x).convert(mode)))) for x in (shape, other)]
    np.testing.assert_array_equal(*seen)
    assert seen[0][2, 2].tolist() == [255, 255, 255]
    assert seen[0][9, 9].tolist() == [200, 200, 200]
    if mode == "RGBA":
        assert abs(int(seen[0][0, 0, 0]) - 127) <= 1


def test_sixteen_bits_of_grey_are_scaled() -> None:
    ramp = np.linspace(0, 65535, 400).reshape(20, 20).astype(np.uint16)
    seen = np.asarray(as_picture(png(Image.fromarray(ramp))))
    np.testing.assert_array_equal(seen[..., 0], np.rint(ramp / 257).astype(np.uint8))


def test_the_colours_of_print_become_rgb() -> None:
    file = io.BytesIO()
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(file, "JPEG", quality=95)
    red, green, blue = np.asarray(as_picture(file.getvalue()), int)[1, 1]
    assert red > 200
    assert max(green, blue) < 60


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
