"""An embedded store and the SQLite journal: one process at a time."""

from __future__ import annotations

import shutil
import time

from hotfill.stores.folder import MIN_FREE_BYTES
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from tests.acceptance.campaign.child import PATIENCE_SECONDS
from tests.acceptance.campaign.outages import Outages
from tests.acceptance.campaign.torn import tear
from tests.acceptance.campaign.world import ITEMS, SERVICE, UPGRADE, World
from tests.unit.cli.models import OLD
from tests.unit.cli.project import fill, write_config

_CALL_SECONDS = 0.05


class EmbeddedWorld(World):
    """disk: a small one of its own that may be filled up; None where none can be mounted."""

    store = "qdrant-edge"

    def __init__(self, folder, random, disk=None) -> None:
        super().__init__(folder, random)
        self._disk = disk
        self.server_away = Outages()
        place = folder if disk is None else disk.folder / folder.name
        place.mkdir(exist_ok=True)
        self._place = place
        fill(place, ITEMS, create=self.create)
        self.path = write_config(
            place,
            ITEMS,
            seconds_per_call=_CALL_SECONDS,
            store=self.section,
            journal={"kind": "sqlite"},
            upgrade=UPGRADE,
            service=SERVICE,
        )
        self.search_all_the_time(self.ask_service, self.service_away, self.server_away)

    @property
    def section(self):
        """What [store] says otherwise than usual."""
        return {}

    def create(self, path):
        """Make the gallery, empty."""
        return QdrantEdgeGallery.create(path, OLD, exact=True)

    @property
    def kinds(self):
        kinds = {
            "start killed": ("start", self.kill_leader),
            "service killed": ("serve", self.kill_leader),
            "journal torn": ("start", self._tear_journal),
        }
        if self._disk is not None:
            kinds["disk full"] = ("serve", self._fill_disk)
        return kinds

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        if self._disk is not None:
            shutil.rmtree(self._place)  # the next one needs the room

    def _tear_journal(self) -> None:
        self.kill_leader()
        tear(self.project.folder / "journal.sqlite-wal", self.random)

    def _fill_disk(self) -> None:
        leave = int(self.random.integers(0, MIN_FREE_BYTES))
        with self._disk.filled(leave):
            deadline = time.monotonic() + PATIENCE_SECONDS
            while self.leader.status()["run"]["running"]:
                assert time.monotonic() < deadline, "a full disk was not noticed"
                time.sleep(0.02)

    def examine(self):
        """Look at every item; whoever has the store has to let go of it first."""
        if self.leader is not None and self.leader.code is None:
            self.let_go()
        return super().examine()


class ChromaWorld(EmbeddedWorld):
    """Chroma's engine in the process."""

    store = "chroma"

    @property
    def section(self):
        return {"kind": "chroma", "path": None, "location": "gallery"}

    def create(self, path):
        from hotfill.stores.chroma import ChromaGallery  # an extra

        return ChromaGallery.create(str(path), OLD, exact=True)


class ChromaServerWorld(EmbeddedWorld):
    """Chroma's own server, and a journal in a file: every process is on this machine."""

    store = "chroma-server"

    def __init__(self, folder, random) -> None:
        from tests.chroma import Server  # an extra

        self._server = Server(folder / "server")
        super().__init__(folder, random)

    @property
    def section(self):
        return {"kind": "chroma", "path": None, "location": self._server.address}

    def create(self, path):
        from hotfill.stores.chroma import ChromaGallery  # an extra

        return ChromaGallery.create(self._server.address, OLD, exact=True)

    @property
    def kinds(self):
        return {**super().kinds, "Chroma killed": ("serve", self._kill_server)}

    def _kill_server(self) -> None:
        with self.server_away.one():
            self._server.kill()
            time.sleep(self.random.uniform(0, 1.5))
            self._server.start()

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        self._server.kill()
