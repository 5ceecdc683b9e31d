"""A collection that a framework's class made goes through a whole upgrade without Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from hotfill.cli.app import app
from hotfill.types import ModelId
from tests import milvus
from tests.postgres import server
from tests.scenarios.frameworks import programs
from tests.scenarios.frameworks.embeddings import LARGE

HERE = Path(__file__).parent
NEEDS = {
    "langchain-milvus": "langchain_milvus",
    "langchain-chroma": "langchain_chroma",
    "llama-index-chroma": "llama_index.vector_stores.chroma",
    "langchain-postgres": "langchain_postgres",
    "langchain-table-postgres": "langchain_postgres",
    "langchain-qdrant": "langchain_qdrant",
    "llama-index-postgres": "llama_index.vector_stores.postgres",
    "llama-index-qdrant": "llama_index.vector_stores.qdrant",
    "pgai-postgres": "pgai",
}
OTHER_PYTHON = os.environ.get("HOTFILL_FRAMEWORKS_PYTHON", "")
"""A Python with the frameworks that cannot live beside what is installed here; see the Makefile."""

CONFIG = """
[store]
{store}

[source]
kind = "store"

[old]
embedder = "embeddings:{models}"
options = {{ parts = 2, size = 32 }}
model = {{ name = "letters", revision = "2", dimension = 32, normalised = false }}

[new]
embedder = "embeddings:{models}"
options = {{ parts = 3, size = 48 }}
model = {{ name = "letters", revision = "3", dimension = 48, normalised = false }}

[upgrade]
batch_size = 64
fit_items = 200
"""
NEW = ModelId("letters", "3", 48, normalised=False)


def python_of(framework):
    """The Python that has a framework's class; skips the test where there is none."""
    try:
        if find_spec(NEEDS[framework]):
            return sys.executable
    except ModuleNotFoundError:
        pass
    if not OTHER_PYTHON:
        pytest.skip(f"{NEEDS[framework]} is not installed, and HOTFILL_FRAMEWORKS_PYTHON not set")
    return OTHER_PYTHON


class Collection:
    """A framework's collection, and hotfill's commands for it. options: of its class."""

    def __init__(self, framework, folder, place, **options):
        self.framework, self.folder, self.place, self.options = framework, folder, place, options
        self.python = python_of(framework)

    @property
    def by_distance(self):
        """Whether the collection compares by the distance."""
        return self.framework.endswith("chroma") or (
            self.framework == "langchain-milvus" and "metric" not in self.options
        )

    def program(self, action, model="old", text="", **options):
        words = [HERE / "programs.py", self.framework, action, self.place, model, text]
        done = subprocess.run(
            [self.python, *map(str, words), json.dumps({**self.options, **options})],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def configure(self, store):
        shutil.copy(HERE / "embeddings.py", self.folder)
        models = "llama_index" if self.framework.startswith("llama-index") else "langchain"
        config = CONFIG.format(store=store, models=models)
        if self.by_distance:  # then vectors have unit length
            config = config.replace(", normalised = false", "").replace(
                " }\nmodel", ", unit = true }\nmodel"
            )
        (self.folder / "upgrade.toml").write_text(config)

    def again(self):
        """Let the next upgrade be another one."""
        config = self.folder / "upgrade.toml"
        journal = '\n[journal]\nname = "again"\n' if "postgres" in self.framework else ""
        config.write_text(f'folder = "again"\n{config.read_text()}{journal}')

    def hotfill(self, name, *words):
        result = CliRunner().invoke(
            app, [name, str(self.folder / "upgrade.toml"), *words, "--json"]
        )
        assert result.exit_code == 0, (name, result.output, result.exception)
        return json.loads(result.stdout)


def whole_upgrade(made, told, snapshot):
    """Go all the way, and back in between; return what programs find at the end.

    told: what `adopt` says made it. snapshot: what is there but for hotfill's own things: a
    mapping of the vectors that an upgrade replaces, and all the rest.
    """
    vectors, rest = before = snapshot()
    assert len(vectors) == 360
    assert made.hotfill("adopt")["made_by"] == told
    assert snapshot() == before
    made.hotfill("doctor")
    made.hotfill("plan")
    made.hotfill("sample", "--out", str(made.folder / "sample"), "--items", "320")
    rehearsal = CliRunner().invoke(
        app,
        f"rehearse --sample {made.folder / 'sample'} --strategies merge --transforms ridge "
        "--orders random --points 3".split(),
    )
    assert rehearsal.exit_code == 0, rehearsal.output
    assert snapshot() == before
    made.hotfill("start", "--yes", "--yes-below-old")  # the models are toys
    if not made.framework.endswith(("chroma", "milvus")):  # there items are elsewhere by now
        assert made.program("search", "old", programs.TEXTS[42])[0][0] == programs.TEXTS[42]
    made.hotfill("verify")
    made.hotfill("cutover")
    made.hotfill("rollback")
    assert snapshot() == before
    made.again()
    made.hotfill("start", "--yes", "--yes-below-old")  # the models are toys
    made.hotfill("verify")
    made.hotfill("cutover")
    made.hotfill("complete", "--yes")
    assert snapshot()[1] == rest


def searched_and_written(made, **options):
    """The framework's class reads and writes the collection with the new model."""
    nested = made.framework.startswith("langchain") and "chroma" not in made.framework
    wanted = programs.METADATA[42] if nested else programs.FLAT[42]
    first = made.program("search", "new", programs.TEXTS[42], **options)[0]
    assert first == [programs.TEXTS[42], wanted]
    made.program("add", "new", "a purple elephant, late", **options)
    first = made.program("search", "new", "purple elephant", **options)[0]
    assert first == ["a purple elephant, late", {"n": -1}]
    found = made.hotfill("search", "--content", "purple elephant", "-k", "1")
    assert len(found["hits"]) == 1
    (current,) = made.hotfill("current")["models"]
    assert current["items"] == len(programs.TEXTS) + 1
    return found["hits"][0]["item_id"]


# PostgreSQL ---------------------------------------------------------------------------------------


@pytest.fixture
def database(request):
    name = "frameworks_" + "".join(c if c.isalnum() else "_" for c in request.node.name)[-40:]
    with psycopg.connect(server().dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    dsn = server().dsn.replace("dbname=postgres", f"dbname={name}")
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE EXTENSION vector")
    return dsn


def dump(dsn, table, mine="true"):
    """Everything in a database as text: the vectors of the rows meant, and all the rest."""
    vectors, rest = {}, {}
    with psycopg.connect(dsn) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' "
                "AND tablename NOT LIKE 'hotfill%' ORDER BY 1"
            )
        ]
        for name in names:
            columns = connection.execute(
                "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute WHERE "
                "attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped "
                "AND attname NOT LIKE 'hotfill%%' ORDER BY attname",
                (name,),
            ).fetchall()
            for row in connection.execute(
                sql.SQL("SELECT ({})::text, {} FROM {} ORDER BY 2").format(
                    sql.SQL(mine if name == table else "false"),
                    sql.SQL(", ").join(
                        sql.SQL("{}::text").format(sql.Identifier(column)) for column, _ in columns
                    ),
                    sql.Identifier(name),
                )
            ).fetchall():
                values = dict(zip([column for column, _ in columns], row[1:], strict=True))
                if row[0] == "true":
                    vectors[str(values)] = values.pop("embedding")
                rest.setdefault(name, []).append(values)
            rest[name].sort(key=str)
            rest[f"columns of {name}"] = columns
    return vectors, rest


def store_of(dsn, table):
    return f'kind = "postgres"\ndsn = "{dsn}"\ntable = "{table}"'


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="any_length"),
        pytest.param({"embedding_length": 32}, id="length", marks=pytest.mark.slow),
    ],
)
def test_langchain_on_postgresql(tmp_path, database, options):
    made = Collection("langchain-postgres", tmp_path, database, **options)
    made.program("make")
    store = store_of(database, "langchain_pg_embedding")
    made.configure(store)
    mine = "collection_id = (SELECT uuid FROM langchain_pg_collection WHERE name = 'docs')"
    if not options:
        asked = CliRunner().invoke(app, ["adopt", str(tmp_path / "upgrade.toml")])
        assert asked.exit_code != 0
        (line,) = [each for each in asked.output.splitlines() if "# docs, 360 rows" in each]
        made.configure(f"{store}\n{line}")
    whole_upgrade(
        made,
        "LangChain's PGVector",
        lambda: dump(database, "langchain_pg_embedding", mine),
    )
    made.options = {} if not options else {"embedding_length": LARGE["size"]}
    searched_and_written(made)
    if not options:
        small = {"parts": 2, "size": 7}
        (found,) = subprocess_search(made, small, "other")
        assert found == [programs.TEXTS[5], programs.FLAT[5]]


@pytest.mark.slow
def test_langchain_with_a_table_for_each_collection(tmp_path, database):
    made = Collection("langchain-table-postgres", tmp_path, database)
    made.program("make")
    made.configure(store_of(database, "docs"))
    whole_upgrade(made, "LangChain's PGVectorStore", lambda: dump(database, "docs"))
    searched_and_written(made)


def subprocess_search(made, model, collection):
    """Ask the other collection of the same table by its own model."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import programs; "
        "made = programs.LangchainPostgres(sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]); "
        "print(json.dumps(made.search(programs.TEXTS[5])[:1]))"
    )
    words = [str(HERE), made.place, json.dumps(model), collection]
    done = subprocess.run([made.python, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"use_jsonb": True, "use_halfvec": True, "hybrid_search": True}],
    ids=["plain", "all"],
)
def test_llama_index_on_postgresql(tmp_path, database, options):
    pytest.importorskip("llama_index.core")
    made = Collection("llama-index-postgres", tmp_path, database, **options)
    made.program("make")
    made.configure(store_of(database, "data_docs"))
    whole_upgrade(made, "LlamaIndex's PGVectorStore", lambda: dump(database, "data_docs"))
    searched_and_written(made)


@pytest.mark.slow
def test_pgai_on_postgresql(tmp_path, database):
    made = Collection("pgai-postgres", tmp_path, database)
    made.program("make")
    made.configure(store_of(database, "docs_store"))
    view = "SELECT pg_get_viewdef('seen'::regclass)"
    with psycopg.connect(database) as connection:
        before = connection.execute(view).fetchone()
    whole_upgrade(made, "pgai", lambda: dump(database, "docs_store"))
    with psycopg.connect(database) as connection:
        assert connection.execute(view).fetchone() == before
    searched_and_written(made)


# Qdrant -------------------------------------------------------------------------------------------


def points(folder):
    """Every point as JSON: dense vectors that an upgrade replaces, and all the rest.

    The local engine brings vectors to unit length in its memory whenever it compares them by the
    cosine, and stores that with the point's next change of any kind (1.20), so only directions are
    compared: to seven digits, since that is done once more for each program.
    """
    from qdrant_client import QdrantClient

    client = QdrantClient(path=folder)
    records, _ = client.scroll("docs", limit=10_000, with_payload=True, with_vectors=True)
    client.close()
    vectors, rest = {}, {}
    for record in records:
        payload = {k: v for k, v in record.payload.items() if not k.startswith("_hotfill_")}
        held = record.vector if isinstance(record.vector, dict) else {"": record.vector}
        dense = {
            name: [round(each / np.linalg.norm(row), 6) for each in row]
            for name, row in held.items()
            if name in ("", "text-dense")
        }
        vectors[record.id] = json.dumps(dense)
        other = sorted(set(held) - set(dense) - {NEW.fingerprint})
        rest[record.id] = json.dumps([payload, other], sort_keys=True)
    return vectors, rest


@pytest.mark.slow
def test_langchain_on_qdrant(tmp_path):
    made = Collection("langchain-qdrant", tmp_path, str(tmp_path / "qdrant"))
    made.program("make")
    made.configure('kind = "qdrant"\nlocation = "qdrant"\ncollection = "docs"')
    whole_upgrade(made, "LangChain's QdrantVectorStore", lambda: points(made.place))
    searched_and_written(made, vector_name=NEW.fingerprint)


@pytest.mark.slow
def test_llama_index_on_qdrant(tmp_path):
    made = Collection("llama-index-qdrant", tmp_path, str(tmp_path / "qdrant"))
    made.program("make")
    made.configure('kind = "qdrant"\nlocation = "qdrant"\ncollection = "docs"')
    whole_upgrade(made, "LlamaIndex's QdrantVectorStore", lambda: points(made.place))
    searched_and_written(made, dense_vector_name=NEW.fingerprint)


# Chroma -------------------------------------------------------------------------------------------


def rows(folder):
    """Every row as JSON: the vectors that an upgrade replaces, and all the rest."""
    import chromadb

    client = chromadb.PersistentClient(folder)
    vectors, rest = {}, {}
    for collection in client.list_collections():
        name = collection.name
        if ".hotfill" in name and name != "docs.hotfill.2":
            continue
        found = collection.get(include=["embeddings", "documents", "metadatas"])
        for item_id, vector, document, metadata in zip(
            found["ids"],
            found["embeddings"],
            found["documents"],
            found["metadatas"],
            strict=True,
        ):
            theirs = {k: v for k, v in metadata.items() if not k.startswith("_hotfill_")}
            vectors[item_id] = vector.tobytes()
            rest[item_id] = json.dumps([document, theirs], sort_keys=True)
    client.close()
    return vectors, rest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("framework", "told"),
    [
        ("langchain-chroma", "Chroma's own classes"),
        ("llama-index-chroma", "LlamaIndex's ChromaVectorStore"),
    ],
)
def test_chroma(tmp_path, framework, told):
    made = Collection(framework, tmp_path, str(tmp_path / "chroma"))
    made.program("make")
    made.configure('kind = "chroma"\nlocation = "chroma"\ncollection = "docs"')
    whole_upgrade(made, told, lambda: rows(made.place))
    searched_and_written(made)


# Milvus -------------------------------------------------------------------------------------------


def milvus_rows(location):
    """Every row of the collection, and what it declares: vectors, and all the rest."""
    from pymilvus import MilvusClient

    from hotfill.stores.milvus.server import Server

    client = MilvusClient(location)
    client.load_collection("docs")
    every = {"filter": 'pk != ""', "output_fields": ["*"], "limit": 16_000}
    found = client.query("docs", **every, consistency_level="Strong")
    about = client.describe_collection("docs")
    rows = [
        {key: value for key, value in row.items() if not key.startswith("hotfill_")}
        for row in found
    ]
    vectors = {row["pk"]: row.pop("vector") for row in rows}
    rest = {row["pk"]: json.dumps(row, sort_keys=True) for row in rows}
    rest["fields"] = [
        {**field, "field_id": 0, "params": {**field["params"], "dim": None}}
        for field in about["fields"]
    ]
    rest["metric"] = client.describe_index("docs", "vector")["metric_type"]
    client.close()
    # Milvus Lite's engine lives on in this process: end it, as a gallery does when it is closed.
    Server(location, token="", database="", timeout_seconds=5, ef=None).close()
    return vectors, rest


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dynamic": True, "metric": "COSINE"},
        {"partition": "colour", "dynamic": True},
        {"server": True},
    ],
    ids=["declared", "dynamic", "partitioned", "server"],
)
def test_langchain_on_milvus(tmp_path, options):
    place = str(tmp_path / "milvus.db")
    if options.pop("server", False):
        if milvus.MISSING:
            pytest.skip("the package milvus, which has the server, is for Linux on x86-64 only")
        place = milvus.server()
    made = Collection("langchain-milvus", tmp_path, place, **options)
    made.program("make")
    made.configure(f'kind = "milvus"\nlocation = "{place}"\ncollection = "docs"')
    whole_upgrade(made, "LangChain's Milvus", lambda: milvus_rows(made.place))
    searched_and_written(made)


@pytest.mark.slow
def test_langchain_on_milvus_with_keys_of_the_server_is_refused(tmp_path):
    made = Collection("langchain-milvus", tmp_path, str(tmp_path / "milvus.db"))
    made.program("make_without_ids")
    made.configure('kind = "milvus"\nlocation = "milvus.db"\ncollection = "docs"')
    refused = CliRunner().invoke(app, ["adopt", str(tmp_path / "upgrade.toml")])
    assert refused.exit_code != 0
    assert "the server gives out its primary keys" in " ".join(refused.output.split())
