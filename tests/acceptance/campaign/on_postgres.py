"""PostgreSQL holds gallery and journal: a leader, two workers, and an application that searches."""

from __future__ import annotations

import signal
import time
from contextlib import closing

import psycopg

from hotfill.upgrade.upgrade import Upgrade
from tests.acceptance.campaign.child import PATIENCE_SECONDS, Child
from tests.acceptance.campaign.outages import Outages
from tests.acceptance.campaign.world import ITEMS, QUERY, SERVICE, UPGRADE, World
from tests.acceptance.postgres_project import make_project

WORKERS, LEASE_SECONDS, _CALL_SECONDS = 2, 1.5, 0.3

_IN_HAND = "SELECT number FROM {}.batches WHERE owner LIKE %s AND state = 'leased'"
_TAKEN_OVER = (
    "SELECT count(*) FROM {}.batches "
    "WHERE number = ANY (%s) AND NOT (owner LIKE %s AND state = 'leased')"
)
_END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hotfill'"
)


class PostgresWorld(World):
    """server: of its own, for it is killed. proxy: in front of it. disk: where the server's is."""

    store = "postgres"

    def __init__(self, folder, random, server, proxy, disk=None) -> None:
        super().__init__(folder, random)
        self._server, self._proxy, self._disk = server, proxy, disk
        self.server_away = Outages()
        self._schema = f"world_{folder.name.replace('-', '_')}"
        self._ask_server(f"CREATE SCHEMA {self._schema}")
        self.path = make_project(
            folder,
            ITEMS,
            dsn=server.dsn.replace(str(server.folder), str(proxy.folder)),
            schema=self._schema,
            seconds_per_call=_CALL_SECONDS,
            upgrade=UPGRADE,
            service=SERVICE,
        )
        self._workers: list[Child] = []
        self._serving = None
        self._opened = []
        self.search_all_the_time(self._ask_library, self.server_away)
        self.search_all_the_time(self.ask_service, self.server_away, self.service_away)

    @property
    def kinds(self):
        kinds = {
            "worker killed": ("start", self._kill_worker),
            "worker stopped past its lease": ("start", self._stop_worker),
            "start killed": ("start", self.kill_leader),
            "service killed": ("serve", self.kill_leader),
            "PostgreSQL killed": ("start", self._kill_server),
            "sessions ended": ("serve", self._end_sessions),
            "connections cut": ("start", self._cut_connections),
        }
        if self._disk is not None:
            kinds["disk full"] = ("start", self._fill_disk)
        return kinds

    # What runs -------------------------------------------------------------------------------

    def lead(self, command) -> None:
        super().lead(command)
        for worker in [each for each in self._workers if each.code is not None]:
            self.check_end(worker)
            self._workers.remove(worker)
        while len(self._workers) < WORKERS:
            words = ("worker", self.path, "--lease-seconds", LEASE_SECONDS)
            self._workers.append(Child(self.folder, *words))

    def to_the_end(self, command) -> None:
        super().to_the_end(command)
        for worker in self._workers:
            assert worker.finished() in (0, 7), worker.said()
        self._workers.clear()

    def end_processes(self) -> None:
        super().end_processes()
        for worker in self._workers:
            worker.kill()

    # What strikes ----------------------------------------------------------------------------

    def _kill_worker(self) -> None:
        self._working()[0].kill()

    def _stop_worker(self) -> None:
        """Let one stand still until others have taken its batches, then let it go on."""
        worker, batches = self._working()
        worker.send(signal.SIGSTOP)
        try:
            self._until(
                lambda: self._asked(_TAKEN_OVER, batches, f"%-{worker.pid}-%") == [(len(batches),)]
            )
        finally:
            worker.send(signal.SIGCONT)

    def _working(self):
        """A worker that has batches in hand, and their numbers."""
        found = []

        def has_some() -> bool:
            self.lead("start")
            for worker in self._workers:
                numbers = [row[0] for row in self._asked(_IN_HAND, f"%-{worker.pid}-%")]
                if numbers:
                    found[:] = [worker, numbers]
            return bool(found)

        self._until(has_some)
        return found

    def _kill_server(self) -> None:
        with self.server_away.one():
            self._server.kill()
            time.sleep(self.random.uniform(0, 1.5))
            self._server.start()

    def _end_sessions(self) -> None:
        with self.server_away.one():
            self._ask_server(_END_SESSIONS)

    def _cut_connections(self) -> None:
        self._proxy.cut_after(int(self.random.integers(1, 50_000)))
        assert self._proxy.was_cut(PATIENCE_SECONDS)
        self.server_away.at(self._proxy.cut_at)

    def _fill_disk(self) -> None:
        with self._disk.filled(0):
            self._until(lambda: self.leader.code is not None)

    # What is there ---------------------------------------------------------------------------

    def _ask_library(self):
        """Search as an application does that has opened the store for itself."""
        if self._serving is None:
            project = self.project
            journal = project.look()
            if journal.last("plan") is None:  # the upgrade has not begun
                journal.close()
                return None
            journal.close()
            self._serving = Upgrade.of(project)
            self._opened = [self._serving]
        return list(self._serving.search(QUERY, ITEMS).item_ids)

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        for each in self._opened:
            each.close()

    def _until(self, condition) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.05)

    def _asked(self, text, *values):
        return self._ask_server(text.format(f"{self._schema}_journal"), *values)

    def _ask_server(self, text, *values):
        """Ask past the proxy, as nobody else does."""
        with closing(psycopg.connect(self._server.dsn, autocommit=True)) as connection:
            cursor = connection.execute(text, values)
            return cursor.fetchall() if cursor.description else []
