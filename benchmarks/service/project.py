"""A gallery on disk, its upgrade.toml, and a service over it in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import tomli_w

from benchmarks.service.models import old, rows_of
from hotfill.stores.qdrant_edge import QdrantEdgeGallery

ROOT = Path(__file__).parents[2]


def make(
    folder: Path,
    items: int,
    dimension: int,
    *,
    exact: bool,
    more: int = 0,
    seconds_per_item: float = 0.0,
    **upgrade,
) -> Path:
    """Fill a gallery on the old side; returns the path of its upgrade.toml.

    more: items that the source knows, to be written later.
    """
    rows, embed = rows_of(items + more)[:items], old(dimension)
    with QdrantEdgeGallery.create(folder / "gallery", embed.model_id, exact=exact) as gallery:
        for begin in range(0, items, 1000):
            part = rows[begin : begin + 1000]
            names = [f"item-{i}" for i in range(begin, begin + len(part))]
            gallery.upsert(names, embed(part), space=embed.model_id)
        if not exact:
            gallery.optimise()
    models = "benchmarks.service.models"
    options = {"dimension": dimension}
    values = {
        "store": {"path": "gallery", "exact": exact},
        "source": {"factory": f"{models}:contents", "options": {"items": items + more}},
        "old": {"embedder": f"{models}:old", "options": options},
        "new": {
            "embedder": f"{models}:new",
            "options": {**options, "seconds_per_item": seconds_per_item},
        },
        # Two sides: the oracle judges each hit by the side that it came from.
        "upgrade": {"strategy": "merge", "allow_below_old": True, **upgrade},
    }
    path = folder / "upgrade.toml"
    path.write_text(tomli_w.dumps(values))
    return path


@contextmanager
def served(path: Path):
    """Run `hotfill serve` for the block; gives the port."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "hotfill.cli", "serve", str(path), "--port", "0"]
    log = path.parent / "service.log"
    with (
        log.open("w") as file,
        subprocess.Popen(command, stderr=file, stdout=file, env=environment) as process,
    ):
        try:
            yield _port(log, process)
            ended = process.poll()
            if ended is not None:
                raise RuntimeError(f"the service ended by itself with {ended}:\n{log.read_text()}")
            process.terminate()
            process.wait(60)
        except BaseException:
            if process.poll() is not None:  # nobody could be answered then: say why
                print(f"the service ended with {process.poll()}:\n{log.read_text()[-4000:]}")
            raise
        finally:
            process.kill()


def _port(log: Path, process: subprocess.Popen) -> int:
    while "listening on" not in (text := log.read_text()):
        if process.poll() is not None:
            raise RuntimeError(text)
    return int(text.split("listening on ")[1].split()[0].rpartition(":")[2])
