"""An endpoint for embeddings on this machine, as OpenAI's is, for tools that want one."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.peers.lookup import Model


class Endpoint(ThreadingHTTPServer):
    """Answers `POST /v1/embeddings` for the models "old" and "new"."""

    daemon_threads = True

    def __init__(self, world: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.world = world
        self.models: dict[str, Model] = {}
        self.turn = threading.Lock()
        self.load()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def load(self, **settings: Any) -> None:
        """Load the models anew; settings as of `Model`."""
        self.models = {side: Model(self.world, side, **settings) for side in ("old", "new")}


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.turn:
            model = self.server.models[asked["model"]]
            # A text that a tool tries an endpoint with is nobody's: any vector will do.
            texts = [text if text in model else model.any_text for text in asked["input"]]
            found = model.embed(texts)
        data = [{"index": row, "embedding": each.tolist()} for row, each in enumerate(found)]
        tokens = sum(len(text.split()) for text in asked["input"])
        body = json.dumps({"data": data, "usage": {"total_tokens": tokens}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def running(world: Path) -> Iterator[Endpoint]:
    with Endpoint(world) as endpoint:
        threading.Thread(target=endpoint.serve_forever, daemon=True).start()
        try:
            yield endpoint
        finally:
            endpoint.shutdown()
