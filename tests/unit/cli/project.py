"""A small project in a folder: a filled store on disk and its configuration file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import tomli_w

from hotfill.stores import Gallery
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from tests.unit.cli.models import OLD, contents, old_model

ROOT = Path(__file__).parents[3]
ITEMS = 120


def write_config(folder: Path, items: int = ITEMS, seconds_per_call: float = 0.0, **changes):
    """Write upgrade.toml; changes: by section, merged into it; a key of None is taken out."""
    values = {
        "store": {"path": "gallery", "exact": True},
        "source": {"factory": "tests.unit.cli.models:contents", "options": {"items": items}},
        "old": {"embedder": "tests.unit.cli.models:old_model"},
        "new": {
            "embedder": "tests.unit.cli.models:new_model",
            "options": {"seconds_per_call": seconds_per_call},
        },
        "upgrade": {
            "batch_size": 16,
            "fit_items": 110,
            "verify_items": 20,
            "allow_below_old": True,  # the models are small, and some are random
        },
    }
    for section, keys in changes.items():
        if isinstance(keys, dict):
            keys = {**values.get(section, {}), **keys}
            keys = {key: value for key, value in keys.items() if value is not None}
        values[section] = keys
    path = folder / "upgrade.toml"
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    return path


def _in_edge(path: Path) -> Gallery:
    return QdrantEdgeGallery.create(path, OLD, exact=True)


def fill(folder: Path, items: int = ITEMS, create: Callable[[Path], Gallery] = _in_edge) -> None:
    """Make the gallery, all of it on the old side."""
    source = contents(items)
    ids = list(source)
    with create(folder / "gallery") as gallery:
        for begin in range(0, items, 500):
            part = ids[begin : begin + 500]
            gallery.upsert(
                part,
                old_model()([source[item_id] for item_id in part]),
                space=OLD,
                metadata=[{"number": int(i[5:]), "even": int(i[5:]) % 2 == 0} for i in part],
            )


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "hotfill.cli", *map(str, words)]


def environment() -> dict[str, str]:
    """For child processes: they find the tests' models, and numpy keeps to one core."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def call(*words: object, **options) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        command(*words), capture_output=True, text=True, env=environment(), **options
    )
