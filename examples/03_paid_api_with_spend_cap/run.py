"""Upgrade to a paid embedding API with a cap on what it may cost, and never pay twice.

pip install 'hotfill[edge,http]'
python examples/03_paid_api_with_spend_cap/run.py [FOLDER]
"""

import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # for the model and the server next to this file

from paid_server import Ledger, paid_server  # noqa: E402

import hotfill  # noqa: E402
from hotfill import config  # noqa: E402
from hotfill.errors import HotfillError  # noqa: E402
from hotfill.integrations.content_file import keep_contents  # noqa: E402
from hotfill.integrations.fill import fill_gallery  # noqa: E402
from hotfill.integrations.items import in_batches  # noqa: E402
from hotfill.stores.qdrant_edge import QdrantEdgeGallery  # noqa: E402
from hotfill.upgrade.phases import Phase  # noqa: E402

PRICE = 0.02 / 1000  # of a token, as in upgrade.toml
THINGS = ("lamp", "chair", "table", "kettle", "phone", "bicycle", "jacket", "tent", "camera")
KINDS = ("red", "blue", "green", "small", "large", "folding", "wooden", "steel", "old", "quiet")
USES = ("travel", "home", "work", "garden", "winter", "summer", "children", "guests", "sport")


@dataclass(frozen=True)
class Offers:
    """Six hundred made-up offers of a shop."""

    def batches(self, size: int = 256, /):
        """Yield the items."""
        chance = random.Random(0)
        texts = set()
        while len(texts) < 600:
            kinds, uses = chance.sample(KINDS, 3), chance.sample(USES, 2)
            texts.add(f"{' '.join(kinds)} {chance.choice(THINGS)} for {' and '.join(uses)}")
        items = ((f"offer-{row:03}", text, {}) for row, text in enumerate(sorted(texts)))
        yield from in_batches(items, size)


def start(folder: Path, url: str, cap: float) -> tuple[Phase, float, str]:
    """Write the configuration with a cap, and start or go on. Returns phase, share and message."""
    text = (HERE / "upgrade.toml").read_text()
    path = folder / "upgrade.toml"
    path.write_text(text.replace("URL", url).replace("CAP", str(cap)))
    message = ""
    with hotfill.open(path) as up:
        try:
            up.start()
        except HotfillError as error:
            message = str(error)
        status = up.status()
    return status.phase, status.share, message


def main(folder: Path) -> Ledger:
    """Run into the cap, raise it, go on to the end. Returns the provider's ledger."""
    keep_contents(Offers(), folder / "contents.sqlite").close()
    with paid_server() as (url, ledger):
        text = (HERE / "upgrade.toml").read_text()
        (folder / "upgrade.toml").write_text(text.replace("URL", url).replace("CAP", "0.08"))
        old = config.read(folder / "upgrade.toml").embedder("old")
        with QdrantEdgeGallery.create(folder / "gallery", old.model_id) as gallery:
            items = fill_gallery(gallery, Offers(), old)
        print(f"{items} items; a cap that is too low:")

        phase, share, message = start(folder, url, cap=0.06)
        print(f"  {phase}, {share:.0%} done, billed {ledger.tokens * PRICE:.4f}\n  {message}")

        print("the same command with a higher cap:")
        phase, share, message = start(folder, url, cap=1.0)
        print(f"  {phase}, {share:.0%} done, billed {ledger.tokens * PRICE:.4f} {message}")

        with hotfill.open(folder / "upgrade.toml") as up:
            print(f"verified: {up.verify().passed}")
            up.cutover()
        print(
            f"{len(ledger.texts)} texts bought, {ledger.texts.total()} vectors paid, "
            f"{ledger.turned_away} requests turned away and sent again"
        )
    return ledger


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True)
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
