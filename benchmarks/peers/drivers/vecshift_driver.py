"""vecshift: a second column, filled beside the first, then both swapped by name.

Searches are the application's own SQL on the column `embedding`: by the old model until `cutover`,
by the new one after it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import psycopg

from benchmarks.peers.drivers.step import Driver, main

# user: begin
JOB = """
version: 1
name: upgrade
source:
  type: pgvector
  table: public.items
  vector_column: embedding
  text_column: content
  model: compat/old,url={url},dims={old},price=0
target:
  column: embedding_v2
model: compat/new,url={url},dims={new},price=0
"""
SEARCH = "SELECT id FROM items ORDER BY embedding <=> %s::vector LIMIT 10"
COMMANDS = [
    ["plan"],
    ["apply", "--yes"],
    ["eval", "--yes", "--queries", "{queries}"],
    ["cutover", "--yes"],
]
# user: end


class Vecshift(Driver):
    def command(self, name: str, *words: str) -> None:
        job = self.folder / "vecshift.yaml"
        if not job.exists():
            url = os.environ["PEERS_ENDPOINT"]
            text = JOB.format(url=url, old=self.old.dimension, new=self.new.dimension)
            job.write_text(text, encoding="utf-8")
        program = str(Path(sys.executable).parent / "vecshift")
        variables = os.environ | {"VECSHIFT_DSN": self.dsn}
        process = subprocess.Popen([program, name, str(job), *words], env=variables)
        (self.folder / "pid").write_text(str(process.pid))  # whom the endpoint may kill
        ended = self.step(name, process.wait)
        self.facts[f"{name} ended with"] = ended
        if ended == -9:
            os.kill(os.getpid(), 9)
        if ended not in (0, 3) and name != "eval":
            raise SystemExit(f"vecshift {name} ended with {ended}")

    def until(self, share: float) -> None:
        if share:
            self.command("apply", "--yes", "--until", str(round(100 * share)))
            with psycopg.connect(self.dsn) as connection:
                (filled,) = connection.execute("SELECT count(embedding_v2) FROM items").fetchone()
            self.facts["re-embedded"] = round(filled / len(self.world.gallery), 4)

    def whole(self) -> None:
        queries = self.folder / "queries.jsonl"
        told = zip(self.world.probes, self.world.relevant_to_probes, strict=True)
        lines = [json.dumps({"query": text, "relevant": [*map(str, ids)]}) for text, ids in told]
        queries.write_text("\n".join(lines), encoding="utf-8")
        for name, *words in COMMANDS:
            self.command(name, *(word.format(queries=queries) for word in words))

    def search(self) -> Callable[[str], list[int]]:
        # user: begin
        connection = psycopg.connect(self.dsn, autocommit=True)
        (length,) = connection.execute("SELECT vector_dims(embedding) FROM items").fetchone()
        model = self.new if length == self.new.dimension else self.old

        def search(text: str) -> list[int]:
            vector = str(model([text])[0].tolist())
            return [row[0] for row in connection.execute(SEARCH, (vector,))]

        return search
        # user: end


if __name__ == "__main__":
    main(Vecshift)
