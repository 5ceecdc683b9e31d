"""A real PgBouncer in front of the tests' PostgreSQL: one session serves many clients in turn.

It pools by transactions and drops the start-up parameter `options`, as poolers are often told to.
The Debian package `pgbouncer` has the program; tests that need it are skipped where it is missing.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.lifetime import end_with_parent

_USER = "nobody"
_PATIENCE_SECONDS = 60.0


def program() -> str | None:
    """Find the program; None where it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class PgBouncer:
    """In front of a server, until `close`. sessions: of the server, at most; few are shared more.

    dsn: how to connect.
    """

    def __init__(self, server_dsn: str, sessions: int = 20) -> None:
        server = conninfo_to_dict(server_dsn)
        self._folder = Path(tempfile.mkdtemp(prefix="hotfill-pgbouncer-"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.dsn = f"host=127.0.0.1 port={port} user=hotfill dbname=postgres"
        users = self._folder / "users"
        users.write_text('"hotfill" ""\n')
        settings = self._folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={server['host']}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {users}\npool_mode = transaction\n"
            f"default_pool_size = {sessions}\nmax_client_conn = 500\nserver_idle_timeout = 600\n"
            "ignore_startup_parameters = options,extra_float_digits\n"
            f"logfile = {self._folder / 'log'}\n"
        )
        if os.geteuid() == 0:  # it refuses to run as root
            for path in (self._folder, users, settings):
                shutil.chown(path, _USER)
        self._process = subprocess.Popen(
            [program() or "pgbouncer", "-q", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            user=_USER if os.geteuid() == 0 else None,
            preexec_fn=end_with_parent,
        )
        atexit.register(self.close)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                psycopg.connect(self.dsn).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self._folder / "log").read_text()) from None
                time.sleep(0.02)
            else:
                return

    def close(self) -> None:
        """End it. Idempotent."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
