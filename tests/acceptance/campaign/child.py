"""A hotfill command in a process of its own; what it says goes to a file."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time

import httpx

from tests.lifetime import end_with_parent
from tests.unit.cli.project import command, environment

PATIENCE_SECONDS = 180.0  # a shared machine may be slow; nothing waits this long on its own
_numbers = itertools.count()


class Child:
    """A process. words: of the command line."""

    def __init__(self, folder, *words) -> None:
        self.words = words
        self._log = folder / f"{words[0]}-{next(_numbers)}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command(*words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                preexec_fn=end_with_parent,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code; None while it lives."""
        return self._process.poll()

    def said(self) -> str:
        return self._log.read_text()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it without a word. Idempotent."""
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)

    def finished(self) -> int:
        """Wait for its end."""
        return self._process.wait(PATIENCE_SECONDS)


class Service(Child):
    """`hotfill serve`, with its operator."""

    def __init__(self, folder, path) -> None:
        super().__init__(folder, "serve", path, "--port", 0)
        self._client: httpx.Client | None = None

    def listen(self) -> None:
        """Wait until it listens; raises RuntimeError when it ended instead."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "listening on" not in (said := self.said()):
            if self.code is not None or time.monotonic() > deadline:
                raise RuntimeError(said)
            time.sleep(0.01)
        address = said.split("listening on ")[1].split()[0]
        # No connection is kept, so that none is left open when the service or its client goes.
        self._client = httpx.Client(
            base_url=address, timeout=60, limits=httpx.Limits(max_keepalive_connections=0)
        )

    def status(self) -> dict:
        return self._client.get("/upgrade").raise_for_status().json()

    def begin(self) -> None:
        """Let it lead the upgrade, from wherever that is. While it does, harmless."""
        answer = self._client.post("/upgrade/start")
        if answer.status_code != 409:  # a step runs, or all is done
            answer.raise_for_status()

    def search(self, content, k) -> list[str]:
        """Search like anybody who knows the address; raises when nothing listens there."""
        if self._client is None:
            raise RuntimeError("not listening yet")
        answer = self._client.post("/search", json={"content": content, "k": k})
        answer.raise_for_status()
        return [hit["item_id"] for hit in answer.json()["hits"]]
