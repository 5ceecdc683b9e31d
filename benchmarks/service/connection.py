"""The smallest client that keeps its connection: what is measured is the service."""

from __future__ import annotations

import json
import socket


class Connection:
    """One kept-alive HTTP connection to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, method: str, path: str, value=None) -> bytes:
        """Make the bytes of a request."""
        body = b"" if value is None else json.dumps(value).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; returns the status and the body."""
        self.send(request)
        return self.answer()

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def answer(self) -> tuple[int, bytes]:
        """Wait for the answer; returns the status and the body."""
        came = b""
        while (end := came.find(b"\r\n\r\n")) < 0:
            came += self._receive()
        head = came[:end].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at:].split(b"\r\n", 1)[0])
        while len(came) < end + 4 + length:
            came += self._receive()
        return int(head[9:12]), came[end + 4 :]

    def json(self, method: str, path: str, value=None):
        """Ask, and read the answer; raises RuntimeError unless it is a success."""
        status, body = self.ask(self.request(method, path, value))
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {body[:300]!r}")
        return json.loads(body)

    def _receive(self) -> bytes:
        part = self._socket.recv(65536)
        if not part:
            raise RuntimeError("the service closed the connection")
        return part

    def close(self) -> None:
        self._socket.close()
