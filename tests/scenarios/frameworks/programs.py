"""Programs that know a framework and nothing of hotfill, run by the Python that has it.

    python programs.py FRAMEWORK ACTION PLACE MODEL [OPTIONS]

ACTION: `make` a collection of texts, `search` it, `add` a text to it. PLACE: a folder, or libpq's
connection string. MODEL: `old` or `new`. OPTIONS: of the framework's class, as JSON. The answer is
JSON, in the last line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

sys.path.insert(0, str(Path(__file__).parent))

from embeddings import LARGE, SMALL, langchain, letters, llama_index  # beside this file

COLOURS, THINGS = ["red", "green", "blue", "black"], ["fox", "tree", "car", "house", "bicycle"]
TEXTS = [f"{COLOURS[n % 4]} {THINGS[n % 5]} number {n} of {n * n}" for n in range(360)]
METADATA = [
    {"n": n, "colour": COLOURS[n % 4], "more": {"tags": ["a", n], "none": None}} for n in range(360)
]
FLAT = [{"n": n, "colour": COLOURS[n % 4]} for n in range(360)]
MODELS = {"old": SMALL, "new": LARGE}
PGAI = str(Path(sys.executable).with_name("pgai"))


def url(place: str, driver: str) -> str:
    words = dict(word.split("=") for word in place.split())
    return f"postgresql+{driver}://{words['user']}@/{words['dbname']}?host={words['host']}"


class Program:
    def close(self):
        """Let the store go."""


class LangchainPostgres(Program):
    def __init__(self, place, model, collection="docs", **options):
        from langchain_postgres import PGVector

        self.made = PGVector(
            langchain(**model),
            collection_name=collection,
            connection=url(place, "psycopg"),
            use_jsonb=True,
            **options,
        )
        self.place, self.options = place, options

    def make(self):
        self.made.add_texts(TEXTS, METADATA, ids=[f"doc-{n}" for n in range(len(TEXTS))])
        if not self.options:  # without a length others may have vectors of any
            other = LangchainPostgres(self.place, {"parts": 2, "size": 7}, "other")
            other.made.add_texts(TEXTS[:9], FLAT[:9])

    def search(self, text):
        return [
            [found.page_content, found.metadata] for found in self.made.similarity_search(text, k=3)
        ]

    def add(self, text):
        self.made.add_texts([text], [{"n": -1}])


class LangchainTable(Program):
    """LangChain's newer class: a table for each collection."""

    def __init__(self, place, model):
        from langchain_postgres import PGEngine, PGVectorStore

        self.engine = PGEngine.from_connection_string(url(place, "psycopg"))
        self.size = model["size"]
        self.opened = lambda: PGVectorStore.create_sync(self.engine, langchain(**model), "docs")

    def make(self):
        self.engine.init_vectorstore_table("docs", self.size)
        self.opened().add_texts(TEXTS, METADATA)

    def search(self, text):
        found = self.opened().similarity_search(text, k=3)
        return [[each.page_content, each.metadata] for each in found]

    def add(self, text):
        self.opened().add_texts([text], [{"n": -1}])


class LangchainQdrant(Program):
    def __init__(self, place, model, **options):
        from langchain_qdrant import QdrantVectorStore
        from qdrant_client import QdrantClient, models

        client = QdrantClient(path=place)
        if not client.collection_exists("docs"):
            size = models.VectorParams(size=model["size"], distance=models.Distance.COSINE)
            client.create_collection("docs", vectors_config=size)
        if "vector_name" in options:
            options["distance"] = models.Distance.DOT
        self.made = QdrantVectorStore(client, "docs", langchain(**model), **options)
        self.close = client.close

    def make(self):
        self.made.add_texts(TEXTS, METADATA)

    def search(self, text):
        found = self.made.similarity_search(text, k=3)
        return [[each.page_content, _without_ids(each.metadata)] for each in found]

    def add(self, text):
        self.made.add_texts([text], [{"n": -1}])


class LlamaIndex(Program):
    """What both of its stores share."""

    made = None

    def make(self):
        self._add(TEXTS, FLAT)

    def add(self, text):
        self._add([text], [{"n": -1}])

    def _add(self, texts, metadata):
        from llama_index.core.schema import MetadataMode, TextNode

        nodes = [
            TextNode(text=text, metadata=dict(row), excluded_embed_metadata_keys=["n"])
            for text, row in zip(texts, metadata, strict=True)
        ]
        for node in nodes:
            text = node.get_content(metadata_mode=MetadataMode.EMBED)
            node.embedding = self.model.get_text_embedding(text)
        self.made.add(nodes)

    def search(self, text):
        from llama_index.core.vector_stores.types import VectorStoreQuery

        asked = VectorStoreQuery(self.model.get_query_embedding(text), similarity_top_k=3)
        return [[node.text, node.metadata] for node in self.made.query(asked).nodes]


class LlamaIndexPostgres(LlamaIndex):
    def __init__(self, place, model, **options):
        from llama_index.vector_stores.postgres import PGVectorStore

        self.model = llama_index(**model)
        self.made = PGVectorStore.from_params(
            connection_string=url(place, "psycopg2"),
            async_connection_string=url(place, "asyncpg"),
            table_name="docs",
            embed_dim=model["size"],
            **options,
        )


class LlamaIndexQdrant(LlamaIndex):
    def __init__(self, place, model, **options):
        from llama_index.vector_stores.qdrant import QdrantVectorStore
        from qdrant_client import QdrantClient

        self.model = llama_index(**model)
        client = QdrantClient(path=place)
        self.made = QdrantVectorStore("docs", client, **options)
        self.close = client.close


class LangchainChroma(Program):
    """As its own page makes it: compared by the distance, which is Chroma's default."""

    def __init__(self, place, model):
        from langchain_chroma import Chroma

        self.made = Chroma("docs", langchain(**model, unit=True), persist_directory=place)

    def make(self):
        self.made.add_texts(TEXTS, FLAT, ids=[f"doc-{n}" for n in range(len(TEXTS))])

    def search(self, text):
        found = self.made.similarity_search(text, k=3)
        return [[each.page_content, _without_ids(each.metadata)] for each in found]

    def add(self, text):
        self.made.add_texts([text], [{"n": -1}])


class LlamaIndexChroma(LlamaIndex):
    def __init__(self, place, model):
        import chromadb
        from llama_index.vector_stores.chroma import ChromaVectorStore

        self.model = llama_index(**model, unit=True)
        collection = chromadb.PersistentClient(place).get_or_create_collection("docs")
        self.made = ChromaVectorStore(chroma_collection=collection)


class LangchainMilvus(Program):
    """With a declared field for each key of the first text, or with dynamic ones."""

    def __init__(self, place, model, dynamic=False, metric="L2", partition=None):
        from langchain_milvus import Milvus

        self.made = Milvus(
            langchain(**model, unit=metric == "L2"),
            collection_name="docs",
            connection_args={"uri": place},
            enable_dynamic_field=dynamic,
            partition_key_field=partition,
            index_params={"metric_type": metric, "index_type": "AUTOINDEX", "params": {}},
        )

    def make(self):
        self.made.add_texts(TEXTS, METADATA, ids=[f"doc-{n}" for n in range(len(TEXTS))])

    def make_without_ids(self):
        self.made.add_texts(TEXTS[:9])

    def search(self, text):
        found = self.made.similarity_search(text, k=3)
        return [[each.page_content, _given(each.metadata)] for each in found]

    def add(self, text):
        self.made.add_texts([text], [{"n": -1, "colour": "", "more": {}}], ids=["late"])


class Pgai(Program):
    """A vectorizer, its worker, and a stand-in for the Ollama server that it asks for vectors."""

    def __init__(self, place, model):
        import psycopg

        self.place, self.model = place, model
        self.connection = psycopg.connect(place, autocommit=True)
        self.close = self.connection.close
        self.embedding = f"ai.embedding_ollama('parts-{model['parts']}', {model['size']})"

    def make(self):
        subprocess.run([PGAI, "install", "-d", self.place], check=True, capture_output=True)
        self.connection.execute("CREATE TABLE docs (n int PRIMARY KEY, text text, colour text)")
        with self.connection.cursor() as cursor:
            rows = [(row["n"], text, row["colour"]) for text, row in zip(TEXTS, FLAT, strict=True)]
            cursor.executemany("INSERT INTO docs VALUES (%s, %s, %s)", rows)
        self.connection.execute(
            f"SELECT ai.create_vectorizer('docs'::regclass, loading => ai.loading_column('text'), "
            f"embedding => {self.embedding}, chunking => ai.chunking_none(), "
            "destination => "
            "ai.destination_table(target_table => 'docs_store', view_name => 'seen'))"
        )
        self._work()

    def search(self, text):
        (vector,) = letters([text], **self.model)
        found = self.connection.execute(
            "SELECT chunk, n, colour FROM seen ORDER BY embedding <=> %s::vector LIMIT 3",
            (str(vector),),
        )
        return [
            [chunk, {"n": n, "colour": colour} if colour else {"n": n}]
            for chunk, n, colour in found
        ]

    def add(self, text):
        self.connection.execute(
            "UPDATE ai.vectorizer "
            f"SET config = jsonb_set(config, '{{embedding}}', {self.embedding})"
        )
        self.connection.execute("INSERT INTO docs VALUES (-1, %s)", (text,))
        self._work()

    def _work(self):
        """Let pgai's worker embed what waits for it."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), Ollama)
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        words = [
            PGAI,
            "vectorizer",
            "worker",
            "-d",
            self.place,
            "--once",
            "--exit-on-error",
            "true",
        ]
        done = subprocess.run(
            words, env={**os.environ, "OLLAMA_HOST": address}, capture_output=True, text=True
        )
        server.shutdown()
        assert done.returncode == 0, done.stdout + done.stderr


class Ollama(BaseHTTPRequestHandler):
    """The two calls of an Ollama server that pgai's worker needs; models are called `parts-N`."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"model_info": {}}
        if self.path == "/api/embed":
            parts = int(asked["model"].removeprefix("parts-"))
            (model,) = [each for each in MODELS.values() if each["parts"] == parts]
            answer = {"embeddings": letters(asked["input"], **model), "prompt_eval_count": 1}
        body = json.dumps({"model": asked["model"], **answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        """Say nothing: the last line of the output is the answer."""


FRAMEWORKS = {
    "pgai-postgres": Pgai,
    "langchain-milvus": LangchainMilvus,
    "langchain-chroma": LangchainChroma,
    "llama-index-chroma": LlamaIndexChroma,
    "langchain-postgres": LangchainPostgres,
    "langchain-table-postgres": LangchainTable,
    "langchain-qdrant": LangchainQdrant,
    "llama-index-postgres": LlamaIndexPostgres,
    "llama-index-qdrant": LlamaIndexQdrant,
}


def _without_ids(metadata):
    return {key: value for key, value in metadata.items() if not key.startswith("_")}


def _given(metadata):
    """Leave out the key, and what stands for nothing in a field that every row has."""
    return {key: value for key, value in metadata.items() if key != "pk" and value not in ("", {})}


if __name__ == "__main__":
    framework, action, place, model, *rest = sys.argv[1:]
    text, options = rest[0] if rest else "", json.loads(rest[1]) if len(rest) > 1 else {}
    opened = FRAMEWORKS[framework](place, MODELS[model], **options)
    answer = getattr(opened, action)(*([text] if text else []))
    opened.close()
    print(json.dumps(answer))
