"""An upgrade under way, with everything that can be harmed."""

from __future__ import annotations

import io
import signal
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack, closing, redirect_stdout
from dataclasses import dataclass

import numpy as np

from hotfill import config
from hotfill.errors import HotfillError
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.upgrade import Upgrade
from tests.acceptance.campaign.child import PATIENCE_SECONDS, Child, Service
from tests.acceptance.campaign.examination import Examined, examine
from tests.acceptance.campaign.outages import Outages
from tests.acceptance.campaign.searches import Searches
from tests.unit.cli.models import NEW, WIDTH, contents

ITEMS, BATCH = 960, 8
_POLL_SECONDS = 0.1  # each look opens the journal anew
QUERY = np.random.default_rng(5).normal(size=WIDTH).astype(np.float32)
UPGRADE = {"batch_size": BATCH, "fit_items": 110, "verify_items": 50}
SERVICE = {"max_k": ITEMS}

# How a process may end: done, busy (the place of one just killed is not free yet), the storage
# failed (it was harmed), killed by us.
_HARMLESS = frozenset({0, 6, 7, -signal.SIGKILL})


@dataclass(frozen=True, slots=True)
class Searched:
    """What all searches found. failures: why some got no answer, outside of an outage."""

    answers: int
    lost: int
    doubled: int
    failures: tuple[str, ...]

    @property
    def faultless(self) -> bool:
        return not (self.lost or self.doubled or self.failures)


class World(ABC):
    """One upgrade of one gallery. Use it in a `with` block.

    kinds: by name the ways to harm it, each with the command that leads the upgrade meanwhile.
    """

    store: str

    def __init__(self, folder, random) -> None:
        self.folder = folder
        self.random = random
        self.source = contents(ITEMS)
        self.service_away = Outages()
        self.service_away.begin()  # until one listens
        self.leader: Child | None = None
        self._stack = ExitStack()
        self._searching: list[Searches] = []
        self._moved = 0

    @property
    @abstractmethod
    def kinds(self) -> dict[str, tuple[str, object]]:
        """By name: what leads, and what strikes."""

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.end_processes()
        self._stack.close()

    # What runs -------------------------------------------------------------------------------

    def lead(self, command: str) -> None:
        """See to it that the upgrade is led by `start` or by `serve`. Idempotent."""
        if self.leader is not None and self.leader.code is not None:
            self.check_end(self.leader)
            self.leader = None
        if self.leader is not None and self.leader.words[0] != command:
            self.let_go()
        if self.leader is None:
            if command == "start":
                self.leader = Child(self.folder, "start", self.path)
                return
            self.leader = Service(self.folder, self.path)
            self.leader.listen()
            self.service_away.end()
        if isinstance(self.leader, Service):
            run = self.leader.status()["run"]
            if run is None or not run["running"]:
                self.leader.begin()

    def let_go(self) -> None:
        """End the leading process as a person would, and wait for it."""
        if self.leader is None:
            return
        self.service_away.begin()
        self.leader.send(signal.SIGTERM)
        code = self.leader.finished()
        assert code in (*_HARMLESS, 10, -signal.SIGTERM), (code, self.leader.said())
        self.leader = None

    def kill_leader(self) -> None:
        self.service_away.begin()
        self.leader.kill()

    def check_end(self, child: Child) -> None:
        """A process may end for a few reasons only."""
        assert child.code in _HARMLESS, (child.code, child.said())

    def what_was_said(self) -> dict[str, str]:
        """The last words of every process so far."""
        logs = sorted(self.folder.glob("*.log"), key=lambda log: log.stat().st_mtime)
        return {log.name: log.read_text()[-2000:] for log in logs[-4:]}

    def end_processes(self) -> None:
        if self.leader is not None:
            self.leader.kill()
            self.leader = None

    # How far it is ---------------------------------------------------------------------------

    def moved(self) -> int:
        """Items done so far, by the journal; the last known number while it cannot be read."""
        try:
            with closing(self.project.look()) as journal:
                tally = journal.tally("embed")
        except HotfillError:
            return self._moved
        self._moved = tally.moved + tally.skipped
        return self._moved

    def go_on(self, command: str, more: int) -> None:
        """Let the upgrade go on for so many more items, whatever has to be started again."""
        goal = min(self.moved() + more, ITEMS)
        self.wait_for(lambda: self.moved() >= goal, command)

    def wait_for(self, condition, command: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            self.lead(command)
            assert time.monotonic() < deadline, ("waited too long", self.what_was_said())
            time.sleep(_POLL_SECONDS)

    def to_the_end(self, command: str) -> None:
        """Let the backfill end, and every process with it."""

        def is_backfilled() -> bool:
            with closing(self.project.look()) as journal:
                return journal.phase is Phase.BACKFILLED

        self.wait_for(is_backfilled, command)
        if isinstance(self.leader, Service):
            self.let_go()
        elif self.leader is not None:
            assert self.leader.finished() in _HARMLESS, self.leader.said()

    def cut_over(self) -> None:
        """Verify and switch, in this process."""
        # The embedder is chatty.
        with redirect_stdout(io.StringIO()), Upgrade.of(self.project) as up:
            assert up.verify().passed
            assert up.cutover().phase is Phase.CUT_OVER

    # What is there ---------------------------------------------------------------------------

    def search_all_the_time(self, ask, *outages) -> None:
        """ask: gives the item ids of one search that wants every item; it may fail in outages."""
        searches = Searches(ask, self.source, outages)
        self._searching.append(self._stack.enter_context(searches.going_on()))

    def ask_service(self) -> list[str] | None:
        """Search over HTTP, while a service leads."""
        leader = self.leader
        return leader.search(QUERY.tolist(), ITEMS) if isinstance(leader, Service) else None

    def searched(self) -> Searched:
        """What searches found since this was asked last."""
        findings = [each.taken() for each in self._searching]
        return Searched(
            sum(found.answers for found in findings),
            sum(found.lost for found in findings),
            sum(found.doubled for found in findings),
            tuple(error for found in findings for _, _, error in found.failures),
        )

    def examine(self) -> Examined:
        """Look at every item of the gallery."""
        with redirect_stdout(io.StringIO()), self.project.gallery() as gallery:
            return examine(gallery, self.source)

    def examine_final(self) -> Examined:
        """The same when all is done: also whether the new side holds all, by the model itself."""
        found = self.examine()
        with self.project.gallery() as gallery:
            done = gallery.count(NEW, origin=NEW.fingerprint)
        assert (found.moved, done) == (ITEMS, ITEMS)
        return found

    @property
    def project(self):
        return config.read(self.path)
