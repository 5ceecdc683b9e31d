"""A real HTTP server that plays a paid /embeddings endpoint, and misbehaves when told to."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

DIMENSION = 8


def vector_of(text: str, dimension: int = DIMENSION) -> np.ndarray:
    """What the server's model makes of a text; unit length."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).normal(size=dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def vectors_of(texts) -> np.ndarray:
    return np.stack([vector_of(text) for text in texts])


def tokens_of(texts) -> int:
    return sum(len(text.split()) for text in texts)


def answer(texts) -> dict:
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": row, "embedding": vector_of(text).tolist()}
            for row, text in enumerate(texts)
        ],
        "usage": {"prompt_tokens": tokens_of(texts), "total_tokens": tokens_of(texts)},
    }


class Endpoint:
    """The server's behaviour and what it has seen.

    script: for each of the first requests a function of the texts that gives (status, headers,
        body); None answers properly. refuse: texts that get a 400. delay_seconds: of each answer.
    """

    def __init__(self) -> None:
        self.script: list = []
        self.refuse: set[str] = set()
        self.delay_seconds = 0.0
        self.requests: list[list[str]] = []
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self.paths: list[str] = []
        self.bought: Counter[str] = Counter()  # texts whose vectors were sent, and are to be paid
        self.most_at_once = 0
        self.url = ""
        self._at_once = 0
        self._lock = threading.Lock()

    def respond(self, body: dict, headers: dict) -> tuple[int, dict, bytes]:
        texts = body["input"]
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.requests.append(texts)
            self.bodies.append(body)
            self.headers.append(headers)
            step = self.script.pop(0) if self.script else None
        try:
            time.sleep(self.delay_seconds)
            if step is not None:
                return step(texts)
            if self.refuse & set(texts):
                return 400, {}, b'{"error": {"message": "input too long"}}'
            with self._lock:
                self.bought.update(texts)
            return 200, {}, json.dumps(answer(texts)).encode()
        finally:
            with self._lock:
                self._at_once -= 1


@contextmanager
def serving(endpoint: Endpoint):
    """Run the server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's word
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            endpoint.paths.append(self.path)
            status, headers, out = endpoint.respond(body, dict(self.headers))
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(out)))
                self.end_headers()
                self.wfile.write(out)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client timed out

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def says(status: int, body: bytes = b"{}", **headers: str):
    """A step of a script: always this answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda texts: (status, named, body)


def changed(change):
    """A step of a script: the proper answer after `change` worked on it."""

    def step(texts):
        body = answer(texts)
        change(body)
        return 200, {}, json.dumps(body).encode()

    return step
