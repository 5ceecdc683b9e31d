"""Searching over HTTP finds what the library finds, in every phase."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from tests.unit.cli.models import NEW, OLD, contents, new_model, old_model
from tests.unit.cli.project import ITEMS, write_config
from tests.unit.service.conftest import half_done, serving

ITEM = "item-00007"
CONTENT = contents(ITEMS)[ITEM].tolist()


def vector_of(model):
    embedder = old_model() if model == OLD else new_model()
    return embedder([CONTENT])[0].tolist()


def best(model, k, allowed=lambda number: True):
    """The k best items by one model, the slow way."""
    source = {name: row for name, row in contents(ITEMS).items() if allowed(int(name[5:]))}
    embedder = old_model() if model == OLD else new_model()
    scores = embedder(list(source.values())) @ np.asarray(vector_of(model))
    return [list(source)[i] for i in np.argsort(-scores)[:k]]


def ids(found):
    return [hit["item_id"] for hit in found["hits"]]


def test_a_content_is_embedded_by_the_model_of_the_phase(untouched):
    found = untouched.search(content=CONTENT, k=5)
    assert ids(found) == best(OLD, 5)
    assert (found["phase"], found["query_model"]) == ("planned", OLD.fingerprint)


def test_a_content_may_be_a_text(untouched):
    text = " ".join(map(str, CONTENT))
    assert ids(untouched.search(content=text, k=5)) == best(OLD, 5)


def test_a_vector_comes_with_the_fingerprint_of_its_model(untouched):
    found = untouched.search(vectors={OLD.fingerprint: vector_of(OLD)}, k=5)
    assert ids(found) == best(OLD, 5)


def test_a_vector_may_be_the_base64_of_float32(untouched):
    packed = base64.b64encode(np.asarray(vector_of(OLD), "<f4").tobytes()).decode()
    as_text = untouched.search(vectors={OLD.fingerprint: packed})
    assert as_text == untouched.search(vectors={OLD.fingerprint: vector_of(OLD)})


@pytest.fixture
def of_bytes(project):
    """A service whose models read bytes, too."""
    write_config(
        project.parent,
        old={"embedder": "tests.unit.service.models:old_model"},
        new={"embedder": "tests.unit.service.models:new_model", "options": {}},
    )
    with serving(project) as client:
        yield client


def test_a_content_of_bytes_comes_as_base64(of_bytes):
    packed = base64.b64encode(b"a picture").decode()
    item = {"item_id": "mine", "content_base64": packed}
    assert of_bytes.ok("PUT", "/items", json={"items": [item]}) == {"items": 1}
    found = of_bytes.search(content_base64=packed, k=1)
    assert ids(found) == ["mine"]
    assert found["hits"] == of_bytes.search(content="a picture", k=1)["hits"]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"content_base64": "no base64"},
        {"content_base64": "\u00e9"},
        {"content_base64": 7},
        {"content_base64": "AAAA", "content": "AAAA"},
        {"content_base64": "AAAA", "vectors": {OLD.fingerprint: [1.0]}},
    ],
)
def test_a_query_is_one_content_or_vectors(of_bytes, query):
    of_bytes.search(422, **query)
    if "vectors" not in query:
        item = {"item_id": "mine", **query}
        of_bytes.ok("PUT", "/items", 422, json={"items": [item]})


@pytest.mark.parametrize("text", ["", "no base64", "AAAA", "AAAAAA==", "\u00e9"])
def test_a_text_that_is_no_vector_is_a_problem(untouched, text):
    untouched.search(422, vectors={OLD.fingerprint: text})


def test_a_vector_of_another_model_than_the_phase_wants_is_refused(untouched):
    problem = untouched.search(409, vectors={NEW.fingerprint: vector_of(NEW)})
    assert problem["kind"] == "ModelMismatchError"
    assert problem["expected"]["fingerprint"] == OLD.fingerprint
    assert problem["received"]["fingerprint"] == NEW.fingerprint


def test_whoever_sends_both_vectors_finds_in_every_phase(client):
    both = {model.fingerprint: vector_of(model) for model in (OLD, NEW)}
    assert client.search(vectors=both)["query_model"] == OLD.fingerprint
    client.do("start")
    assert client.search(vectors=both)["query_model"] == NEW.fingerprint
    client.do("verify")
    client.ok("POST", "/upgrade/cutover")
    found = client.search(vectors=both, k=5)
    assert found["phase"] == "cut_over"
    assert ids(found) == best(NEW, 5)


def test_a_vector_of_an_unknown_model_is_refused(untouched):
    problem = untouched.search(422, vectors={"0123456789ab": [1.0]})
    assert "unknown model '0123456789ab'" in problem["detail"]


def test_explaining_tells_side_model_raw_score_and_coverage(client):
    client.do("start")
    found = client.search(content=CONTENT, k=3, explain=True)
    assert found["coverage"] == 1.0
    for hit in found["hits"]:
        assert hit["why"]["side"] == "new"
        assert hit["why"]["model"] == NEW.fingerprint
        assert -1 <= hit["why"]["raw_score"] <= 1.001


@pytest.mark.parametrize("ranking", ["raw", "calibrated"])
def test_explaining_and_looking_tell_imputed_vectors_from_new_ones(project, ranking):
    with half_done(project, ranking=ranking) as client:
        up = client.app.state.service.up
        hit = up.search([CONTENT], 1)[0].hits[0]
        assert (hit.imputed is None) == (ranking == "raw")  # the store is only asked where needed
        found = client.search(content=CONTENT, k=ITEMS, explain=True)["hits"]
        states = up.gallery.get([hit["item_id"] for hit in found])
        wanted = ["new" if each.origin == NEW.fingerprint else "imputed" for each in states]
        assert [hit["why"]["side"] for hit in found] == wanted
        assert set(wanted) == {"new", "imputed"}
        looked = [client.ok("GET", f"/items/{hit['item_id']}")["side"] for hit in found]
        assert looked == wanted


def test_what_was_not_asked_for_is_left_out(untouched):
    found = untouched.search(content=CONTENT, k=1)
    assert set(found) == {"hits", "phase", "query_model"}
    assert set(found["hits"][0]) == {"item_id", "score"}


@pytest.mark.parametrize(
    ("where", "allowed"),
    [
        ({"even": True}, lambda number: number % 2 == 0),
        ({"number": [1, 2, 3]}, lambda number: number in (1, 2, 3)),
        ({"number": {"at_least": 5, "at_most": 9}}, lambda number: 5 <= number <= 9),
        ({"even": False, "number": {"at_most": 9}}, lambda number: number % 2 and number <= 9),
    ],
)
def test_a_filter_finds_only_what_passes(untouched, where, allowed):
    found = untouched.search(content=CONTENT, k=5, where=where)
    assert ids(found) == best(OLD, 5, allowed)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, "one of content, content_base64 and vectors"),
        (
            {"content": "1", "vectors": {OLD.fingerprint: [1.0]}},
            "one of content, content_base64 and vectors",
        ),
        ({"content": "1 2", "k": 0}, "body.k"),
        ({"content": "1 2", "k": 1001}, "k is at most 1000 here, got 1001"),
        ({"content": "1 2", "kk": 3}, "body.kk"),
        ({"content": "no numbers"}, "cannot read this content"),
        ({"content": {"not": "readable"}}, "cannot read this content"),
        ({"vectors": {OLD.fingerprint: [1.0, 2.0]}}, "expected shape (n, 6)"),
        ({"vectors": {OLD.fingerprint: [0.0] * 6}}, "only zero values"),
        ({"vectors": {}}, "body.vectors"),
        ({"content": CONTENT, "where": {"_id": 3}}, "underscore"),
    ],
)
def test_what_cannot_be_searched_is_a_problem_that_says_why(untouched, query, said):
    problem = untouched.search(422, **query)
    assert said in problem["detail"]
    assert problem["status"] == 422


def test_what_is_not_json_is_a_problem(untouched):
    headers = {"content-type": "application/json"}
    assert untouched.post("/search", content=b"{", headers=headers).status_code == 422
    assert untouched.post("/search", content=b"\xff\xfe{", headers=headers).status_code == 422


def test_numbers_that_json_does_not_know_are_a_problem(untouched):
    body = f'{{"vectors": {{"{OLD.fingerprint}": [NaN, 1, 1, 1, 1, 1]}}}}'
    answer = untouched.post("/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422


def test_a_body_that_is_too_large_is_refused(untouched):
    answer = untouched.post("/search", json={"content": "1 " * 600_000})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_large_body_without_a_length_is_refused_too(untouched):
    parts = (b"1 " * 50_000 for _ in range(20))
    headers = {"content-type": "application/json"}
    assert untouched.post("/search", content=parts, headers=headers).status_code == 413


def test_the_models_are_told_with_the_one_that_embeds_queries(client):
    answer = client.ok("GET", "/models")
    assert answer["query"] == answer["old"] == OLD.fingerprint
    assert answer["models"] == {model.fingerprint: model.to_dict() for model in (OLD, NEW)}
    client.do("start")
    assert client.ok("GET", "/models")["query"] == NEW.fingerprint


@pytest.mark.parametrize(
    "where",
    [
        {"number": list(range(1001))},
        {f"key-{number}": 1 for number in range(33)},
    ],
)
def test_a_filter_that_no_store_should_try_is_refused(untouched, where):
    untouched.search(422, content=CONTENT, where=where)
