"""Every call of the API has an example on its page, and is answered as that says."""

from __future__ import annotations

import json

import pytest

from hotfill.service.examples import EXAMPLES
from tests.unit.cli.project import write_config
from tests.unit.service.conftest import serving
from tests.unit.service.test_dashboard import Outline, text_of

REHEARSED = {
    "recommendation": {},
    "curves": [{"points": [{"share": 0.0, "map": 0.4}, {"share": 1.0, "map": 0.7}]}],
    "old": {"map": 0.4},
    "new": {"map": 0.7},
    "truth": "labels",
}
WAY = {"strategy": "merge", "transform": "ridge", "calibration": "tails", "order": "random"}
REHEARSED["recommendation"] = WAY
REHEARSED["curves"][0] |= WAY

THERE_AND_BACK = [
    *(("GET", path) for path in ("/health", "/ready", "/metrics", "/models", "/upgrade/rehearsal")),
    ("PUT", "/items"),
    ("PATCH", "/items"),
    ("GET", "/items/{item_id}"),
    ("POST", "/search"),
    ("DELETE", "/items/{item_id}"),  # the source does not have it
    ("POST", "/items/delete"),
    ("GET", "/upgrade"),
    ("POST", "/upgrade/start"),
    ("POST", "/upgrade/pause"),
    ("POST", "/upgrade/resume"),
    ("POST", "/upgrade/verify"),
    ("POST", "/upgrade/cutover"),
    ("POST", "/upgrade/rollback"),
]
TO_THE_END = [("POST", f"/upgrade/{step}") for step in ("start", "verify", "cutover", "complete")]
AWAY = [("POST", f"/upgrade/{step}") for step in ("start", "abort")]


@pytest.fixture
def service(project):
    (project.parent / "rehearsal.json").write_text(json.dumps(REHEARSED))
    models = {
        side: {"embedder": f"tests.unit.service.models:{side}_model"} for side in ("old", "new")
    }
    models["new"]["options"] = {}
    with serving(write_config(project.parent, **models), rehearsal="rehearsal.json") as client:
        yield client


def like(answer, example):
    """Whether an answer has what an example shows, and of its kind."""
    if answer is None or example is None:
        return True
    if isinstance(example, dict):
        return all(name in answer and like(answer[name], example[name]) for name in example)
    if isinstance(example, list):
        pairs = zip(answer, example, strict=False)  # as many as both have
        return isinstance(answer, list) and all(like(*pair) for pair in pairs)
    number = isinstance(example, float) and isinstance(answer, int | float)
    return number or isinstance(answer, type(example))


@pytest.mark.parametrize("calls", [THERE_AND_BACK, TO_THE_END, AWAY])
def test_every_example_is_answered_as_it_says(service, calls):
    for method, path in calls:
        example = EXAMPLES[method, path]
        body = example.body
        if path.endswith("/complete"):
            asked = service.ok("POST", path)
            body = {"confirmation_token": asked["confirmation_token"]}
            assert set(body) == set(example.body)
        address = path.replace("{item_id}", "b-17")
        answer = service.request(method, address, json=body)
        assert answer.is_success, (path, answer.text)
        if path == "/metrics":
            assert example.answer.partition(" ")[0] in answer.text
            continue
        shown = example.answer
        if path == "/models":  # its keys are fingerprints
            shown = {**shown, "models": {}}
        assert like(answer.json(), shown), (path, answer.json())
        if path.startswith("/upgrade/") and path != "/upgrade/pause" and method == "POST":
            service.wait()


def test_every_call_has_an_example(service):
    assert set(THERE_AND_BACK + TO_THE_END + AWAY) == set(EXAMPLES)
    described = {
        (method.upper(), path)
        for path, operations in service.ok("GET", "/openapi.json")["paths"].items()
        for method in operations
    }
    assert described == set(EXAMPLES)


def test_the_page_shows_every_call_with_a_command(service):
    html = service.get("/docs").text
    said = text_of(html)
    for method, path in EXAMPLES:
        assert f"{method} {path}" in said
    assert html.count("<details") == len(EXAMPLES)
    assert "curl http://127.0.0.1:8765/search -H" in html.replace("&#39;", "'").replace("\\\n", "")
    outline = Outline(html)
    assert not outline.all("script")
    names = [each["id"] for _, each in outline.tags if "id" in each]
    assert len(names) == len(set(names))
