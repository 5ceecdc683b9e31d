"""Equal contents, and no others, have equal hashes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hotfill.embedders import content_hash
from hotfill.errors import InputError

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
contents = st.recursive(
    scalars | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50)
@given(contents, contents)
def test_different_contents_have_different_hashes(one, other) -> None:
    assert (content_hash(one) == content_hash(other)) == (written(one) == written(other))


def written(content) -> str:
    """The content as text, whatever the order of its keys."""
    if isinstance(content, dict):
        return f"{{{sorted((key, written(value)) for key, value in content.items())!r}}}"
    if isinstance(content, list):
        return f"[{[written(each) for each in content]!r}]"
    return repr(content)


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_the_order_of_a_mapping_does_not_count(values) -> None:
    turned = dict(reversed(list(values.items())))
    assert content_hash(values) == content_hash(turned)


def test_contents_that_look_alike_are_told_apart() -> None:
    values = ["1", b"1", 1, 1.0, True, ["1"], ["", "1"], ["1", ""], {"1": 1}, None, "None"]
    assert len({content_hash(value) for value in values}) == len(values)


def test_arrays_differ_by_shape_type_and_values() -> None:
    row = np.arange(6, dtype=np.float32)
    arrays = [row, row.reshape(2, 3), row.astype(np.int32), row + 1]
    assert len({content_hash(array) for array in arrays}) == len(arrays)
    assert content_hash(row.reshape(2, 3).T.copy().T) == content_hash(row.reshape(2, 3))


def test_pictures_differ_by_their_pixels() -> None:
    picture = Image.new("RGB", (4, 3), (1, 2, 3))
    assert content_hash(picture) == content_hash(picture.copy())
    other = picture.copy()
    other.putpixel((0, 0), (9, 9, 9))
    different = [picture, other, Image.new("RGB", (3, 4), (1, 2, 3)), picture.convert("L")]
    assert len({content_hash(each) for each in different}) == 4


def test_a_path_stands_for_what_its_file_holds(tmp_path) -> None:
    one, same = tmp_path / "one.txt", tmp_path / "same.txt"
    one.write_text("a")
    same.write_text("a")
    before = content_hash(one)
    assert content_hash(same) == before
    one.write_text("b")
    assert content_hash(one) != before
    with pytest.raises(InputError, match="cannot be read"):
        content_hash(tmp_path / "absent")


def test_another_process_computes_the_same_hash() -> None:
    code = "from hotfill.embedders import content_hash; print(content_hash({'a': ['x', 1]}).hex())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == content_hash({"a": ["x", 1]}).hex()


@pytest.mark.parametrize("content", [object(), np.array([object()]), {"a": {1, 2}}])
def test_what_has_no_bytes_of_its_own_is_refused(content) -> None:
    with pytest.raises(InputError, match="has no hash"):
        content_hash(content)
