"""Stands between PostgreSQL and its clients, and cuts all their connections when told to."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from pathlib import Path

_SOCKET = ".s.PGSQL.5432"
_CHUNK = 65536


class CuttingProxy:
    """Passes bytes on, in a thread of its own. `folder` is the host to connect to."""

    def __init__(self, server_folder) -> None:
        self._server = str(server_folder / _SOCKET)
        self._place = tempfile.TemporaryDirectory(prefix="hotfill-proxy-")
        self.folder = Path(self._place.name)
        self._open: set[asyncio.StreamWriter] = set()
        self._left: int | None = None
        self._cut = threading.Event()
        self.cut_at = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listener = self._call(
            asyncio.start_unix_server(self._serve, str(self.folder / _SOCKET))
        )

    def cut_after(self, n_bytes: int) -> None:
        """Let so many more bytes pass, then cut everything, in the middle of whatever that is."""
        self._cut.clear()
        self._loop.call_soon_threadsafe(setattr, self, "_left", n_bytes)

    def was_cut(self, patience_seconds: float) -> bool:
        """Wait for it; `cut_at` says when it was."""
        return self._cut.wait(patience_seconds)

    def close(self) -> None:
        """Cut all, and listen no longer."""
        self._loop.call_soon_threadsafe(self._cut_all)
        self._loop.call_soon_threadsafe(self._listener.close)
        self._call(asyncio.sleep(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._place.cleanup()

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _serve(self, reader, writer) -> None:
        try:
            there = await asyncio.open_unix_connection(self._server)
        except OSError:  # the server is away
            writer.transport.abort()
            return
        self._open |= {writer, there[1]}
        await asyncio.gather(self._pass(reader, there[1]), self._pass(there[0], writer))

    async def _pass(self, reader, writer) -> None:
        try:
            while part := await reader.read(_CHUNK):
                if self._left is not None:
                    part = part[: self._left]
                    self._left -= len(part)
                writer.write(part)
                if self._left == 0:
                    self._cut_all()
                await writer.drain()
        except OSError:
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    def _cut_all(self) -> None:
        self._left = None
        for writer in self._open:
            writer.transport.abort()
        self.cut_at = time.monotonic()
        self._cut.set()
