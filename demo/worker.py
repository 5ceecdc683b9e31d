"""One life of the service: it serves searches and writes, and upgrades its gallery meanwhile.

`python -m demo.worker FOLDER SEED`. It may be killed at any moment; the same command goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from demo.embeddings import read_embeddings
from demo.oracle import Oracle
from demo.traffic import Traffic
from hotfill import config
from hotfill.ranking import Fit
from hotfill.upgrade.fits import fit_folder
from hotfill.upgrade.phases import Phase

if TYPE_CHECKING:
    from demo.application import Application


def main(folder: Path, seed: int) -> None:
    """Serve and upgrade until the old model is gone."""
    project = config.read(folder / "upgrade.toml")
    with project.gallery() as gallery:
        journal = project.journal()
        serving = project.serving(gallery, journal)
        upgrade = project.upgrade(gallery, journal)
        upgrade.on_phase, upgrade.on_fit = serving.follow, serving.refit
        application = cast("Application", upgrade.source)
        oracle = Oracle(
            read_embeddings(folder), lambda: Fit.load(fit_folder(project.folder, journal)).scorer
        )
        traffic = Traffic(serving, application, oracle, folder / f"tally-{seed}.json", seed)
        traffic.catch_up()
        traffic.start()
        try:
            upgrade.start()
            if upgrade.journal.phase is Phase.BACKFILLED:
                report = upgrade.verify()
                print(f"verified: {report.passed}", report.to_dict(), file=sys.stderr)
            upgrade.cutover()
            upgrade.complete()
        finally:
            traffic.stop()
            journal.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
