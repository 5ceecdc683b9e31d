"""Vectors that were made elsewhere come in by their contents, once, and no wrong ones do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("qdrant_edge", reason="qdrant-edge-py is not installed")

import pyarrow
from pyarrow import parquet

from hotfill.embedders import CachedEmbedder, VectorCache
from hotfill.errors import ConfigError, EmbedError, InputError, ModelMismatchError, VectorError
from hotfill.integrations.content_file import keep_contents
from hotfill.integrations.parquet import ParquetReader, embed_files, keep_vectors
from hotfill.types import ModelId
from tests.unit.cli.conftest import Shell
from tests.unit.cli.models import NEW, contents, new_model
from tests.unit.cli.project import ITEMS, ROOT, fill, write_config

TEXTS = {
    item_id: " ".join(repr(float(each)) for each in row) for item_id, row in contents(ITEMS).items()
}


class Counting:
    """The new model, which notes what it was asked for, and fails at some contents."""

    model_id = NEW

    def __init__(self, broken: str = "", down_after: int | None = None) -> None:
        self.asked: list[str] = []
        self.broken, self.down_after = broken, down_after

    def __call__(self, texts):
        if self.down_after is not None and len(self.asked) >= self.down_after:
            raise ConfigError("the key is refused")
        self.asked += texts
        rows = [row for row, text in enumerate(texts) if text == self.broken]
        if rows:
            raise EmbedError("no such words", rows=rows, retryable=False)
        return new_model()(texts)


def write_items(folder: Path, texts=TEXTS, files: int = 3) -> Path:
    folder.mkdir(exist_ok=True)
    rows = [{"id": item_id, "text": text} for item_id, text in texts.items()]
    for number in range(files):
        table = pyarrow.Table.from_pylist(rows[number::files])
        parquet.write_table(table, folder / f"part-{number}.parquet")
    return folder


def cached(path: Path, model=None) -> CachedEmbedder:
    return CachedEmbedder(model or Counting(), VectorCache(path))


def test_nothing_is_embedded_again_whose_vector_was_made_elsewhere(tmp_path: Path) -> None:
    data, out = write_items(tmp_path / "items"), tmp_path / "vectors"
    done = embed_files(data, out, Counting(), batch_size=16)
    assert (done.files, done.items, done.failed) == (3, ITEMS, {})
    with closing(cached(tmp_path / "cache.sqlite")) as embedder:
        assert keep_vectors(out, embedder) == ITEMS
        assert keep_vectors(out, embedder) == 0
        found = embedder(list(TEXTS.values()))
        assert (embedder.made, embedder.reused) == (0, ITEMS)
    np.testing.assert_array_equal(found, new_model()(list(TEXTS.values())))


def test_an_item_whose_content_changed_since_gets_the_vector_of_the_new_content(
    tmp_path: Path,
) -> None:
    out = tmp_path / "vectors"
    embed_files(write_items(tmp_path / "items"), out, Counting())
    changed = "9 8 7 6 5 4 3 2"
    with closing(cached(tmp_path / "cache.sqlite")) as embedder:
        keep_vectors(out, embedder)
        found = embedder([changed, *TEXTS.values()])
        assert embedder.made == 1
    np.testing.assert_array_equal(found[0], new_model()([changed])[0])


def test_what_an_outage_interrupted_is_made_by_the_same_call_and_nothing_else(
    tmp_path: Path,
) -> None:
    data, out = write_items(tmp_path / "items"), tmp_path / "vectors"
    with pytest.raises(ConfigError, match="refused"):
        embed_files(data, out, Counting(down_after=60), batch_size=10)
    assert [path.name for path in out.iterdir()] == ["part-0.parquet"]
    again = Counting()
    done = embed_files(data, out, again)
    assert (done.skipped, done.files) == (1, 2)
    assert sorted(again.asked) == sorted([*TEXTS.values()][1::3] + [*TEXTS.values()][2::3])


def test_a_killed_process_leaves_whole_files_only(tmp_path: Path) -> None:
    data, out = write_items(tmp_path / "items", files=12), tmp_path / "vectors"
    config = write_config(tmp_path, seconds_per_call=0.05)
    words = ["embed", str(config), "--data", str(data), "--out", str(out), "--batch-size", "2"]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", "hotfill.cli", *words],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    left = list(out.glob("*.parquet"))
    assert 3 <= len(left) < 12
    done = embed_files(data, out, Counting())
    assert done.skipped == len(left)
    with closing(cached(tmp_path / "cache.sqlite")) as embedder:
        assert keep_vectors(out, embedder) == ITEMS


def test_a_file_that_changed_is_embedded_again(tmp_path: Path) -> None:
    data, out = write_items(tmp_path / "items", files=2), tmp_path / "vectors"
    embed_files(data, out, Counting())
    write_items(data, {**TEXTS, "item-more": "1 1 1 1 1 1 1 1"}, files=2)
    done = embed_files(data, out, Counting())
    assert (done.files, done.skipped) == (1, 1)
    with closing(cached(tmp_path / "cache.sqlite")) as embedder:
        assert keep_vectors(out, embedder) == ITEMS + 1


def test_items_that_cannot_be_embedded_are_left_out_and_named(tmp_path: Path) -> None:
    data, out = write_items(tmp_path / "items", files=1), tmp_path / "vectors"
    done = embed_files(data, out, Counting(broken=TEXTS["item-00007"]))
    assert list(done.failed) == ["item-00007"]
    assert "no such words" in done.failed["item-00007"]
    with closing(cached(tmp_path / "cache.sqlite")) as embedder:
        assert keep_vectors(out, embedder) == ITEMS - 1


def test_vectors_of_another_model_are_refused_and_none_is_kept(tmp_path: Path) -> None:
    data, out = write_items(tmp_path / "items", files=2), tmp_path / "vectors"
    embed_files(data, out, Counting())
    other = Counting()
    other.model_id = ModelId("other", "1", 8)
    with pytest.raises(ModelMismatchError, match="other"):
        embed_files(data, out, other)
    with closing(cached(tmp_path / "cache.sqlite", other)) as embedder:
        with pytest.raises(ModelMismatchError, match="other"):
            keep_vectors(out, embedder)
        assert embedder.kept == 0


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    data = write_items(tmp_path / "items", files=1)
    (tmp_path / "text.parquet").write_text("no Parquet")
    with closing(cached(tmp_path / "cache.sqlite")) as embedder:
        with pytest.raises(InputError, match="does not say which model"):
            keep_vectors(data, embedder)
        with pytest.raises(InputError, match="cannot be read as Parquet"):
            keep_vectors(tmp_path / "text.parquet", embedder)
        with pytest.raises(InputError, match="no such file or folder"):
            keep_vectors(tmp_path / "nowhere", embedder)
    with pytest.raises(InputError, match="no such file or folder"):
        embed_files(tmp_path / "nowhere", tmp_path / "vectors", Counting())
    assert not (tmp_path / "vectors").exists()


@pytest.mark.parametrize(
    ("vectors", "error", "said"),
    [
        ([[np.nan] * 8], VectorError, "item-1"),
        ([[0.0] * 8], VectorError, "item-1"),
        ([[1.0] * 7], InputError, "vectors of 8 numbers"),
        ([[1.0] * 7, [1.0] * 9], InputError, "vectors of 8 numbers"),
        ([None], InputError, "in each row"),
    ],
)
def test_vectors_that_are_none_are_refused(tmp_path: Path, vectors, error, said) -> None:
    """Others may write such files, too."""
    import json

    rows = range(1, len(vectors) + 1)
    columns = {
        "id": [f"item-{row}" for row in rows],
        "content": [bytes([row]) * 32 for row in rows],
        "vector": vectors,
    }
    kinds = {
        "id": pyarrow.string(),
        "content": pyarrow.binary(32),
        "vector": pyarrow.list_(pyarrow.float32()),
    }
    schema = pyarrow.schema(
        list(kinds.items()), metadata={"hotfill.model": json.dumps(NEW.to_dict())}
    )
    path = tmp_path / "vectors.parquet"
    parquet.write_table(pyarrow.table(columns, schema=schema), path)
    with closing(cached(tmp_path / "cache.sqlite")) as embedder:
        with pytest.raises(error, match=said):
            keep_vectors(path, embedder)
        assert embedder.kept == 0


def test_an_upgrade_asks_the_model_for_nothing_that_was_kept(tmp_path: Path) -> None:
    data = write_items(tmp_path / "items")
    fill(tmp_path)
    keep_contents(ParquetReader(data), tmp_path / "contents.sqlite").close()
    shell = Shell(
        write_config(
            tmp_path,
            source={
                "factory": "hotfill.integrations.content_file:open_source",
                "options": {"path": str(tmp_path / "contents.sqlite")},
            },
            new={
                "embedder": "hotfill.embedders.cache:from_options",
                "options": {
                    "path": str(tmp_path / "cache.sqlite"),
                    "embedder": "tests.unit.cli.models:new_model",
                },
            },
        )
    )
    made = shell.json("embed", "--data", data, "--out", tmp_path / "vectors")
    assert (made["items"], made["files"], made["failed"]) == (ITEMS, 3, {})
    assert shell.json("embed", "--keep", tmp_path / "vectors") == {
        "kept": ITEMS,
        "in_cache": ITEMS,
    }
    assert shell.json("plan")["cached_share"] == 1.0
    assert shell.json("start")["phase"] == "backfilled"
    assert shell.json("verify")["passed"]


def test_the_command_says_what_it_needs(shell_of_a_plain_model: Shell, tmp_path: Path) -> None:
    shell = shell_of_a_plain_model
    assert "--data ITEMS and --out FOLDER, or --keep" in shell("embed", code=2).stderr
    assert "hotfill.embedders.cache" in shell("embed", "--keep", tmp_path, code=2).stderr


@pytest.fixture
def shell_of_a_plain_model(tmp_path: Path) -> Shell:
    fill(tmp_path)
    return Shell(write_config(tmp_path))
