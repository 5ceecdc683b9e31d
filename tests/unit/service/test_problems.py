"""Every error is a problem document that helps, and gives nothing away."""

from __future__ import annotations

import logging
import time

import pytest

from hotfill import errors
from hotfill.service.problems import STATUS_OF, described, status_of
from hotfill.types import ModelId

CONTENT = [1.0] * 8


def kinds(base=errors.HotfillError):
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


def test_the_table_covers_the_whole_tree_of_errors():
    for kind in kinds():
        assert any(base in STATUS_OF for base in kind.__mro__[:-3]), kind


def test_an_embedder_that_refuses_a_content_is_not_one_that_is_down():
    assert status_of(errors.EmbedError("no", retryable=False)) == 422
    assert status_of(errors.EmbedError("down")) == 502


def test_the_nearest_class_counts():
    assert status_of(errors.VectorError("x")) == 422
    assert status_of(errors.StoreFullError("x")) == 507
    assert status_of(errors.StoreBusyError("x")) == 503


def test_what_an_error_carries_is_told():
    old, new = ModelId("a", "1", 2), ModelId("a", "2", 2)
    values = described(errors.ModelMismatchError("the query", old, new))
    assert values["kind"] == "ModelMismatchError"
    assert values["expected"] == {**old.to_dict(), "fingerprint": old.fingerprint}
    assert described(errors.HeldError("cut over", ["a", "b"]))["holds"] == ["a", "b"]


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/search", 405)])
def test_unknown_paths_and_methods_are_problems_too(untouched, path, status):
    answer = untouched.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_what_nobody_foresaw_shows_no_trace_and_quotes_nothing(client, monkeypatch, caplog):
    def fail(self, content, k, where):
        raise RuntimeError(content)

    monkeypatch.setattr(type(client.app.state.service), "search", fail)
    with caplog.at_level(logging.INFO, "hotfill.service"):
        problem = client.search(500, content="secret words")
    assert problem["kind"] == "unexpected"
    assert "Traceback" not in str(problem)
    assert "secret" not in str(problem)
    assert "unexpected RuntimeError" in caplog.text  # with the lines where it happened
    assert "in fail" in caplog.text
    assert "secret" not in caplog.text


def test_an_embedder_that_is_down_is_a_bad_gateway(client, monkeypatch):
    def fail(self, contents):
        raise ConnectionError("no route to the model of host 10.0.0.1")

    monkeypatch.setattr("tests.unit.cli.models.Projection.__call__", fail)
    problem = client.search(502, content=CONTENT)
    assert problem["detail"] == "the embedder of old failed (ConnectionError)"


def test_a_log_line_has_the_route_and_no_content(client, caplog):
    with caplog.at_level(logging.INFO, "hotfill.service"):
        client.ok("PUT", "/items", json={"items": [{"item_id": "secret id", "content": CONTENT}]})
        client.ok("GET", "/items/secret id")
        client.search(content=CONTENT)
        client.search(422, content="secret words")
        while '"route":"/search","status":422' not in caplog.text:  # lines wait for others
            time.sleep(0.01)
    assert '"route":"/items/{item_id}","status":200' in caplog.text
    assert '"caller":"local"' in caplog.text
    assert "secret" not in caplog.text
    assert "1.0, 1.0" not in caplog.text


SURROGATE = '"\\ud800"'


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/items", '{"items": [{"item_id": %s, "content": CONTENT}]}'),
        ("PUT", "/items", '{"items": [{"item_id": "a", "content": %s}]}'),
        ("PUT", "/items", '{"items": [{"item_id": "a", "content": {%s: 1}}]}'),
        (
            "PUT",
            "/items",
            '{"items": [{"item_id": "a", "content": CONTENT, "metadata": {"a": %s}}]}',
        ),
        ("PUT", "/items", '{"items": [{"item_id": "a", "content": CONTENT, "metadata": {%s: 1}}]}'),
        ("PATCH", "/items", '{"items": [{"item_id": "a", "metadata": {"a": %s}}]}'),
        ("POST", "/items/delete", '{"item_ids": [%s]}'),
        ("POST", "/search", '{"content": %s}'),
        ("POST", "/search", '{"content": CONTENT, "where": {"a": %s}}'),
        ("POST", "/search", '{"content": CONTENT, "where": {"a": [%s]}}'),
        ("POST", "/search", '{"vectors": {%s: [1]}}'),
        ("POST", "/upgrade/complete", '{"confirmation_token": %s}'),
    ],
)
def test_half_of_a_surrogate_pair_is_refused_wherever_it_stands(untouched, method, path, body):
    headers = {"content-type": "application/json"}
    answer = untouched.request(
        method, path, content=body.replace("CONTENT", str(CONTENT)) % SURROGATE, headers=headers
    )
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
