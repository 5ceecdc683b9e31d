"""A gallery of float vectors becomes one of codes, sixteen times smaller, while it is searched.

python examples/05_float_to_binary/run.py [FOLDER]
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]  # for `demo`, and for the model next to this file

import hotfill  # noqa: E402
from demo.omniglot import drawings  # noqa: E402
from hotfill import config  # noqa: E402
from hotfill.binary import CodeFormat, save_encoder  # noqa: E402
from hotfill.lab.binary import fit_encoder  # noqa: E402
from hotfill.stores.qdrant_edge import QdrantEdgeGallery  # noqa: E402

CHARACTERS = 100


def hit_rate(up, asked) -> float:
    """Share of queries whose first hit shows the same character."""
    results = up.search(list(asked.images), 1)
    right = [
        result.item_ids[0].rpartition("/")[0] == item_id.rpartition("/")[0]
        for item_id, result in zip(asked.item_ids, results, strict=True)
    ]
    return float(np.mean(right))


def stored_vectors(gallery, model) -> np.ndarray:
    """Read all vectors of a gallery, page by page; of a large one, some thousands are enough."""
    found, cursor = [], None
    while True:
        page = gallery.scan(model, after=cursor)
        found.append(gallery.vectors(page.item_ids, model).vectors)
        if (cursor := page.cursor) is None:
            return np.concatenate(found)


def start_and_stop(up, at_share: float) -> None:
    """Run the upgrade in the background, and stop it half-way to look."""
    up.start(background=True)
    while up.status().share < at_share:
        time.sleep(0.02)
    up.stop()
    up.wait()


def main(folder: Path) -> dict[str, float]:
    """Fill, fit, upgrade, cut over; search all the time. Returns the hit rate on the way."""
    shutil.copy(HERE / "upgrade.toml", folder)
    shown = drawings.load("evaluation").first(CHARACTERS)
    kept, asked = shown.where(shown.drawers <= 18), shown.where(shown.drawers > 18)
    project = config.read(folder / "upgrade.toml")

    model = project.embedder("old")
    with QdrantEdgeGallery.create(folder / "gallery", model.model_id, exact=True) as gallery:
        gallery.upsert(kept.item_ids, model(list(kept.images)), space=model.model_id)
        vectors = stored_vectors(gallery, model.model_id)
    print(f"{len(kept)} drawings in the gallery, {len(asked)} to search with")

    # 64 numbers of 4 bits: 32 bytes instead of the 512 of 128 floats.
    fit = fit_encoder(vectors, model.model_id, (CodeFormat(64, 4), CodeFormat(128, 2)))
    save_encoder(fit.encoder, folder / "encoder.safetensors")
    for tried in fit.tried:
        form = tried.code_format
        print(f"{form.dimension} x {form.bits} bits, {tried.how}: finds {tried.ann_recall:.3f}")

    with hotfill.open(folder / "upgrade.toml") as up:
        seen = {"floats": hit_rate(up, asked)}
        start_and_stop(up, at_share=0.4)
        seen[f"{up.status().share:.0%} done"] = hit_rate(up, asked)
        up.start()  # goes on where it stopped, as it would after a crash
        print(f"verified: {up.verify().passed}")
        up.cutover()
        seen["codes"] = hit_rate(up, asked)
        up.complete()
    for moment, rate in seen.items():
        print(f"{moment:>12}  hit_rate@1 {rate:.3f}")
    size = sum(path.stat().st_blocks * 512 for path in (folder / "codes").glob("*.codes"))
    print(f"{size:,} bytes of codes instead of {vectors.nbytes:,} of floats")
    return seen


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True)
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
