"""Speaks Qdrant's HTTP, and hands each request to the client's local engine.

No server: it shows that what the client sends can be read again and means the same, and it lets the
code that is meant for servers run. What a real server does differently it cannot show.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models

_UPDATES = TypeAdapter(models.UpdateOperations)


class StandIn:
    """The engine behind, and what was asked for: (method, path)."""

    def __init__(self) -> None:
        self.engine = QdrantClient(":memory:", force_disable_check_same_thread=True)
        self.lock = threading.Lock()
        self.asked: list[tuple[str, str]] = []
        self.before = lambda method, path: None  # called before each request is done

    def answer(self, method: str, path: str, body: dict | None):
        """Do a request; give (status, result)."""
        self.asked.append((method, path))
        self.before(method, path)
        with self.lock:
            try:
                return 200, self._result(method, path.strip("/").split("/"), body)
            except KeyError as error:
                return 404, f"Not found: No point with id {error} found"
            except ValueError as error:
                return 404 if "not found" in str(error) else 400, str(error)

    def _result(self, method: str, parts: list[str], body: dict | None):
        _, name, *rest = [unquote(part) for part in parts]
        match method, rest:
            case "GET", ["exists"]:
                return {"exists": self.engine.collection_exists(name)}
            case "GET", []:
                return self.engine.get_collection(name)
            case "PUT", []:
                wanted = models.CreateCollection(**body)
                return self.engine.create_collection(
                    name, vectors_config=wanted.vectors, metadata=wanted.metadata
                )
            case "PATCH", []:
                return self.engine.update_collection(
                    name, metadata=models.UpdateCollection(**body).metadata
                )
            case "PUT", ["vectors", vector]:
                config = models.DenseVectorNameConfig(**body)
                return self.engine.create_vector_name(name, vector, config)
            case "DELETE", ["vectors", vector]:
                return self.engine.delete_vector_name(name, vector)
            case "POST", ["points", "vectors", "delete"]:
                wanted = models.DeleteVectors(**body)
                return self.engine.delete_vectors(name, wanted.vector, wanted.filter)
            case "PUT", ["index"]:
                models.CreateFieldIndex(**body)
                return {"operation_id": 1, "status": "completed"}
            case "POST", ["points"]:
                wanted = models.PointRequest(**body)
                return self.engine.retrieve(
                    name,
                    wanted.ids,
                    with_payload=wanted.with_payload,
                    with_vectors=wanted.with_vector,
                )
            case "POST", ["points", "batch"]:
                operations = _UPDATES.validate_python(body).operations
                return self.engine.batch_update_points(name, operations)
            case "POST", ["points", "scroll"]:
                wanted = models.ScrollRequest(**body)
                points, following = self.engine.scroll(
                    name,
                    scroll_filter=wanted.filter,
                    limit=wanted.limit,
                    offset=wanted.offset,
                    with_payload=wanted.with_payload,
                )
                return {"points": points, "next_page_offset": following}
            case "POST", ["points", "count"]:
                wanted = models.CountRequest(**body)
                return self.engine.count(name, wanted.filter, wanted.exact)
            case "POST", ["points", "query", "batch"]:
                searches = models.QueryRequestBatch(**body).searches
                for each in searches:
                    each.params = None  # the local engine warns of those
                return self.engine.query_batch_points(name, searches)
        raise ValueError(f"{method} {parts}: this stand-in knows no such request")


@contextmanager
def serving():
    """Serve a stand-in; gives it and its address."""
    stand_in = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's word

        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, result = stand_in.answer(self.command, urlsplit(self.path).path, body)
            shown = {"status": "ok", "time": 0.0, "result": result}
            if status != 200:
                shown = {"status": {"error": result}, "time": 0.0}
            text = TypeAdapter(dict).dump_json(shown)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _do  # noqa: N815

        def log_message(self, *words) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stand_in, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        stand_in.engine.close()
