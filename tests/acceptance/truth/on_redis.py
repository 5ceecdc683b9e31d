"""A world whose gallery is in Redis, its journal in a file, with a second application at work."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import redis_server
from tests.acceptance.truth.shared import SharedWorld
from tests.acceptance.truth.shop import OLD
from tests.acceptance.truth.world import GenerationsWorld

_SERVER = "server"  # its files in a backup
_TELLS_SECONDS = 0.5  # within which an application tells what the server has answered


class RedisWorld(SharedWorld):
    """Of one gallery on a server of its own, for it is killed and restored."""

    more = (*SharedWorld.more, "connections ended", "server killed")

    def __init__(self, store, folder, random, small=None) -> None:
        folder.mkdir(parents=True)
        self.server = redis_server.Server(within=folder)
        super().__init__(store, folder, random, small)

    def _section(self) -> dict[str, Any]:
        return {"kind": "redis", "location": self.server.url, "index": "items", "exact": True}

    def _journal(self, name: str) -> dict[str, Any]:
        return {"kind": "sqlite"}

    def _create(self):
        from hotfill.stores.redis import RedisGallery

        return RedisGallery.create(self.server.url, OLD, exact=True)

    def back_up(self) -> None:
        super().back_up()
        shutil.copytree(self.server.folder, self.backups[-1][1] / _SERVER)

    @contextmanager
    def store_away(self) -> Iterator[None]:
        self.server.stop()
        time.sleep(_TELLS_SECONDS)
        with self.heard:
            for session in list(self.sessions):
                session.take()
        yield
        self.server.start()

    def restore_store(self, backup: Path) -> None:
        shutil.rmtree(self.server.folder)
        shutil.copytree(backup / _SERVER, self.server.folder)

    def end_connections(self) -> None:
        from redis import Redis

        with Redis.from_url(self.server.url) as client:
            client.client_kill_filter(_type="normal", skipme=True)

    def close(self) -> None:
        super().close()
        self.server.stop()


class RedisGenerationsWorld(GenerationsWorld, RedisWorld):
    """The third model on the server."""
