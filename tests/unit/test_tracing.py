"""Searches, batches and requests are traced where the program around hotfill traces."""

from __future__ import annotations

import http.server
import sys
import threading
from collections import Counter

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import hotfill
from hotfill import tracing
from hotfill.upgrade.backfill import Backfill
from tests.unit.cli.models import contents
from tests.unit.cli.project import ITEMS, call, fill, write_config
from tests.unit.service.conftest import serving

ROW = contents(1)["item-00000"]


@pytest.fixture
def spans(monkeypatch):
    """What a program's own tracer has got so far; `take` empties it."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", lambda trace: provider.get_tracer("test"))

    def take():
        taken = exporter.get_finished_spans()
        exporter.clear()
        return taken

    return take


@pytest.fixture
def project(tmp_path):
    fill(tmp_path)
    return write_config(tmp_path, upgrade={"strategy": "merge", "refit": False})


def named(spans, name):
    return [each for each in spans if each.name == f"hotfill.{name}"]


def below(spans, parent):
    """The names of what stands below a span, sorted."""
    found = [each for each in spans if each.parent and each.parent.span_id == id_of(parent)]
    assert all(parent.start_time <= each.start_time for each in found)
    return sorted(each.name.removeprefix("hotfill.") for each in found)


def test_a_search_is_embed_sides_and_rank(project, spans, monkeypatch):
    with hotfill.open(project) as up:
        up.search(ROW, 3)
        before = spans()
        (search,) = named(before, "search")
        assert below(before, search) == ["embed", "sides"]  # one side: nothing to rank
        assert search.attributes == {"hotfill.k": 3, "hotfill.phase": "planned"}
        (sides,) = named(before, "sides")
        assert sides.attributes["hotfill.models"] == (str(up.plan_in_force.old_model),)
        mixed = []
        finish = Backfill._finish

        def finished(self, work, loaded):
            finish(self, work, loaded)
            if not mixed:
                up.search(ROW, 3)
                mixed.extend(spans())

        monkeypatch.setattr(Backfill, "_finish", finished)
        up.start()
    (search,) = named(mixed, "search")
    assert below(mixed, search) == ["embed", "rank", "sides"]
    mixed = [each for each in mixed if each.parent is not None]  # `plan` searches, too
    (sides,) = (each for each in named(mixed, "sides") if each.parent.span_id == id_of(search))
    assert len(sides.attributes["hotfill.models"]) == 2


def id_of(span):
    return span.context.span_id


def test_a_batch_is_read_embed_and_move_over_its_threads(project, spans):
    with hotfill.open(project) as up:
        up.start()
    made = spans()
    batches = named(made, "batch")
    assert len(batches) == -(-ITEMS // 16)
    for each in batches:
        assert below(made, each) == ["embed", "move", "read"]
        assert each.attributes["hotfill.stage"] == "embed"
        assert each.attributes["hotfill.failed"] is False


def test_a_request_goes_on_with_the_callers_trace(project, spans):
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with serving(project) as client:
        spans()
        headers = {"traceparent": f"00-{trace_id}-{span_id}-01", "x-request-id": "mine"}
        client.ok("POST", "/search", json={"content": ROW.tolist()}, headers=headers)
    made = spans()
    (request,) = named(made, "request")
    assert f"{request.context.trace_id:032x}" == trace_id
    assert f"{request.parent.span_id:016x}" == span_id
    assert request.attributes["http.route"] == "/search"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["hotfill.request_id"] == "mine"
    assert below(made, request) == ["search"]


def test_what_fails_is_marked_and_quotes_nothing(project, spans):
    with hotfill.open(project) as up, pytest.raises(hotfill.HotfillError):
        up.search("secret words", 3)
    (embed,) = named(spans(), "embed")
    assert not embed.status.is_ok
    assert embed.attributes["error.type"]
    assert "secret" not in embed.to_json()


def test_without_opentelemetry_nothing_is_made(monkeypatch):
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    with tracing.span("search", k=3) as traced:
        assert traced is None
    assert tracing.begin("batch") is None
    tracing.end(None)
    assert "opentelemetry.trace" not in sys.modules


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes what an exporter sends."""

    received: list[bytes]

    def do_POST(self):
        self.received.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_the_command_line_sends_its_spans_where_the_environment_says(project, monkeypatch):
    Collector.received = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        done = call("start", project, "--yes")
        server.shutdown()
    assert done.returncode == 0, done.stderr
    counted: Counter[str] = Counter()
    for body in Collector.received:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            assert names["service.name"] == "hotfill"
            for scope in resource.scope_spans:
                counted.update(each.name for each in scope.spans)
    assert counted["hotfill.batch"] == counted["hotfill.move"] == -(-ITEMS // 16)
