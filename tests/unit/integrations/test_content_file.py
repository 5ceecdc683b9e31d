"""Contents by id, made whole or not at all."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from hotfill.errors import DuplicateItemError, InputError, SourceError
from hotfill.integrations.content_file import ContentFile, keep_contents, open_source
from hotfill.integrations.items import in_batches
from hotfill.types import Source


class Rows:
    """A reader of rows; an exception among them is raised there."""

    def __init__(self, rows) -> None:
        self.rows = rows

    def batches(self, size=256, /):
        def items():
            for row in self.rows:
                if isinstance(row, Exception):
                    raise row
                yield (*row, {})

        yield from in_batches(items(), size)


MANY = [(f"item-{n}", f"text {n}") for n in range(2500)]


@pytest.fixture
def file(tmp_path):
    with closing(keep_contents(Rows(MANY), tmp_path / "contents")) as made:
        yield made


def test_contents_are_found_by_id(file, tmp_path) -> None:
    assert isinstance(file, Source)
    assert len(file) == len(MANY)
    ids = [item_id for item_id, _ in MANY]
    assert file([*ids, "absent"]) == dict(MANY)
    assert file(["absent"]) == {}
    with closing(open_source(path=str(tmp_path / "contents"))) as again:
        assert again(["item-7"]) == {"item-7": "text 7"}


def test_bytes_stay_bytes(tmp_path) -> None:
    with closing(keep_contents(Rows([("a", b"\x00\xff"), ("b", "")]), tmp_path / "c")) as file:
        assert file(["a", "b"]) == {"a": b"\x00\xff", "b": ""}


def test_contents_can_be_changed_and_forgotten(file) -> None:
    file.write(["item-1", "new"], ["changed", "fresh"])
    assert file(["item-1", "new"]) == {"item-1": "changed", "new": "fresh"}
    assert file.delete(["item-1", "absent"]) == 1
    assert file(["item-1"]) == {}
    with pytest.raises(InputError, match="one content per item"):
        file.write(["a"], [])
    with pytest.raises(DuplicateItemError):
        file.write(["a", "a"], ["x", "y"])


def test_several_threads_may_read_at_once(file) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda n: file([f"item-{n}"]), range(200)))
    assert found == [{f"item-{n}": f"text {n}"} for n in range(200)]


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([*MANY, ("item-3", "again")], DuplicateItemError),
        ([*MANY, InputError("line 2501")], InputError),
        ([("a", 3)], InputError),
        ([("a", "x"), ("", "x")], InputError),
    ],
)
def test_a_file_that_cannot_be_made_whole_leaves_the_earlier_one(file, tmp_path, rows, error):
    with pytest.raises(error):
        keep_contents(Rows(rows), tmp_path / "contents")
    assert [path.name for path in tmp_path.iterdir()] == ["contents"]
    with closing(ContentFile(tmp_path / "contents")) as earlier:
        assert len(earlier) == len(MANY)


def test_making_it_again_replaces_it(file, tmp_path) -> None:
    keep_contents(Rows([("only", "one")]), tmp_path / "contents").close()
    with closing(ContentFile(tmp_path / "contents")) as made:
        assert len(made) == 1


@pytest.mark.parametrize("kind", ["absent", "text", "database"])
def test_what_is_no_content_file_is_refused_and_left_alone(tmp_path, kind) -> None:
    path = tmp_path / "other"
    if kind == "text":
        path.write_text("precious" * 1000)
    elif kind == "database":
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE precious (note TEXT)")
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(SourceError):
        ContentFile(path)
    if before is not None:
        with pytest.raises(SourceError):
            keep_contents(Rows(MANY), path)
        assert path.read_bytes() == before
