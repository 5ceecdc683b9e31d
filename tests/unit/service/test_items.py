"""Items over HTTP: written, looked at, removed."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.unit.cli.models import NEW, OLD

CONTENT = [9.0, -9.0, 9.0, -9.0, 9.0, -9.0, 9.0, -9.0]


def put(client, *items, status=200):
    return client.ok("PUT", "/items", status, json={"items": list(items)})


def test_an_item_is_found_by_the_next_search(client):
    item = {"item_id": "mine", "content": CONTENT, "metadata": {"shelf": 4}}
    assert put(client, item) == {"items": 1}
    assert client.search(content=CONTENT, k=1)["hits"][0]["item_id"] == "mine"
    looked = client.ok("GET", "/items/mine")
    assert looked["metadata"] == {"shelf": 4}
    assert (looked["side"], looked["model"]) == ("old", OLD.fingerprint)


def test_a_write_goes_to_the_side_of_the_phase(client):
    client.do("start")
    put(client, {"item_id": "mine", "content": CONTENT})
    looked = client.ok("GET", "/items/mine")
    assert (looked["side"], looked["made_by"]) == ("new", NEW.fingerprint)


def test_metadata_stays_when_none_is_given(client):
    before = client.ok("GET", "/items/item-00001")
    put(client, {"item_id": "item-00001", "content": CONTENT})
    after = client.ok("GET", "/items/item-00001")
    assert after["metadata"] == before["metadata"] == {"number": 1, "even": False}
    assert after["version"] != before["version"]


def test_a_removed_item_is_found_no_more(client):
    put(client, {"item_id": "mine", "content": CONTENT})
    assert client.ok("DELETE", "/items/mine") == {"items": 1}
    assert client.ok("DELETE", "/items/mine") == {"items": 0}
    assert client.ok("GET", "/items/mine", 404)["kind"] == "not_found"
    assert client.search(content=CONTENT, k=1)["hits"][0]["item_id"] != "mine"


def test_many_are_removed_at_once(client):
    body = {"item_ids": ["item-00001", "item-00002", "never"]}
    assert client.ok("POST", "/items/delete", json=body) == {"items": 2}


@pytest.mark.parametrize(
    "item_id", ["a/b c?d", "two\nlines", "ends\n", "\r\n", "a\x85b", "..", "delete", "é"]
)
def test_an_id_may_be_any_text(client, item_id):
    put(client, {"item_id": item_id, "content": CONTENT})
    path = "/items/" + quote(item_id, safe="").replace(".", "%2E")
    assert client.ok("GET", path)["item_id"] == item_id
    assert client.ok("DELETE", path) == {"items": 1}
    assert client.ok("GET", path, 404)["kind"] == "not_found"


def test_no_item_has_an_empty_id(untouched):
    for method in ("GET", "DELETE"):
        assert "non-empty" in untouched.ok(method, "/items/", 422)["detail"]


def test_metadata_is_replaced_without_embedding_anything(client):
    def set_metadata(**metadata):
        items = [{"item_id": name, "metadata": metadata} for name in ("item-00001", "nobody")]
        assert client.ok("PATCH", "/items", json={"items": items}) == {"items": 1}

    for shelf in (4, 5):  # before the upgrade, and after the item moved
        before = client.ok("GET", "/items/item-00001")
        set_metadata(shelf=shelf)
        assert client.ok("GET", "/items/item-00001") == {**before, "metadata": {"shelf": shelf}}
        found = client.search(content=CONTENT, k=3, where={"shelf": shelf})
        assert [hit["item_id"] for hit in found["hits"]] == ["item-00001"]
        client.do("start")
    client.ok("GET", "/items/nobody", 404)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "body.items"),
        ([{"item_id": "a"}], "metadata"),
        ([{"item_id": "a", "metadata": {"_x": 1}}], "underscore"),
        ([{"item_id": "a", "metadata": {}}] * 2, "more than once"),
        ([{"item_id": str(i), "metadata": {}} for i in range(501)], "at most 500 items"),
    ],
)
def test_metadata_that_cannot_be_kept_is_a_problem_that_says_why(untouched, items, said):
    assert said in untouched.ok("PATCH", "/items", 422, json={"items": items})["detail"]


def test_nothing_is_written_when_one_of_them_is_wrong(untouched):
    good = {"item_id": "good", "content": CONTENT}
    problem = put(untouched, good, {"item_id": "bad", "content": "no numbers"}, status=422)
    assert problem["kind"] == "EmbedError"
    untouched.ok("GET", "/items/good", 404)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "body.items"),
        ([{"item_id": "", "content": CONTENT}], "item_id"),
        ([{"item_id": "a", "content": CONTENT}] * 2, "more than once"),
        (
            [
                {"item_id": "a", "content": CONTENT, "metadata": {}},
                {"item_id": "b", "content": CONTENT},
            ],
            "every item of a call, or for none",
        ),
        ([{"item_id": "a", "content": CONTENT, "metadata": {"_x": 1}}], "underscore"),
        ([{"item_id": str(i), "content": CONTENT} for i in range(501)], "at most 500 items"),
    ],
)
def test_what_cannot_be_written_is_a_problem_that_says_why(untouched, items, said):
    assert said in put(untouched, *items, status=422)["detail"]


def test_a_removed_item_is_not_missed_by_the_verification(client):
    client.do("start")
    client.ok("DELETE", "/items/item-00003")
    assert client.do("verify").result["passed"]
