"""A world whose gallery is on a server that many open, with a second application at work."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hotfill
from tests.acceptance.truth.world import Outcome, Session, World

LEADS, ASKS = 1, 2  # which items each application writes


class OnServer(World):
    """A world whose gallery is on a server, and who upgrades it is noted there."""

    keeps_items = False

    def take_over(self) -> None:
        with hotfill.open(self.path) as up:
            up.take_over()


class SharedWorld(OnServer):
    """server: has `kill` and `start`; its files outlive both."""

    more = ("application killed", "second configuration")
    server: Any

    def __init__(self, store: str, folder: Path, random, small=None) -> None:
        self._asking: Session | None = None
        super().__init__(store, folder, random, small)

    def end_connections(self) -> None:
        """Let the server end all of them."""
        raise NotImplementedError

    def begin(self, kind: str, step: str) -> Outcome:
        outcome = super().begin(kind, step)
        self._keep_asking()
        return outcome

    def _keep_asking(self) -> None:
        """See to it that the second application is at work."""
        if self._asking is None or not self._asking.process.is_alive():
            self._asking = Session(self, None, 10**9, writer=ASKS)

    def _end_asking(self) -> None:
        if self._asking is not None and self._asking.process.is_alive():
            self._asking.send(signal.SIGTERM)
            self._asking.finish()

    def kill_application(self) -> None:
        """Kill the second application, and start it again."""
        self._asking.kill()
        self._keep_asking()

    @contextmanager
    def alone(self) -> Iterator[None]:
        self._end_asking()
        yield
        self._keep_asking()

    def session(self, step: str | None, least: int = 3, **settings) -> Session:
        return Session(self, step, least, **{"writer": LEADS, **settings})

    def begin_elsewhere(self) -> Session:
        """Let somebody begin an upgrade of the same gallery to another model, by another file."""
        used = self.factories
        other = next(f for f in ("third_model", "old_model") if f not in used)
        path = self._config("other", (used[0], other))
        return Session(self, "start", 0, writer=LEADS, config=str(path))

    def examine(self) -> None:
        """With nobody at work: what is looked at stands still."""
        self._end_asking()
        super().examine()

    def close(self) -> None:
        if self._asking is not None:
            self._asking.kill()
        super().close()
