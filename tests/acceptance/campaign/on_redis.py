"""Redis holds the gallery, a file the journal: one leader, and an application that searches."""

from __future__ import annotations

import time
import tomllib
from contextlib import suppress

import redis
import tomli_w

from hotfill.stores.redis import RedisGallery
from hotfill.upgrade.upgrade import Upgrade
from tests.acceptance.campaign.child import PATIENCE_SECONDS
from tests.acceptance.campaign.outages import Outages
from tests.acceptance.campaign.world import ITEMS, QUERY, SERVICE, UPGRADE, World
from tests.unit.cli.models import OLD, contents, old_model
from tests.unit.cli.project import write_config

_CALL_SECONDS = 0.2


class RedisWorld(World):
    """server: of its own, for it is killed. disk: a small one with its files, if there is one."""

    store = "redis"

    def __init__(self, folder, random, server, disk=None) -> None:
        super().__init__(folder, random)
        self._server, self._disk = server, disk
        self.server_away = Outages()
        self.path = write_config(
            folder, ITEMS, seconds_per_call=_CALL_SECONDS, upgrade=UPGRADE, service=SERVICE
        )
        values = tomllib.loads(self.path.read_text())
        place = {"location": server.url, "index": folder.name}
        values["store"] = {"kind": "redis", **place, "exact": True}
        values["journal"] = {"kind": "sqlite"}
        self.path.write_text(tomli_w.dumps(values), encoding="utf-8")
        source = contents(ITEMS)
        with RedisGallery.create(model=OLD, **place, exact=True) as gallery:
            gallery.upsert(list(source), old_model()(list(source.values())), space=OLD)
        self._serving = None
        self.search_all_the_time(self._ask_library, self.server_away)
        self.search_all_the_time(self.ask_service, self.server_away, self.service_away)

    @property
    def kinds(self):
        kinds = {
            "start killed": ("start", self.kill_leader),
            "service killed": ("serve", self.kill_leader),
            "Redis killed": ("start", self._kill_server),
            "connections ended": ("serve", self._end_connections),
        }
        if self._disk is not None:
            kinds["disk full"] = ("start", self._fill_disk)
        return kinds

    def _kill_server(self) -> None:
        with self.server_away.one():
            self._server.kill()
            time.sleep(self.random.uniform(0, 1.5))
            self._server.start()

    def _end_connections(self) -> None:
        with self.server_away.one(), redis.Redis.from_url(self._server.url) as client:
            client.client_kill_filter(_type="normal", skipme=True)

    def _fill_disk(self) -> None:
        """Redis ends rather than acknowledge what it cannot log, whoever writes."""
        with self.server_away.one():
            with self._disk.filled(0), redis.Redis.from_url(self._server.url) as client:
                deadline = time.monotonic() + PATIENCE_SECONDS
                while self._server.runs:
                    said = (self._server.said(), self.what_was_said())
                    assert time.monotonic() < deadline, ("a full disk was not noticed", said)
                    with suppress(redis.RedisError):
                        client.set("somebody", "writes" * 1000)
                    time.sleep(0.1)
                self._server.stop()
            self._server.start()

    def _ask_library(self):
        """Search as an application does that has opened the store for itself."""
        if self._serving is None:
            journal = self.project.look()
            begun = journal.last("plan") is not None
            journal.close()
            if not begun:
                return None
            self._serving = Upgrade.of(self.project)
        return list(self._serving.search(QUERY, ITEMS).item_ids)

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        if self._serving is not None:
            self._serving.close()
