"""The demo: a live gallery of real drawings gets a better model, and is killed once on the way.

Run it with `make demo`. It leaves its report in `demo-report/`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

import hotfill
from demo.application import Application
from demo.constants import HALFWAY, REPORT
from demo.curves import measure_curves
from demo.embeddings import write_embeddings
from demo.final_check import check_gallery
from demo.models import old
from demo.report import write_report
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from hotfill.upgrade.phases import Phase

if TYPE_CHECKING:
    from hotfill.types import Vectors

DATABASE = "application.sqlite"
KILL_AT = 0.45  # share of the backfill done when the process is killed

CONFIGURATION = """\
# An ordinary hotfill configuration: try `hotfill status demo-report/gallery/upgrade.toml`.

[store]
kind = "qdrant-edge"
path = "store"
exact = true                # ten thousand items are searched exactly, so every hit can be checked

[source]
factory = "demo.models:application"
options = { path = "APPLICATION" }

[old]
embedder = "demo.models:old"

[new]
embedder = "demo.models:new"

[upgrade]
strategy = "prefill"
order = "random"
batch_size = 64
duty_cycle = 0.5            # leave half of the time to the searches
"""

console = Console(stderr=True, highlight=False)


def main() -> int:
    """Run the demo. Returns 0 when nothing was lost, doubled or wrong."""
    began = time.monotonic()
    folder = REPORT / "gallery"
    shutil.rmtree(REPORT, ignore_errors=True)
    folder.mkdir(parents=True)

    console.print("[bold]1[/] embed the drawings by both models, fill the old gallery on disk")
    application = Application(folder / DATABASE)
    vectors = write_embeddings(folder, application)
    fill(folder, application, vectors[old().model_id])
    configure(folder)

    console.print("[bold]2[/] upgrade it while it is searched and written to")
    run_and_kill(folder)
    shutil.copytree(folder, HALFWAY)
    configure(HALFWAY)
    console.print("[bold]3[/] killed with SIGKILL; the same command goes on")
    finish(folder)

    console.print("[bold]4[/] check every item, measure the curves")
    outcome = check_gallery(folder, application, vectors)
    curves = measure_curves(folder, application, vectors)
    outcome["kills"] = 1
    outcome["seconds"] = round(time.monotonic() - began, 1)
    good = write_report(REPORT, folder, outcome, curves)
    console.print(f"report: {REPORT / 'index.html'}")
    console.print(
        "try a query on the gallery as the kill left it: [bold]make demo-page[/] "
        "(python -m demo.page), and pick a drawing"
    )
    return 0 if good else 1


def configure(folder: Path) -> None:
    """Write upgrade.toml for a gallery and the application's database beside it."""
    text = CONFIGURATION.replace("APPLICATION", str(folder / DATABASE))
    (folder / "upgrade.toml").write_text(text)


def fill(folder: Path, application: Application, old_vectors: Vectors) -> None:
    """Write the first items as the old model sees them."""
    model = old().model_id
    ids = application.fill()
    rows = application.shown()
    with QdrantEdgeGallery.create(folder / "store", model) as gallery:
        for begin in range(0, len(ids), 1000):
            some = ids[begin : begin + 1000]
            gallery.upsert(some, old_vectors[[rows[i] for i in some]], space=model)


def start_worker(folder: Path, seed: int) -> subprocess.Popen[bytes]:
    """Start one life of the service."""
    log = (folder / f"worker-{seed}.log").open("wb")
    # Searches, writes and the upgrade are threads already; more would only get in their way.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "demo.worker", str(folder), str(seed)], stderr=log, env=environment
    )


def run_and_kill(folder: Path) -> None:
    """Run the service until a good part is done, then kill it."""
    worker = start_worker(folder, seed=1)
    with hotfill.open(folder / "upgrade.toml") as up, console.status("") as line:
        while worker.poll() is None:
            status = up.status()
            line.update(f"{status.phase}  {status.moved}/{status.items}  ({status.share:.0%})")
            if status.phase is Phase.BACKFILLING and status.share >= KILL_AT:
                worker.send_signal(signal.SIGKILL)
                worker.wait()
                return
            time.sleep(0.05)
    raise SystemExit(f"the service ended by itself; see {folder / 'worker-1.log'}")


def finish(folder: Path) -> None:
    """Run the service again, to the end."""
    worker = start_worker(folder, seed=2)
    if worker.wait(timeout=600) != 0:
        raise SystemExit(f"the service failed; see {folder / 'worker-2.log'}")


if __name__ == "__main__":
    raise SystemExit(main())
