"""A server on this machine that plays a paid /embeddings endpoint, with a price and bad days."""

import json
import threading
import zlib
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

DIMENSION = 256
BUSY_EVERY = 7  # this many requests, one is answered "429, come back later"


def embed(text: str) -> list[float]:
    """Words and groups of four letters, each with a random direction, added up."""
    padded = f" {' '.join(text.lower().split())} "
    parts = padded.split() * 2 + [padded[i : i + 4] for i in range(len(padded) - 3)]
    total = np.zeros(DIMENSION)
    for part in parts:
        total += np.random.default_rng(zlib.crc32(part.encode())).normal(size=DIMENSION)
    return (total / np.linalg.norm(total)).tolist()


class Ledger:
    """What the provider will put on the bill."""

    def __init__(self) -> None:
        self.texts: Counter[str] = Counter()
        self.tokens = 0
        self.requests = 0
        self.turned_away = 0
        self.lock = threading.Lock()


@contextmanager
def paid_server():
    """Run the server; gives its address and its ledger."""
    ledger = Ledger()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Answer one request for embeddings."""
            texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
            with ledger.lock:
                ledger.requests += 1
                busy = ledger.requests % BUSY_EVERY == 0
                if busy:
                    ledger.turned_away += 1
                else:
                    tokens = sum(len(text.split()) for text in texts)
                    ledger.tokens += tokens
                    ledger.texts.update(texts)
            if busy:
                self.reply(429, {"error": {"message": "too many requests"}})
                return
            data = [{"index": row, "embedding": embed(text)} for row, text in enumerate(texts)]
            self.reply(200, {"data": data, "usage": {"total_tokens": tokens}})

        def reply(self, status: int, body: dict) -> None:
            """Send JSON."""
            out = json.dumps(body).encode()
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "0.05")
            self.send_header("Content-Length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", ledger
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
