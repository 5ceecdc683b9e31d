"""Takes the picture of the dashboard anew: `python -m docs.pictures.dashboard`, a minute.

The gallery, the models and the figures are those of `make demo`: real drawings, two real encoders,
searches over HTTP while the upgrade runs. Needs Chromium, and the extras `dev-web` and `service`.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.service.project import served
from demo.__main__ import DATABASE, configure, fill
from demo.application import Application
from demo.embeddings import write_embeddings
from demo.models import new, old
from hotfill.rehearsal import RehearsalSettings, rehearse

HERE = Path(__file__).parent
AT = 0.42  # share re-embedded when the picture is taken
MORE = """
[service]
rehearsal = "rehearsal.json"

[guard]
canary_items = 64
"""


def main() -> None:
    """Run an upgrade in a folder of its own, and take the picture in the middle of it."""
    with tempfile.TemporaryDirectory() as folder:
        path, drawings = prepare(Path(folder))
        with (
            served(path) as port,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ):
            over = threading.Event()
            searching = threading.Thread(target=search, args=(port, drawings, over))
            searching.start()
            try:
                time.sleep(5)  # some searches before anything begins
                client.post("/upgrade/start").raise_for_status()
                while client.get("/upgrade").json()["share"] < AT:
                    time.sleep(0.1)
                take(f"http://127.0.0.1:{port}", HERE / "dashboard.png")
            finally:
                over.set()
                searching.join()


def prepare(folder: Path) -> tuple[Path, list[list[list[bool]]]]:
    """Make the demo's gallery and a rehearsal; returns its configuration and what to search for."""
    application = Application(folder / DATABASE)
    vectors = write_embeddings(folder, application)
    before, after = vectors[old().model_id], vectors[new().model_id]
    fill(folder, application, before)
    configure(folder)
    rows = [*application.shown().values()]
    labels = application.drawings.labels[rows]
    found = rehearse(
        before[rows],
        after[rows],
        relevant=labels,
        settings=RehearsalSettings(strategies=("prefill",), transforms=("kernel_bridge",)),
    )
    (folder / "rehearsal.json").write_text(found.to_json(), encoding="utf-8")
    path = folder / "upgrade.toml"
    with path.open("a", encoding="utf-8") as file:
        file.write(MORE)
    return path, application.drawings.images[rows[::100]].tolist()


def search(port: int, drawings: list[list[list[bool]]], over: threading.Event) -> None:
    """Search until it is over, twenty times a second."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        number = 0
        while not over.wait(0.05):
            client.post("/search", json={"content": drawings[number % len(drawings)]})
            number += 1


def take(address: str, target: Path) -> None:
    """Take a picture of the whole page, in its light colours, 1280 wide."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.goto(address)
        page.wait_for_selector("#live[data-state=live]")
        page.wait_for_timeout(1500)  # the next look of the service
        page.screenshot(path=target, full_page=True)
        browser.close()
    # A page has few colours: a third of the bytes.
    Image.open(target).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(target)


if __name__ == "__main__":
    main()
