"""Readers give every item once, in order, a batch at a time, and say what does not fit."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfill.errors import InputError
from hotfill.integrations.beir import BeirFolder
from hotfill.integrations.image_folder import ImageFolder, open_source
from hotfill.integrations.jsonl import JsonlReader
from hotfill.integrations.parquet import ParquetReader
from hotfill.integrations.trec import qrels_by_row, read_qrels, read_topics
from hotfill.types import Source

RECORDS = [
    {"id": f"item-{n}", "title": f"title {n}", "text": f"text {n}", "year": 2000 + n, "note": None}
    for n in range(7)
]


def write_jsonl(path: Path, records) -> Path:
    lines = "".join(json.dumps(record) + "\n" for record in records)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


def write_parquet(path: Path, records, **options) -> Path:
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path, **options)
    return path


def everything(reader, size: int):
    batches = list(reader.batches(size))
    return (
        [len(batch) for batch in batches],
        [item for batch in batches for item in batch.item_ids],
        [content for batch in batches for content in batch.contents],
        [metadata for batch in batches for metadata in batch.metadata],
    )


@pytest.fixture(params=["jsonl", "jsonl.gz", "parquet", "folder"])
def reader(request, tmp_path):
    """The same records in every kind of file."""
    if request.param.startswith("jsonl"):
        return lambda *keys, **more: JsonlReader(
            write_jsonl(tmp_path / f"items.{request.param}", RECORDS), *keys, **more
        )
    if request.param == "parquet":
        path = write_parquet(tmp_path / "items.parquet", RECORDS, row_group_size=2)
    else:
        path = tmp_path / "parts"
        path.mkdir()
        write_parquet(path / "part-0.parquet", RECORDS[:3])
        write_parquet(path / "part-1.parquet", RECORDS[3:])
    return lambda *keys, **more: ParquetReader(path, *keys, **more)


def test_items_come_in_order_and_in_batches(reader) -> None:
    sizes, ids, contents, metadata = everything(reader(metadata=["year", "note"]), 3)
    assert sizes == [3, 3, 1]
    assert ids == [record["id"] for record in RECORDS]
    assert contents == [record["text"] for record in RECORDS]
    assert metadata == [{"year": record["year"]} for record in RECORDS]  # null is left out


def test_reading_again_gives_the_same(reader) -> None:
    same = reader()
    assert everything(same, 2)[1:] == everything(same, 5)[1:]


def test_several_texts_are_joined(reader) -> None:
    _, _, contents, _ = everything(reader("id", ("title", "text")), 10)
    assert contents[0] == "title 0 text 0"


@pytest.mark.parametrize(
    ("keys", "more", "message"),
    [
        (("key",), {}, "expected (columns )?key"),
        (("id", "body"), {}, "expected (columns )?body"),
        (("id", "note"), {}, "item 'item-0' has no note"),
        (("id", ()), {}, "at least one key"),
        (("id", ("text", "year")), {}, "only if they are texts"),
    ],
)
def test_what_is_missing_is_named(reader, keys, more, message) -> None:
    with pytest.raises(InputError, match=message):
        everything(reader(*keys, **more), 3)


def test_a_batch_of_nothing_is_refused(reader) -> None:
    with pytest.raises(InputError, match="at least one item"):
        list(reader().batches(0))


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(st.text(), max_size=20), size=st.integers(1, 8))
def test_any_texts_survive_the_way_through_a_file(texts, size, tmp_path_factory) -> None:
    records = [{"id": row, "text": text} for row, text in enumerate(texts)]
    path = write_jsonl(tmp_path_factory.mktemp("any") / "items.jsonl", records)
    sizes, ids, contents, _ = everything(JsonlReader(path), size)
    assert (ids, contents) == ([str(row) for row in range(len(texts))], texts)
    assert all(n == size for n in sizes[:-1])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a", "text"', "line 2: expected JSON"),
        ('["a"]', "line 2: expected an object"),
        ('{"id": "", "text": "x"}', "line 2: an item id"),
        ('{"id": true, "text": "x"}', "line 2: an item id"),
        ('{"id": "a", "text": "x", "tags": ["b"]}', "line 2: metadata 'tags' must be"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path, line, message) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(f'{{"id": "0", "text": "fine"}}\n{line}\n')
    with pytest.raises(InputError, match=message):
        everything(JsonlReader(path, metadata=["tags"]), 10)


@pytest.mark.parametrize("kind", [JsonlReader, ParquetReader])
@pytest.mark.parametrize("content", [None, b"\xff\xfe no such file \x00"])
def test_files_that_cannot_be_read_are_said(tmp_path, kind, content) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "items"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read|expected JSON|got UTF-16"):
        everything(kind(path), 10)


def test_a_broken_gzip_file_is_said(tmp_path) -> None:
    path = write_jsonl(tmp_path / "items.jsonl.gz", RECORDS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        everything(JsonlReader(path), 10)


def test_a_folder_without_parquet_files_is_said(tmp_path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match="found none"):
        everything(ParquetReader(tmp_path), 10)


def test_pictures_can_be_kept_in_parquet(tmp_path) -> None:
    path = write_parquet(tmp_path / "items.parquet", [{"id": 7, "picture": b"\x89PNG"}])
    _, ids, contents, _ = everything(ParquetReader(path, "id", "picture"), 10)
    assert (ids, contents) == (["7"], [b"\x89PNG"])


# Test sets ------------------------------------------------------------------------------------


@pytest.fixture
def beir(tmp_path):
    corpus = [
        {"_id": "d1", "title": "Foxes", "text": "are red."},
        {"_id": "d2", "title": "", "text": "Trees are green."},
    ]
    write_jsonl(tmp_path / "corpus.jsonl.gz", corpus)
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "what is red"}])
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    return BeirFolder(tmp_path)


def test_a_folder_of_beir_gives_corpus_queries_and_judgements(beir) -> None:
    _, ids, contents, _ = everything(beir, 10)
    assert (ids, contents) == (["d1", "d2"], ["Foxes are red.", "Trees are green."])
    assert beir.queries() == {"q1": "what is red"}
    assert beir.qrels() == {"q1": {"d1": 1.0}}


def test_another_folder_is_not_taken_for_one_of_beir(tmp_path) -> None:
    with pytest.raises(InputError, match="is it a folder of BEIR"):
        BeirFolder(tmp_path).queries()


def test_judgements_are_renamed_by_row(beir) -> None:
    qrels = {**beir.qrels(), "q9": {"d1": 1.0}, "q1": {"d1": 1.0, "d9": 2.0}}
    assert qrels_by_row(qrels, ["q0", "q1"], ["d2", "d1"]) == {"1": {"1": 1.0}}
    with pytest.raises(InputError, match="none of the judgements"):
        qrels_by_row(qrels, ["q0"], ["d1"])


TOPICS = """<top>
<num> Number: 301
<title> International Organized Crime

<desc> Description:
Identify organizations
</top>
<top><num>302</num><title>Poliomyelitis and
  Post-Polio</title></top>
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TOPICS, {"301": "International Organized Crime", "302": "Poliomyelitis and Post-Polio"}),
        ("301\tcrime\n\n302\tpolio and\tmore\n", {"301": "crime", "302": "polio and\tmore"}),
    ],
)
def test_topics_are_read_in_both_forms(tmp_path, text, expected) -> None:
    path = tmp_path / "topics"
    path.write_text(text)
    assert read_topics(path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no topics"),
        ("301 crime\n", "line 1: expected 'id TAB text'"),
        ("1\ta\n1\tb\n", "twice"),
        ("<top><title>no number</title></top>", "a topic needs"),
    ],
)
def test_topics_that_do_not_fit_are_said(tmp_path, text, message) -> None:
    path = tmp_path / "topics"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_topics(path)


def test_trec_judgements_are_read(tmp_path) -> None:
    path = tmp_path / "qrels"
    path.write_text("301 0 d1 2\n301 0 d2 0\n")
    assert read_qrels(path) == {"301": {"d1": 2.0, "d2": 0.0}}


# Pictures -------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "cats" / "old").mkdir(parents=True)
    (folder / "cats" / "tom.JPG").write_bytes(b"tom")
    (folder / "cats" / "old" / "felix.png").write_bytes(b"felix")
    (folder / "alone.webp").write_bytes(b"alone")
    (folder / "notes.txt").write_text("no picture")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return folder


def test_pictures_of_a_folder_are_items_named_by_their_path(pictures) -> None:
    sizes, ids, contents, metadata = everything(ImageFolder(pictures), 2)
    assert sizes == [2, 1]
    assert ids == ["alone.webp", "cats/old/felix.png", "cats/tom.JPG"]
    assert contents == [b"alone", b"felix", b"tom"]
    assert metadata == [{}, {"folder": "cats/old"}, {"folder": "cats"}]


def test_the_folder_is_the_source_of_its_pictures_and_of_nothing_else(pictures) -> None:
    source = open_source(path=str(pictures))
    assert isinstance(source, Source)
    wanted = ["cats/tom.JPG", "absent.png", "notes.txt", "../secret.png", "cats", ""]
    assert source([*wanted, str(pictures.parent / "secret.png")]) == {"cats/tom.JPG": b"tom"}


def test_a_folder_without_pictures_is_said(tmp_path) -> None:
    with pytest.raises(InputError, match="found none"):
        everything(ImageFolder(tmp_path), 2)
    with pytest.raises(InputError, match="is not a folder"):
        everything(ImageFolder(tmp_path / "absent"), 2)
    with pytest.raises(InputError, match="is not a folder"):
        open_source(path=str(tmp_path / "absent"))
