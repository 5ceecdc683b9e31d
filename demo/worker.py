"""One life of the service: searches and writes are served while the gallery is upgraded.

`python -m demo.worker FOLDER SEED`. It may be killed at any moment; the same command goes on.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import hotfill
from demo.embeddings import read_embeddings
from demo.oracle import Oracle
from demo.traffic import Traffic
from hotfill.ranking import Fit
from hotfill.upgrade.phases import Phase

if TYPE_CHECKING:
    from demo.application import Application
    from hotfill.upgrade.upgrade import Upgrade


@cache
def fit_of(folder: Path) -> Fit:
    """Load a fit, once: it checks every search while imputed or old vectors are left."""
    return Fit.load(folder)


def fits_of(up: Upgrade) -> list[Fit]:
    """Read the fits whose imputed vectors may be in the index, the one in force last."""
    last = up.journal.last("fit")
    assert last is not None
    names = (last.body.get("replaces"), last.body["folder"])
    return [fit_of(up.folder / name) for name in names if name]


def main(folder: Path, seed: int) -> None:
    """Serve and upgrade until the old model is gone."""
    with hotfill.open(folder / "upgrade.toml") as up:
        application = cast("Application", up.contents)
        oracle = Oracle(
            read_embeddings(folder), lambda: fits_of(up), lambda: up.view.index is not None
        )
        traffic = Traffic(up, application, oracle, folder / f"tally-{seed}.json", seed)
        traffic.catch_up()
        traffic.start()
        try:
            up.start()
            if up.phase is Phase.BACKFILLED:
                report = up.verify()
                print(f"verified: {report.passed}", report.to_dict(), file=sys.stderr)
            up.cutover()
            up.complete()
        finally:
            traffic.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
