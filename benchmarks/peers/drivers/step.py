"""One step of a tool in a process of its own: the frame around every driver.

    python DRIVER {until SHARE | whole | search | held} --world W --folder F --dsn D --out FILE

Runs in the tool's environment: numpy, psycopg where the tool has it, and the tool.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

import numpy as np  # noqa: E402

from benchmarks.peers.lookup import Model, World  # noqa: E402

K = 10


class Driver:
    """What each tool's driver fills in. folder: its own files, kept from step to step."""

    def __init__(self, world: Path, folder: Path, dsn: str) -> None:
        self.world, self.folder, self.dsn = World(world), folder, dsn
        self.old, self.new = Model(world, "old"), Model(world, "new")
        self.seconds: dict[str, float] = {}
        self.facts: dict[str, Any] = {}

    def until(self, share: float) -> None:
        """Upgrade until that share is re-embedded, and stop."""
        raise NotImplementedError

    def whole(self) -> None:
        """The upgrade from wherever it is to its end."""
        raise NotImplementedError

    def search(self) -> Callable[[str], Iterable[Any]]:
        """What answers a query with the ids of ten items, best first, as things are now."""
        raise NotImplementedError

    plain_every = 1
    """Of how many queries the engine itself answers one; more where that takes long."""

    def between(self) -> None:
        """What must be done between two searches, not measured."""

    def plain(self) -> Callable[[str], Any]:
        """A search of one index of the new vectors by the engine itself."""
        import psycopg

        connection = psycopg.connect(self.dsn, autocommit=True)
        text = "SELECT id FROM plain ORDER BY embedding <=> %s::vector LIMIT 10"

        def search(query: str) -> list[Any]:
            vector = str(self.new([query])[0].tolist())
            return [row[0] for row in connection.execute(text, (vector,))]

        return search

    def held(self) -> list[tuple[int, np.ndarray]]:
        """Every item that searches find at the end, with the vector by which they do."""
        import psycopg

        with psycopg.connect(self.dsn) as connection:
            rows = connection.execute(
                "SELECT id, embedding::text FROM items WHERE embedding IS NOT NULL"
            )
            return [(item, np.array(json.loads(vector), np.float32)) for item, vector in rows]

    def step(self, name: str, act: Callable[..., Any], *words: Any) -> Any:
        """Do something and note how long it took."""
        began = time.perf_counter()
        try:
            return act(*words)
        finally:
            took = time.perf_counter() - began
            self.seconds[name] = round(self.seconds.get(name, 0.0) + took, 2)


def killing(function: Callable[[Any], Any]) -> Callable[..., Any]:
    """The same function, that kills this process when it was given `$PEERS_DIE_AT` things."""
    at, given = float(os.environ.get("PEERS_DIE_AT", "inf")), 0

    def counted(things: Any) -> Any:
        nonlocal given
        given += len(things)
        if given >= at:
            os.kill(os.getpid(), 9)
        return function(things)

    return counted


def searched(driver: Driver, queries: int) -> dict[str, Any]:
    """Answer the queries, each by the tool and by the engine itself, one after the other."""
    search, plain = driver.search(), driver.plain()
    texts = driver.world.queries[:queries]
    for text in texts[:20]:  # what is loaded or prepared at the first calls
        search(text), plain(text)
    found, took, alone, failures = [], [], [], []
    for turn, text in enumerate(texts):
        driver.between()
        if turn % driver.plain_every == 0:
            began = time.perf_counter()
            plain(text)
            alone.append(time.perf_counter() - began)
        began = time.perf_counter()
        try:
            found.append([int(item) for item in search(text)])
        except Exception as error:  # counted, whatever it was
            found.append([])
            failures.append(f"{type(error).__name__}: {error}")
        took.append(time.perf_counter() - began)
    return {"found": found, "seconds": took, "plain_seconds": alone, "failures": failures}


def compared(driver: Driver) -> dict[str, int]:
    """What is lost, there twice, or not of the new model, among what searches find."""
    held = driver.held()
    vectors = driver.world.vectors("new")
    items = [item for item, _ in held]
    other = sum(
        vector.shape != vectors[item].shape
        or float(vector @ vectors[item]) < 0.999 * float(np.linalg.norm(vector))
        for item, vector in held
    )
    return {
        "lost": len(driver.world.gallery) - len(set(items)),
        "duplicated": len(items) - len(set(items)),
        "not_of_the_new_model": int(other),
    }


def main(kind: type[Driver]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("step", choices=["until", "whole", "search", "held"])
    parser.add_argument("share", type=float, nargs="?")
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--dsn", default="")
    parser.add_argument("--queries", type=int, default=10**9)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    driver = kind(asked.world, asked.folder, asked.dsn)
    answer: dict[str, Any] = {}
    if asked.step == "until":
        driver.until(asked.share)
    elif asked.step == "whole":
        driver.whole()
    elif asked.step == "search":
        answer = searched(driver, asked.queries)
    else:
        answer = compared(driver)
    answer |= {"steps": driver.seconds, "facts": driver.facts}
    asked.out.write_text(json.dumps(answer), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # threads of a tool's are not waited for
