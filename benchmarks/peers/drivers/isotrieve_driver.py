"""isotrieve: fit a ridge map on pairs, look at its gate, map the stored vectors in place.

Before that its adapter maps queries to the old space ("serve"). Nothing is ever re-embedded but
the pairs. Its `dsn=` fails (psycopg knows no such keyword), so host and user are given.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import numpy as np
import psycopg

from benchmarks.peers.drivers.step import Driver, killing, main
from benchmarks.peers.lookup import Model


class Isotrieve(Driver):
    def __init__(self, world: Path, folder: Path, dsn: str) -> None:
        super().__init__(world, folder, dsn)
        # It asks for few vectors: it is killed by how many it has mapped.
        self.new = Model(world, "new", die_at=float("inf"))

    def command(self, *words: str) -> str:
        program = str(Path(sys.executable).parent / "isotrieve")
        done = subprocess.run([program, *words], capture_output=True, text=True)
        self.facts[f"{words[0]} ended with"] = done.returncode
        return done.stdout + done.stderr

    # user: begin
    def calibrate(self) -> None:
        sizes = ["--d-src", str(self.old.dimension), "--d-tgt", str(self.new.dimension)]
        models = ["--source-model", "old", "--target-model", "new"]
        items = ["--corpus-size", str(len(self.world.gallery))]
        said = json.loads(self.command("plan", *models, *items, *sizes, "--json"))
        pairs = said["recommended_k"] * 5 // 4  # a fifth for the gate
        with psycopg.connect(self.dsn) as connection:
            rows = connection.execute(
                "SELECT content, embedding::text FROM items ORDER BY md5(id::text) LIMIT %s",
                (pairs,),
            ).fetchall()
        old = np.array([json.loads(vector) for _, vector in rows])
        new = self.new([text for text, _ in rows])
        fit, held_out = slice(len(rows) * 4 // 5), slice(len(rows) * 4 // 5, None)
        for name, part in {"fit": fit, "gate": held_out}.items():
            np.save(self.folder / f"{name}_old.npy", old[part])
            np.save(self.folder / f"{name}_new.npy", new[part])
        self.command("calibrate", *self.vectors("fit"), "-o", str(self.mapping))
        said = self.command("gate", "--mapping", str(self.mapping), *self.vectors("gate"))
        self.facts["gate"] = re.search(r"Gate: (\w+)", said)[1]

    def vectors(self, name: str) -> list[str]:
        old, new = (str(self.folder / f"{name}_{side}.npy") for side in ("old", "new"))
        return ["--source-vectors", old, "--target-vectors", new]

    def adapter(self, mode: str = "serve"):
        from isotrieve.adapters.pgvector import PgvectorAdapter
        from isotrieve.mapping.registry import load_mapping

        told = psycopg.conninfo.conninfo_to_dict(self.dsn)
        where = {name: told[name] for name in ("host", "user", "dbname")}
        return PgvectorAdapter(load_mapping(self.mapping), **where, table="items", mode=mode)

    # user: end

    @property
    def mapping(self) -> Path:
        return self.folder / "mapping.isotrieve"

    @property
    def migrated(self) -> bool:
        with psycopg.connect(self.dsn) as connection:
            (length,) = connection.execute("SELECT vector_dims(embedding) FROM items").fetchone()
        return length == self.new.dimension

    def until(self, share: float) -> None:
        if not self.mapping.exists():  # at every share it is as at 0
            self.step("calibrate, gate", self.calibrate)
        self.facts["re-embedded"] = 0.0

    def whole(self) -> None:
        if not self.mapping.exists():
            self.step("calibrate, gate", self.calibrate)
        # user: begin
        adapter = self.adapter()
        # user: end
        adapter._mapping.transform = killing(adapter._mapping.transform)
        # user: begin
        self.step("migrate", adapter.migrate)
        # user: end
        with psycopg.connect(self.dsn) as connection:
            rows = connection.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'items'")
            self.facts["vector indexes left"] = sum("hnsw" in row[0] for row in rows)

    def search(self) -> Callable[[str], list[str]]:
        # user: begin
        adapter = self.adapter("migrated" if self.migrated else "serve")
        return lambda text: [hit["id"] for hit in adapter.query(self.new([text]), k=10)[0]]
        # user: end


if __name__ == "__main__":
    main(Isotrieve)
