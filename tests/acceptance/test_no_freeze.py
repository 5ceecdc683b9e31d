"""No call of an engine holds Python's lock for long: a service whose process stands still answers
nobody, not even `/health`, and its leases run out.

A thread that wakes up every few milliseconds beats while each endpoint gets the dearest request
that it allows, on 20,000 items, and while each step of an upgrade runs.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import closing
from functools import partial

import numpy as np
import pytest
import tomli_w

from hotfill import MemoryGallery, config
from hotfill.config.project import Project
from hotfill.service.app import create_app
from hotfill.service.gallery_service import opened
from hotfill.service.server import _HANDOVER_SECONDS
from hotfill.service.settings import read_settings
from hotfill.stores.filters import MOST_KEYS, MOST_VALUES
from hotfill.types import ModelId
from tests.unit.service.conftest import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ITEMS, WIDTH = 20_000, 16
OLD, NEW = ModelId("old", "1", 128), ModelId("new", "1", 192)
LIMIT_SECONDS = 0.2
TRIES = 5  # a machine that is busy elsewhere delays a beat now and then; what freezes, always does
NUMBERS = [f"number-{key}" for key in range(MOST_KEYS - 12)]
TEXTS = [f"text-{key}" for key in range(12)]
STORES = ["qdrant-edge", "memory", "index-files", "lancedb", "postgres"]
# The engine looks at every item once when it makes the index of origins.
LONGER_SECONDS = {("qdrant-edge", "start"): 0.5}


class Model:
    """A fixed random projection."""

    def __init__(self, model_id: ModelId) -> None:
        self.model_id = model_id
        shape = (WIDTH, model_id.dimension)
        self._matrix = np.random.default_rng(model_id.dimension).normal(size=shape)

    def __call__(self, contents):
        made = np.asarray([np.asarray(each, np.float32) for each in contents]) @ self._matrix
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


class Rows:
    """Contents of items by their numbers."""

    def __init__(self) -> None:
        self.rows = np.random.default_rng(0).normal(size=(ITEMS, WIDTH)).astype(np.float32)

    def __call__(self, item_ids):
        return {i: self.rows[int(i[5:])] for i in item_ids if i.startswith("item-")}


def old_model() -> Model:
    return Model(OLD)


def new_model() -> Model:
    return Model(NEW)


def source() -> Rows:
    return Rows()


# The service ------------------------------------------------------------------------------------


def made_in(store: str, folder):
    """An empty gallery of a store, and its section in a configuration file."""
    place = folder / "gallery"
    if store == "qdrant-edge":
        from hotfill.stores.qdrant_edge import QdrantEdgeGallery

        return QdrantEdgeGallery.create(place, OLD, exact=True), {"path": "gallery"}
    if store == "index-files":
        from hotfill.stores.index_files import IndexFilesGallery

        return IndexFilesGallery.create(place, OLD, exact=True), {"path": "gallery"}
    if store == "lancedb":
        from hotfill.stores.lancedb import LanceDBGallery

        return LanceDBGallery.create(place, OLD, exact=True), {"path": "gallery"}
    if store == "postgres":
        from hotfill.stores.postgres import PostgresGallery
        from tests.postgres import fresh_schema, server

        dsn, schema = server().dsn, fresh_schema()
        made = PostgresGallery.create(dsn, OLD, schema=schema, exact=True)
        return made, {"dsn": dsn, "table": f"{schema}.items"}
    # No file can name a gallery in memory; whatever it names is replaced.
    return MemoryGallery(OLD), {"path": "gallery"}


def filled(gallery) -> None:
    contents = Rows().rows
    for begin in range(0, ITEMS, 1000):
        numbers = range(begin, begin + 1000)
        gallery.upsert(
            [f"item-{number:05}" for number in numbers],
            old_model()(contents[begin : begin + 1000]),
            space=OLD,
            metadata=[
                dict.fromkeys(NUMBERS, number % 7 + 0.5)
                | dict.fromkeys(TEXTS, f"text-{number % 7}")
                for number in numbers
            ],
        )


@pytest.fixture(scope="module", params=STORES)
def service(request, tmp_path_factory):
    """A store, and a client of a service over 20,000 items, all of them on its old side."""
    folder = tmp_path_factory.mktemp(request.param)
    gallery, section = made_in(request.param, folder)
    filled(gallery)
    kind = "qdrant-edge" if request.param == "memory" else request.param
    here = __name__
    values = {
        "store": {"kind": kind, "exact": True, **section},
        "source": {"factory": f"{here}:source"},
        "old": {"embedder": f"{here}:old_model"},
        "new": {"embedder": f"{here}:new_model"},
        "upgrade": {"fit_items": 2000, "verify_items": 500, "allow_below_old": True},
    }
    if request.param == "postgres":
        values["journal"] = {"kind": "postgres", "name": section["table"].replace(".", "_")}
    path = folder / "upgrade.toml"
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    project = config.read(path)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "memory":
            patch.setattr(Project, "gallery", lambda self: gallery)
        else:
            gallery.close()
        before = sys.getswitchinterval()
        sys.setswitchinterval(_HANDOVER_SECONDS)  # as `serve` has it
        try:
            with (
                opened(project, read_settings(project)) as made,
                Client(create_app(made), base_url="http://127.0.0.1:8765") as client,
            ):
                yield request.param, client
        finally:
            sys.setswitchinterval(before)


# The heartbeat ----------------------------------------------------------------------------------


class Heartbeat:
    """Beats every few milliseconds in a thread of its own. frozen: its longest gap so far."""

    def __init__(self) -> None:
        self.frozen = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat)
        self._thread.start()

    def _beat(self) -> None:
        last, last_used = time.monotonic(), time.process_time()
        while not self._stop.is_set():
            time.sleep(0.002)
            now, used = time.monotonic(), time.process_time()
            # What others on the machine take from this process is no call of ours.
            self.frozen = max(self.frozen, min(now - last, used - last_used))
            last, last_used = now, used

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


def frozen_during(act) -> float:
    with closing(Heartbeat()) as heartbeat:
        act()
    return heartbeat.frozen


def dearest(service) -> dict[str, tuple]:
    """Of each endpoint that has a cost: requests that are as dear as they may be."""
    limits = service.app.state.service.settings
    content = Rows().rows[7].tolist()
    some = [f"item-{number:05}" for number in range(limits.max_items)]
    new = [f"new-{number}" for number in range(limits.max_items)]
    numbers = [number + 0.5 for number in range(MOST_VALUES)]
    texts = [f"text-{number}" for number in range(MOST_VALUES)]
    passed = {"at_least": 0.0, "at_most": 10.0}
    most = {"content": content, "k": limits.max_k, "explain": True}
    wide = {f"k{number}": number for number in range(100)}
    long = {f"text-{number}": "x" * 900 for number in range(2)}
    return {
        "search": ("POST", "/search", most),
        "search, lists": (
            "POST",
            "/search",
            {**most, "where": dict.fromkeys(NUMBERS, numbers) | dict.fromkeys(TEXTS, texts)},
        ),
        "search, one key": ("POST", "/search", {**most, "where": {NUMBERS[0]: numbers}}),
        "search, bounds": ("POST", "/search", {**most, "where": dict.fromkeys(NUMBERS, passed)}),
        "search, nothing found": ("POST", "/search", {**most, "where": {"none": numbers}}),
        "write": (
            "PUT",
            "/items",
            {"items": [{"item_id": i, "content": content, "metadata": long} for i in new[:400]]},
        ),
        "write, wide": (
            "PUT",
            "/items",
            {"items": [{"item_id": i, "content": content, "metadata": wide} for i in new]},
        ),
        "write, one item": (
            "PUT",
            "/items",
            {
                "items": [
                    {
                        "item_id": new[0],
                        "content": content,
                        "metadata": {f"k{n}": n for n in range(50_000)},
                    }
                ]
            },
        ),
        "metadata": (
            "PATCH",
            "/items",
            {"items": [{"item_id": i, "metadata": wide} for i in some]},
        ),
        "delete": ("POST", "/items/delete", {"item_ids": new}),
        "look": ("GET", "/items/item-00007", None),
        "try": ("POST", "/try", {"like": "item-00007"}),
        "pick": ("POST", "/try/items", None),
        "dashboard": ("GET", "/", None),
        "status": ("GET", "/upgrade", None),
        "metrics": ("GET", "/metrics", None),
        "models": ("GET", "/models", None),
        "ready": ("GET", "/ready", None),
        "description": ("GET", "/openapi.json", None),
        "page of calls": ("GET", "/docs", None),
    }


def frozen_by_requests(service) -> dict[str, float]:
    """Ask each endpoint; tells which froze the process in every try, and for how long."""

    def ask(method, path, body):
        answer = service.request(method, path, json=body)
        assert answer.status_code in (200, 422), answer.text  # a limit may have been passed

    found = {}
    for name, request in dearest(service).items():
        for _ in range(TRIES):
            found[name] = frozen_during(partial(ask, *request))
            if not LIMIT_SECONDS < found[name] < 5 * LIMIT_SECONDS:
                break
    return {name: seconds for name, seconds in found.items() if seconds > LIMIT_SECONDS}


def test_nobody_stands_still_while_others_ask_for_the_most_or_an_upgrade_runs(service):
    store, service = service

    def started():
        service.ok("POST", "/upgrade/start", 202)
        while service.upgrade()["moved"] < ITEMS / 4:
            time.sleep(0.05)
        service.ok("POST", "/upgrade/pause")

    def finished():
        service.ok("POST", "/upgrade/resume")
        service.wait()

    steps = {
        "start": started,
        "resume": finished,
        "verify": lambda: service.do("verify"),
        "cutover": lambda: service.ok("POST", "/upgrade/cutover"),
        "rollback": lambda: service.do("rollback"),
    }
    frozen: dict[str, object] = {"before": frozen_by_requests(service)}
    for name, step in steps.items():
        seconds = frozen_during(step)
        limit = LONGER_SECONDS.get((store, name), LIMIT_SECONDS)
        frozen[name] = seconds if seconds > limit else {}
        if name in ("start", "cutover"):
            frozen[f"after {name}"] = frozen_by_requests(service)
    assert not {name: found for name, found in frozen.items() if found}
