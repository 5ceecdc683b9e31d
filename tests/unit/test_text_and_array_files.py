"""Files are read as their formats say, the same wherever they are read."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from hotfill import array_files, config
from hotfill.array_files import read_array
from hotfill.errors import ConfigError, InputError
from hotfill.integrations.jsonl import JsonlReader
from hotfill.integrations.trec import read_qrels, read_topics
from hotfill.text_files import read_text, text_lines
from hotfill.upgrade.canaries import read_queries
from hotfill.upgrade.order import read_query_log

ODD = "red\u2028fox\x85\x0bgreen"  # what `str.splitlines` takes for ends of lines


@pytest.fixture(params=["\n", "\r\n", "\r"])
def written(tmp_path, request):
    """Write lines with a byte order mark and all kinds of ends."""

    def write(name, *lines):
        path = tmp_path / name
        path.write_bytes(("\ufeff" + request.param.join(lines) + request.param).encode())
        return path

    return write


def test_lines_end_where_the_format_says_and_a_mark_is_no_text(written):
    path = written("a.txt", "one", "", f" {ODD} ")
    assert list(text_lines(path)) == [(1, "one"), (3, f" {ODD} ")]
    assert read_text(path).startswith("one\n\n")


def test_packed_files_are_unpacked(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("\ufeffone\r\ntwo".encode()))
    assert list(text_lines(path)) == [(1, "one"), (2, "two")]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="cannot be read"):
        list(text_lines(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("größe".encode("latin-1"), "the byte 0xf6 among it, as in Latin-1 or Windows-1252"),
        ("one".encode("utf-16"), "got UTF-16: save it as UTF-8"),
    ],
)
def test_another_encoding_is_named(tmp_path, content, message):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_text(path)
    with pytest.raises(InputError, match=message):
        list(text_lines(path))
    with pytest.raises(InputError, match="cannot be read"):
        read_text(tmp_path)


def test_every_reader_of_texts_reads_them_alike(written):
    rows = [{"id": "p1", "text": ODD}, {"id": "p2", "text": "two"}]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (batch,) = JsonlReader(written("a.jsonl", *lines)).batches()
    assert (batch.item_ids, batch.contents) == (("p1", "p2"), (ODD, "two"))
    asked = json.dumps({"content": ODD, "relevant": ["p1"]}, ensure_ascii=False)
    assert read_queries(written("asked.jsonl", asked))[0].content == ODD
    assert read_query_log(written("log.txt", "p1", "p2", "p1")) == {"p1": 2, "p2": 1}
    assert read_qrels(written("q.tsv", "q1\t0\tp1\t2")) == {"q1": {"p1": 2.0}}
    assert read_topics(written("t.tsv", f"q1\t{ODD}")) == {"q1": ODD}


def test_a_configuration_file_of_a_windows_editor_is_read(written):
    path = written(
        "upgrade.toml",
        "[store]", 'path = "gallery"', "[source]", 'kind = "store"', "[old]", "[new]",
    )  # fmt: skip
    assert config.read(path).settings.store.path == "gallery"
    path.write_bytes(b"[store]\npath = 'gr\xfcn'\n")
    with pytest.raises(ConfigError, match="expected text in UTF-8"):
        config.read(path)


# Arrays -------------------------------------------------------------------------------------------


def test_an_array_is_what_was_saved(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(read_array(path, 2), [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(InputError, match="1 dimensions, got"):
        read_array(path, 1)


def test_what_is_no_array_of_numbers_is_refused_in_words(tmp_path):
    path = tmp_path / "a.npy"
    with pytest.raises(InputError, match="cannot be read"):
        read_array(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="it is empty"):
        read_array(path)
    path.write_bytes(b"no array")
    with pytest.raises(InputError, match="something else"):
        read_array(path)
    np.save(path, np.array([{}], dtype=object))
    with pytest.raises(InputError, match="holds Python objects"):
        read_array(path)
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))
    with pytest.raises(InputError, match="expected one array, got several"):
        read_array(path)
    np.save(path, np.ones(3, np.float32).view(np.uint16)[::2].view("V2"))  # as ml_dtypes saves it
    with pytest.raises(InputError, match="bfloat16: save it as float32"):
        read_array(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [(np.array([b"p1"]), "got bytes"), (np.array([1.0, 2.0]), "got floats"), ([True], "got bool")],
)
def test_ids_are_texts_or_whole_numbers(tmp_path, given, message):
    path = tmp_path / "ids.npy"
    np.save(path, given)
    with pytest.raises(InputError, match=message):
        array_files.read_ids(path)
    np.save(path, np.array(["p1", "ä"]))
    assert array_files.read_ids(path) == ["p1", "ä"]
    np.save(path, np.array([3, 2**60]))
    assert array_files.read_ids(path) == ["3", str(2**60)]
