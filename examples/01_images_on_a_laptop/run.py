"""A folder of pictures becomes a gallery, and gets a better model while it is searched.

python examples/01_images_on_a_laptop/run.py [FOLDER]
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]  # for `demo`, and for the models next to this file

import hotfill  # noqa: E402
from demo.omniglot import drawings  # noqa: E402
from hotfill import config  # noqa: E402
from hotfill.integrations.fill import fill_gallery  # noqa: E402
from hotfill.integrations.image_folder import ImageFolder  # noqa: E402
from hotfill.stores.qdrant_edge import QdrantEdgeGallery  # noqa: E402

CHARACTERS = 100


def write_pictures(folder: Path) -> list[tuple[str, bytes]]:
    """Write real drawings as PNG files; return some of other people to search with."""
    shown = drawings.load("evaluation").first(CHARACTERS)
    queries = []
    for row, item_id in enumerate(shown.item_ids):
        path = folder / f"{item_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shown.images[row].astype(np.uint8) * 255).save(path)
        if shown.drawers[row] > 18:
            character = item_id.rpartition("/")[0]
            queries.append((character, path.read_bytes()))
            path.unlink()  # searched with, never stored
    return queries


def hit_rate(up, queries: list[tuple[str, bytes]]) -> float:
    """Share of queries whose first hit shows the same character."""
    results = up.search([picture for _, picture in queries], 1)
    right = [
        result.item_ids[0].rpartition("/")[0] == character
        for (character, _), result in zip(queries, results, strict=True)
    ]
    return float(np.mean(right))


def start_and_stop(up, at_share: float) -> None:
    """Run the upgrade in the background, and stop it half-way to look."""
    up.start(background=True)
    while up.status().share < at_share:
        time.sleep(0.02)
    up.stop()
    up.wait()


def main(folder: Path) -> dict[str, float]:
    """Fill, upgrade, cut over; search all the time. Returns the hit rate on the way."""
    shutil.copy(HERE / "upgrade.toml", folder)
    queries = write_pictures(folder / "pictures")
    project = config.read(folder / "upgrade.toml")

    old = project.embedder("old")
    with QdrantEdgeGallery.create(folder / "gallery", old.model_id) as gallery:
        items = fill_gallery(gallery, ImageFolder(folder / "pictures"), old)
    print(f"{items} pictures in the gallery, {len(queries)} to search with")

    with hotfill.open(folder / "upgrade.toml") as up:
        seen = {"old model": hit_rate(up, queries)}
        start_and_stop(up, at_share=0.4)
        seen[f"{up.status().share:.0%} done"] = hit_rate(up, queries)
        up.start()  # goes on where it stopped, as it would after a crash
        print(f"verified: {up.verify().passed}")
        up.cutover()
        seen["new model"] = hit_rate(up, queries)
        up.complete()
    for moment, rate in seen.items():
        print(f"{moment:>12}  hit_rate@1 {rate:.3f}")
    return seen


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True)
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
