"""`hotfill init`: what it finds in real stores, what it writes, and that the rest then works."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from typer.testing import CliRunner

import hotfill
from hotfill.cli.app import app
from hotfill.cli.init import _journal_name
from hotfill.integrations.discovery import FoundCollection
from tests.unit.cli.models import OLD, contents, old_model
from tests.unit.cli.project import fill, write_config

ITEMS = 320
OLD_NAME, NEW_NAME = "tests.unit.cli.models:old_model", "tests.unit.cli.models:new_model"
MODELS = ("--old", OLD_NAME, "--new", NEW_NAME)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "HOTFILL_DSN", "POSTGRES_URL", "HOTFILL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*words, code=0, stdin=None):
    result = CliRunner().invoke(app, [*map(str, words)], input=stdin)
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def init(*words, code=0):
    return run("init", *words, "--yes", code=code)


def file(name="upgrade.toml"):
    with open(name, "rb") as opened:
        return tomllib.load(opened)


def items():
    """Ids, texts that the tests' models read, and the old model's vectors."""
    source = contents(ITEMS)
    texts = {item_id: " ".join(map(str, row)) for item_id, row in source.items()}
    return list(source), list(texts.values()), old_model()(list(source.values()))


def assert_leads_to_an_upgraded_gallery():
    """After `init`: rehearse, start, cutover; three commands, and nothing between them."""
    assert run("rehearse", "--points", 3, "--fit", 110).stdout
    run("start", "--yes")
    run("cutover")
    (old, new) = json.loads(run("current", "--json").stdout)["models"]
    assert (old["items"], new["embedded"], new["share"]) == (0, ITEMS, 1.0)


def test_a_table_of_postgresql_with_texts_needs_no_line_of_code(here):
    psycopg = pytest.importorskip("psycopg")
    postgres = pytest.importorskip("tests.postgres")
    schema, dsn = postgres.fresh_schema(), postgres.server().dsn
    ids, texts, vectors = items()
    with psycopg.connect(dsn) as connection:
        connection.execute(
            f"CREATE TABLE {schema}.chunks (id varchar PRIMARY KEY, collection_id uuid, "
            "embedding vector, document varchar, cmetadata jsonb)"
        )
        connection.cursor().executemany(
            f"INSERT INTO {schema}.chunks VALUES (%s, NULL, %s::vector, %s, '{{}}')",
            [(i, str(v.tolist()), t) for i, t, v in zip(ids, texts, vectors, strict=True)],
        )
    result = init(dsn, "--collection", f"{schema}.chunks", *MODELS)
    assert f"found {schema}.chunks: {ITEMS} items, embedding of 6 numbers, texts in document" in (
        result.stderr
    )
    assert f"adopted: {ITEMS} items of {OLD}" in result.stdout
    # A column without a length is taken over unchanged; what an index would need is said.
    assert "TYPE vector(6)" in result.stdout
    assert file()["store"] == {"kind": "postgres", "dsn": dsn, "table": f"{schema}.chunks"}
    assert file()["source"] == {"kind": "store", "field": "document"}
    assert not (here / "contents.py").exists()
    with open("upgrade.toml", "a") as text:
        text.write("\n[upgrade]\nfit_items = 110\n")
    assert_leads_to_an_upgraded_gallery()


def test_collections_that_a_framework_keeps_in_one_table_are_told_apart(here):
    psycopg = pytest.importorskip("psycopg")
    postgres = pytest.importorskip("tests.postgres")
    schema, dsn = postgres.fresh_schema(), postgres.server().dsn
    ids, texts, vectors = items()
    with psycopg.connect(dsn) as connection:
        connection.execute(
            f"CREATE TABLE {schema}.langchain_pg_collection (uuid uuid PRIMARY KEY, name text)"
        )
        connection.execute(
            f"CREATE TABLE {schema}.langchain_pg_embedding (id varchar PRIMARY KEY, "
            "collection_id uuid, embedding vector, document varchar, cmetadata jsonb)"
        )
        for name, uuid, width in (("faq", "a" * 32, 6), ("blog", "b" * 32, 4)):
            connection.execute(
                f"INSERT INTO {schema}.langchain_pg_collection VALUES (%s, %s)", (uuid, name)
            )
            connection.cursor().executemany(
                f"INSERT INTO {schema}.langchain_pg_embedding "
                "VALUES (%s, %s, %s::vector, %s, '{}')",
                [
                    (f"{name}-{i}", uuid, str(v[:width].tolist()), t)
                    for i, t, v in zip(ids, texts, vectors, strict=True)
                ],
            )
    refused = init(dsn, *MODELS, code=2)
    assert f"found faq: {ITEMS} items, embedding of 6 numbers, texts in document" in refused.stderr
    assert f"found blog: {ITEMS} items, embedding of 4 numbers" in refused.stderr
    result = init(dsn, "--collection", "faq", *MODELS)
    assert f"adopted: {ITEMS} items of {OLD}" in result.stdout
    rows = {"collection_id": str(UUID("a" * 32))}
    assert file()["store"]["rows"] == rows
    init(dsn, "--collection", "faq", "--new", NEW_NAME, "--force")  # it knows the model now
    assert file()["old"]["model"]["name"] == OLD.name
    assert file()["store"]["rows"] == rows
    name = file()["journal"]["name"]
    init(dsn, "--collection", "blog", *MODELS, "--force", "--no-adopt")
    assert file()["journal"]["name"] != name


@pytest.mark.parametrize(
    "names", [("shop", "shop2"), ("a.b", "a_b", "a-b", "A_b"), ("è" * 99, "ß" * 99, "x" * 99)]
)
def test_no_two_galleries_of_a_database_are_given_one_journal(names):
    found = [
        FoundCollection({"table": name}, name, 1, {"embedding": 6}, id_columns=("id",))
        for name in names
    ]
    found.append(replace(found[0], store={"table": names[0], "rows": {"tenant": "a"}}))
    given = [_journal_name(each) for each in found]
    assert len(set(given)) == len(found)
    assert all(re.fullmatch(r"hotfill_\w{1,42}", each) for each in given)


def test_a_table_of_lancedb_with_texts_needs_no_line_of_code(here):
    lancedb = pytest.importorskip("lancedb")
    ids, texts, vectors = items()
    rows = [
        {"number": n, "id": i, "vector": v, "text": t}
        for n, (i, t, v) in enumerate(zip(ids, texts, vectors, strict=True))
    ]
    lancedb.connect("data").create_table("docs", rows)
    result = init("data", *MODELS)
    assert f"found docs: {ITEMS} items, vector of 6 numbers, texts in text, id" in result.stderr
    assert file()["store"] == {"kind": "lancedb", "path": "data", "table": "docs"}
    assert file()["source"] == {"kind": "store", "field": "text"}
    assert not (here / "contents.py").exists()
    with hotfill.open("upgrade.toml") as up:
        assert up.gallery.count(OLD) == ITEMS


def test_of_several_collections_one_is_named(here):
    client = pytest.importorskip("qdrant_client")
    ids, _, vectors = items()
    local = client.QdrantClient(path="qdrant")
    params = client.models.VectorParams(size=6, distance=client.models.Distance.COSINE)
    for name in ("docs", "pictures"):
        local.create_collection(name, params)
    points = [
        client.models.PointStruct(id=n, vector=v.tolist(), payload={"page_content": i})
        for n, (i, v) in enumerate(zip(ids, vectors, strict=True))
    ]
    local.upsert("docs", points)
    local.close()
    refused = init("qdrant", *MODELS, code=2)
    assert "has several collections (docs, pictures): name --collection" in refused.stderr
    refused = init("qdrant", *MODELS, "--collection", "doks", code=2)
    assert "--collection: expected docs or pictures, got 'doks'" in refused.stderr
    assert not (here / "upgrade.toml").exists()
    result = init("qdrant", *MODELS, "--collection", "docs")
    assert f"adopted: {ITEMS} items" in result.stdout
    assert file()["store"] == {"kind": "qdrant", "location": "qdrant", "collection": "docs"}


def test_a_stamped_gallery_tells_its_own_model(here):
    fill(here, items=ITEMS)
    result = init("gallery", "--new", NEW_NAME, "--content", "tests.unit.cli.models:contents")
    assert "adopted" not in result.stdout
    assert file()["old"] == {"model": OLD.to_dict()}
    assert file()["source"] == {"factory": "tests.unit.cli.models:contents"}


def test_an_index_of_faiss_is_copied_with_the_ids_beside_it(here):
    faiss = pytest.importorskip("faiss")
    ids, _, vectors = items()
    index = faiss.IndexFlatIP(6)
    index.add(vectors)
    faiss.write_index(index, "pictures.faiss")
    (here / "pictures_ids.txt").write_text("\n".join(ids))
    init("pictures.faiss", *MODELS, "--content", "tests.unit.cli.models:contents")
    assert file()["store"] == {"kind": "index-files", "path": "gallery", "index": "hnsw"}
    with hotfill.open("upgrade.toml") as up:
        assert up.gallery.count(OLD) == ITEMS
        assert up.gallery.get(["item-00007"])[0] is not None
    again = init("gallery", "--new", NEW_NAME, "--force")
    assert "found gallery: old of 6 numbers" in again.stderr


def test_a_collection_of_milvus_is_found_and_taken_over(here):
    client = pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    ids, _, vectors = items()
    opened = client.MilvusClient("milvus.db")
    opened.create_collection("docs", 6, id_type="string", max_length=64, metric_type="IP")
    rows = [{"id": i, "vector": v} for i, v in zip(ids, vectors, strict=True)]
    opened.insert("docs", rows)
    opened.close()
    result = init("milvus.db", *MODELS)
    assert "found docs: vector of 6 numbers" in result.stderr
    assert f"adopted: {ITEMS} items" in result.stdout
    again = init("milvus.db", "--new", NEW_NAME, "--force")
    assert file()["old"] == {"model": OLD.to_dict()}
    assert again.stderr.count("found") == 1


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_file_of_contents_becomes_a_gallery(here, kind):
    pytest.importorskip("qdrant_edge")
    ids, texts, _ = items()
    rows = [{"sku": i, "body": t, "n": n} for n, (i, t) in enumerate(zip(ids, texts, strict=True))]
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(
            pyarrow.Table.from_pylist(rows), "items.parquet"
        )
    else:
        (here / "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = init(f"items.{kind}", *MODELS)
    assert f"made a gallery of {ITEMS} items" in result.stdout
    with open("upgrade.toml", "a") as text:
        text.write("\n[upgrade]\nfit_items = 110\n")
    assert_leads_to_an_upgraded_gallery()


def test_a_folder_of_pictures_is_found(here):
    from hotfill.integrations.discovery import FoundContents, discover

    (here / "pictures" / "cats").mkdir(parents=True)
    for name in ("a.png", "cats/b.JPG", "notes.txt"):
        (here / "pictures" / name).write_bytes(b"")
    assert discover("pictures") == FoundContents("pictures", here.relative_to(here) / "pictures", 2)


def test_a_configuration_that_is_there_stays(here):
    write_config(here)
    before = (here / "upgrade.toml").read_text()
    assert "upgrade.toml is there already; --force replaces it" in init("gallery", code=2).stderr
    assert (here / "upgrade.toml").read_text() == before


def test_what_nobody_can_know_is_asked_for_by_the_option(here):
    fill(here)
    said = init("gallery", code=2).stderr
    assert "Which model shall make them from now on? Give --new" in said
    assert not (here / "upgrade.toml").exists()
    (here / "deeper").mkdir()
    (here / "gallery").rename(here / "deeper" / "gallery")
    assert "Where are the vectors? Give PLACE" in init(code=2).stderr


def test_on_a_terminal_it_asks(here, monkeypatch):
    monkeypatch.setattr("hotfill.cli.output.interactive", lambda: True)
    fill(here)
    said = run("init", stdin=f"\n{NEW_NAME}\n")  # the gallery was guessed
    assert "Where are the vectors? [gallery]" in said.stderr
    assert file()["new"] == {"embedder": NEW_NAME}


def test_what_was_given_is_not_asked_for_again(here, monkeypatch):
    monkeypatch.setattr("hotfill.cli.output.interactive", lambda: True)
    fill(here)
    said = run("init", "gallery", *MODELS, stdin="")  # nobody answers
    assert "?" not in said.stderr
    assert (file()["old"], file()["new"]) == ({"embedder": OLD_NAME}, {"embedder": NEW_NAME})


def test_an_address_of_sqlalchemy_leads_to_an_upgraded_gallery(here, monkeypatch):
    psycopg = pytest.importorskip("psycopg")
    postgres = pytest.importorskip("tests.postgres")
    schema, folder = postgres.fresh_schema(), postgres.server().folder
    address = f"//hotfill@/postgres?host={folder}"
    ids, texts, vectors = items()
    with psycopg.connect(f"postgresql:{address}") as connection:
        connection.execute(
            f"CREATE TABLE {schema}.t (id text PRIMARY KEY, embedding vector(6), document text)"
        )
        connection.cursor().executemany(
            f"INSERT INTO {schema}.t VALUES (%s, %s::vector, %s)",
            [(i, str(v.tolist()), t) for i, v, t in zip(ids, vectors, texts, strict=True)],
        )
    monkeypatch.setenv("DATABASE_URL", f"postgresql+psycopg:{address}")
    init("--collection", f"{schema}.t", *MODELS)
    assert file()["store"]["dsn"] == "${DATABASE_URL}"
    with open("upgrade.toml", "a", encoding="utf-8") as config:
        config.write("\n[upgrade]\nfit_items = 110\n")
    assert_leads_to_an_upgraded_gallery()
    journal = pytest.importorskip("hotfill.upgrade.journal.postgres").PostgresJournal
    name = file()["journal"]["name"]
    assert journal.set_aside(f"postgresql+psycopg:{address}", name) == f"{name}_ended_1"


def test_a_place_of_which_nothing_is_known_is_told(here):
    assert "there is no such file or folder" in init("nothing", *MODELS, code=2).stderr
    (here / "empty").mkdir()
    assert "found none of these" in init("empty", *MODELS, code=2).stderr


def test_an_address_that_a_variable_holds_stays_out_of_the_file(here, monkeypatch):
    psycopg = pytest.importorskip("psycopg")
    postgres = pytest.importorskip("tests.postgres")
    schema, dsn = postgres.fresh_schema(), postgres.server().dsn
    with psycopg.connect(dsn) as connection:
        connection.execute(f"CREATE TABLE {schema}.t (id int PRIMARY KEY, embedding vector(6))")
    monkeypatch.setenv("DATABASE_URL", dsn)
    init("--collection", f"{schema}.t", *MODELS)
    assert file()["store"]["dsn"] == "${DATABASE_URL}"


def test_a_model_that_cannot_be_made_leaves_the_file_and_the_command_that_goes_on(here):
    lancedb = pytest.importorskip("lancedb")
    ids, texts, vectors = items()
    rows = [
        {"my id": i, "vector": v, "text": t} for i, t, v in zip(ids, texts, vectors, strict=True)
    ]
    lancedb.connect("data").create_table("docs", rows)
    old = "tests.unit.cli.models:Projection"
    result = init("data", "--old", old, "--new", NEW_NAME, "--id-column", "my id", code=2)
    goes_on = "hotfill adopt --vector-column vector --id-column 'my id'"
    assert f"wrote upgrade.toml; correct it, then: {goes_on}" in result.stderr
    text = (here / "upgrade.toml").read_text()
    (here / "upgrade.toml").write_text(text.replace(old, OLD_NAME))
    run(*shlex.split(goes_on)[1:])
    with hotfill.open("upgrade.toml") as up:
        assert up.gallery.count(OLD) == ITEMS
    result = init("data", *MODELS, "--force", "--no-adopt")
    assert result.stdout.splitlines()[-1] == "next: hotfill adopt"


@pytest.mark.parametrize(
    ("said", "section"),
    [
        ("shop.models:old", {"embedder": "shop.models:old"}),
        (
            "BAAI/bge-small-en-v1.5",
            {
                "embedder": "hotfill.embedders.sentence_transformers:from_options",
                "options": {"model": "BAAI/bge-small-en-v1.5"},
            },
        ),
        (
            "timm:resnet18",
            {"embedder": "hotfill.embedders.timm:from_options", "options": {"name": "resnet18"}},
        ),
        (
            "openai:text-embedding-3-small",
            {
                "embedder": "hotfill.embedders.http:from_options",
                "options": {
                    "url": "https://api.openai.com/v1",
                    "name": "text-embedding-3-small",
                    "revision": "1",
                    "dimension": 1536,
                    "api_key_env": "OPENAI_API_KEY",
                },
            },
        ),
        (
            "http://localhost:8080/v1#e5",
            {
                "embedder": "hotfill.embedders.http:from_options",
                "options": {
                    "url": "http://localhost:8080/v1",
                    "name": "e5",
                    "revision": "1",
                    "dimension": 384,
                },
            },
        ),
        ("gone:word2vec", {"model": {"name": "word2vec", "revision": "1", "dimension": 384}}),
    ],
)
def test_a_model_is_named_as_people_name_it(said, section):
    from hotfill.cli.init import model_section

    assert model_section(said, None if "openai" in said else 384) == section


def test_the_likeliest_content_comes_first():
    from hotfill.integrations.discovery import texts_first

    rows = [{"tag": "a", "story": "x" * 90, "title": "xx", "_hotfill_id": "i", "n": 1}]
    assert texts_first(rows) == ("title", "story", "tag")
    assert texts_first([]) == ()
    assert np.all(texts_first([{"document": "x", "text": "y"}]) == ("document", "text"))
