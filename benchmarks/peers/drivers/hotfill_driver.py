"""hotfill, as docs/howto/postgresql.md says: the default, `prefill`, on PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import hotfill
from benchmarks.peers.drivers.step import Driver, main
from benchmarks.peers.lookup import Model

# user: begin
TOML = """
[store]
kind = "postgres"
dsn = "{dsn}"
table = "items"

[source]
kind = "store"
field = "content"

[old]
embedder = "hotfill_driver:Embedder"
options = {{ side = "old" }}

[new]
embedder = "hotfill_driver:Embedder"
options = {{ side = "new" }}
"""


class Embedder:
    def __init__(self, side: str) -> None:
        self.model = Model(os.environ["PEERS_WORLD"], side)
        self.model_id = hotfill.ModelId(side, "1", self.model.dimension)

    def __call__(self, contents: list[str]):
        return self.model(contents)


COMMANDS = [["start", "--yes"], ["verify"], ["cutover"], ["complete", "--yes"]]
# user: end


class Hotfill(Driver):
    pace = ""

    @property
    def toml(self) -> Path:
        path = self.folder / "upgrade.toml"
        if not path.exists():
            path.write_text(TOML.format(dsn=self.dsn) + self.pace, encoding="utf-8")
            self.command("adopt")
        return path

    def command(self, name: str, *words: str) -> None:
        done = self.step(
            name,
            subprocess.run,
            [sys.executable, "-m", "hotfill.cli", name, str(self.folder / "upgrade.toml"), *words],
        )
        if done.returncode == -9:
            os.kill(os.getpid(), 9)  # as a service is killed, its shell with it
        if done.returncode:
            raise SystemExit(f"hotfill {name} ended with {done.returncode}")

    def until(self, share: float) -> None:
        # It stops after the batches in hand: small ones, so that the share is near the asked one.
        self.pace = "[upgrade]\nbatch_size = 16\n"

        import hotfill_driver as loaded  # as the file of settings names it

        embed = loaded.Embedder.__call__
        with hotfill.open(self.toml) as up:

            def stopping(embedder, contents):
                now = up.status()
                if now.imputed >= now.to_impute > 0 and now.share >= share:
                    up.stop()
                return embed(embedder, contents)

            loaded.Embedder.__call__ = stopping
            up.start()
            loaded.Embedder.__call__ = embed
            now = up.status()
            self.facts["re-embedded"] = round(now.share, 4)
            self.facts |= {"rho": now.rho, "ranking": now.ranking}

    def whole(self) -> None:
        path = self.toml
        with hotfill.open(path) as up:
            done = {"cut_over": 3, "completed": 4}.get(up.phase.value, 0)
        for name, *words in COMMANDS[done:]:
            self.command(name, *words)

    def search(self) -> Callable[[str], list[str]]:
        # user: begin
        up = hotfill.open(self.toml)
        return lambda text: up.search(text, 10).item_ids
        # user: end


if __name__ == "__main__":
    main(Hotfill)
