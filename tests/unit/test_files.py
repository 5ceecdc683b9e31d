"""A file is the one before or the new one, whole; so is a folder."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

from hotfill.errors import InputError
from hotfill.files import folder_whole, load_stamped, save_stamped, write_whole, writing_whole


def test_what_is_written_is_what_is_there(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "öne")
    assert path.read_text(encoding="utf-8") == "öne"
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_file_before_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "before")

    def fail():
        with writing_whole(path) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_its_name_when_it_is_full_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "left over").touch()
    with folder_whole(path) as unfinished:
        (unfinished / "inner").mkdir()
        (unfinished / "inner" / "file").write_text("new")
        assert (path / "left over").exists()
    assert [each.relative_to(path).as_posix() for each in sorted(path.rglob("*"))] == [
        "inner",
        "inner/file",
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_whose_filling_fails_leaves_the_one_before(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()

    def fail():
        with folder_whole(path) as unfinished:
            (unfinished / "half").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(path.iterdir()) == []
    assert list(tmp_path.iterdir()) == [path]


CHILD = """
import os, sys
from pathlib import Path
from hotfill.files import writing_whole
with writing_whole(Path(sys.argv[1])) as file:
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), 9)
"""


def test_a_kill_in_the_middle_of_a_write_leaves_the_file_before(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "before")
    child = subprocess.run([sys.executable, "-c", CHILD, str(path)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert path.read_text() == "before"


def test_arrays_come_back_with_their_stamp(tmp_path):
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    save_stamped(tmp_path / "file", "a test", {"n": 2}, {"rows": rows, "turned": rows.T})
    stamp, arrays = load_stamped(tmp_path / "file", "a test", "test")
    assert stamp["n"] == 2
    np.testing.assert_array_equal(arrays["rows"], rows)
    np.testing.assert_array_equal(arrays["turned"], rows.T)


def test_another_stamp_damage_and_absence_are_told_apart(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError, match="there is no test file"):
        load_stamped(path, "a test", "test")
    save_stamped(path, "another", {}, {"rows": np.zeros(3)})
    with pytest.raises(InputError, match="not a test that hotfill wrote"):
        load_stamped(path, "a test", "test")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_stamped(path, "another", "test")
