"""A real Chroma server for the tests: `chroma run`, which the package chromadb brings.

One server for each test process, on a free port of this machine, in a temporary folder, started
when first needed. It ends with the process, however that ends.

Run as: python -m tests.chroma FOLDER. Prints the address, and serves until its input ends.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.lifetime import end_with_parent

_ROOT = Path(__file__).parents[1]
_PATIENCE_SECONDS = 120.0
_numbers = itertools.count()


class Server:
    """A server over a folder, that may be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            self.port = held.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        program = Path(sys.executable).with_name("chroma")
        with (self.folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [program, "run", "--path", self.folder / "data", "--host", "127.0.0.1",
                 "--port", str(self.port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=end_with_parent,
            )  # fmt: skip
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                said = (self.folder / "server.log").read_text()
                raise RuntimeError(f"chroma run did not start: {said[-2000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.address}/api/v2/heartbeat").is_success
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """End it without a word. Idempotent."""
        self._process.kill()
        self._process.wait()


@functools.cache
def server() -> str:
    """Return the address of this process's server, started at the first call."""
    folder = tempfile.mkdtemp(prefix="hotfill-chroma-")
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.chroma", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    )

    def end() -> None:
        child.stdin.close()
        child.wait(60)
        child.stdout.close()

    atexit.register(end)
    return child.stdout.readline().strip()


def fresh_name() -> str:
    """Name a gallery that no other test has."""
    return f"test-{os.getpid()}-{next(_numbers)}"


def main(folder: str) -> None:
    """Serve until the input ends."""
    running = Server(Path(folder))
    try:
        print(running.address, flush=True)
        sys.stdin.read()
    finally:
        running.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
