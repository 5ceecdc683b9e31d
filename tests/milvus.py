"""A real Milvus server for the tests: the package `milvus` has an old one (2.3.5).

One server for each test process, on free ports of this machine, in a temporary folder, started when
first needed; that takes some ten seconds. It ends with the process, however that ends.

Run as: python -m tests.milvus FOLDER. Prints the port, and serves until its input ends.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

from tests.lifetime import end_with_parent

MISSING = find_spec("milvus") is None
"""Whether there is no server to be had: the package exists for Linux on x86-64 only."""
_ROOT = Path(__file__).parents[1]
_numbers = itertools.count()


@functools.cache
def server() -> str:
    """Return the address of this process's server, started at the first call."""
    folder = tempfile.mkdtemp(prefix="hotfill-milvus-")
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.milvus", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=_ROOT,
    )

    def end() -> None:
        child.stdin.close()
        child.wait(60)
        child.stdout.close()

    atexit.register(end)
    port = child.stdout.readline().strip()
    if not port:
        log = Path(folder, "logs", "milvus-stderr.log")
        raise RuntimeError(
            f"Milvus did not start: {log.read_text()[-2000:] if log.exists() else ''}"
        )
    return f"http://127.0.0.1:{port}"


def fresh_name() -> str:
    """Name a gallery that no other test has."""
    return f"test_{os.getpid()}_{next(_numbers)}"


def main(folder: str) -> None:
    """Serve until the input ends."""
    from milvus import MilvusServer, MilvusServerConfig, _initialize_data_files

    place = Path(folder)
    programs = Path(tempfile.gettempdir(), f"hotfill-milvus-programs-{os.getuid()}")
    programs.mkdir(exist_ok=True)
    (place / "bin").symlink_to(programs)  # unpacking them takes longer than all the rest
    etcd = _free_port()
    settings = MilvusServerConfig(data_dir=folder, etcd_port=etcd)
    # Given as an argument, the package forgets another file.
    settings.template_text = _template(settings.template_text, place, etcd)
    for name in settings.configurable_items:
        if name.endswith("_port") and name != "etcd_port":
            settings.update(**{name: _free_port()})
    with (programs / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _initialize_data_files(folder)
    started = MilvusServer(settings)
    started.webservice_port = _free_port()
    # The package starts the server itself.
    ending = partial(subprocess.Popen, preexec_fn=end_with_parent)
    with mock.patch.object(subprocess, "Popen", ending), started:
        print(started.listen_port, flush=True)
        sys.stdin.read()
    shutil.rmtree(folder, ignore_errors=True)


def _template(usual: str, place: Path, client: int) -> str:
    """Return a configuration in which etcd uses free ports; by itself it takes 2379 and 2380."""
    peer = _free_port()
    urls = {
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
    }
    lines = [f"{name}: http://127.0.0.1:{port}" for name, port in urls.items()]
    etcd = place / "etcd.yaml"
    etcd.write_text(
        "\n".join(["name: default", f"initial-cluster: default=http://127.0.0.1:{peer}", *lines])
    )
    mark = "etcd:\n  endpoints:"
    assert mark in usual
    return usual.replace(mark, f"etcd:\n  config:\n    path: {etcd}\n  endpoints:", 1)


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
