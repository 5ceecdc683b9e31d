"""The dashboard's search panel: each side by its own model, and what callers get."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

import hotfill
from hotfill.service.web.search_panel import _shown
from hotfill.upgrade.side_by_side import some_contents
from tests.unit.cli.models import NEW, OLD
from tests.unit.cli.project import ITEMS, write_config
from tests.unit.service.conftest import half_done, serving
from tests.unit.service.test_access import bearing
from tests.unit.service.test_dashboard import Outline, text_of


def found(client, status=200, **asked):
    answer = client.post("/try", json=asked)
    assert answer.status_code == status, answer.text
    return answer.text


def columns(html):
    return [each["aria-label"] for each in Outline(html).all("section")]


def test_before_the_upgrade_there_is_the_old_side_and_what_callers_get(untouched):
    html = found(untouched, like="item-00003")
    assert columns(html) == ["Old side", "Now"]
    assert f"{OLD.name} alone, on its {ITEMS} items" in text_of(html)
    assert html.count("<code>item-00003</code>") == 2


def test_once_every_item_has_moved_there_is_no_old_side(client):
    client.do("start")
    html = found(client, like="item-00003")
    assert columns(html) == ["Now", "New side"]
    assert f"{NEW.name} alone" in text_of(html)


def test_in_between_hits_are_marked_with_their_side(project):
    write_config(project.parent, seconds_per_call=0.2, upgrade={"strategy": "merge"})
    with serving(project) as client:
        client.ok("POST", "/upgrade/start", 202)
        while client.upgrade()["moved"] == 0:
            assert client.upgrade()["run"]["running"]
        client.ok("POST", "/upgrade/pause")
        html = found(client, like="item-00003")
        assert columns(html) == ["Old side", "Now", "New side"]
        old, now, new = html.split("<section")[1:]
        assert "side new" not in old
        assert "side old" not in new
        assert "side new" in now
        assert "side old" in now
        client.ok("POST", "/upgrade/resume")


def test_imputed_hits_are_marked_and_the_new_side_is_of_what_the_model_embedded(project):
    with half_done(project) as client:
        own = client.upgrade()["moved"]
        html = found(client, like="item-00003")
        assert columns(html) == ["Now", "New side"]
        now, new = html.split("<section")[1:]
        assert "side imputed" in now
        assert f"alone, on the {own} items that it embedded" in new
        assert "side imputed" not in new
        states = client.app.state.service.up.gallery.get(
            [f"item-{number:05}" for number in range(ITEMS)]
        )
        embedded = {each.item_id for each in states if each.origin == NEW.fingerprint}
        assert set(re.findall("<code>([^<]+)</code>", new)) <= embedded
        watch = client.app.state.service.watch
        watch.refresh()  # of the search above, and of what was searched before it
        hits = {hit["item_id"] for hit in client.search(content="1 2 3 4 5 6 7 8", k=8)["hits"]}
        seen = watch.refresh()
        assert seen.coverage == own / ITEMS
        assert seen.traffic_share == len(hits & embedded) / len(hits)
        (made_up,) = seen.compositions
        assert (made_up.hits, made_up.new_share) == (len(hits), seen.traffic_share)


def test_a_text_is_searched_as_the_embedder_reads_it(untouched):
    html = found(untouched, text="1 2 3 4 5 6 7 8")
    hits = untouched.search(content="1 2 3 4 5 6 7 8", k=8)["hits"]
    assert [html.count(f"<code>{hit['item_id']}</code>") for hit in hits] == [2] * 8


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "give a text, or the id of an item"),
        ({"text": "", "like": ""}, "give a text, or the id of an item"),
        ({"like": "nobody"}, "no content of an item 'nobody'"),
        ({"text": "no numbers"}, "the embedder of old"),
    ],
)
def test_what_cannot_be_searched_is_told(untouched, asked, said):
    assert said in found(untouched, 422, **asked)


def test_only_operators_see_contents(guarded):
    body = {"like": "item-00003"}
    for path in ("/try", "/try/items"):
        for name, status in (("reader", 403), ("writer", 403), ("operator", 200)):
            answer = guarded.post(path, json=body, headers=bearing(name))
            assert answer.status_code == status
        assert guarded.post(path, json=body).status_code == 401


def test_items_are_offered_to_search_with(untouched):
    answer = untouched.post("/try/items")
    names = [each["data-like"] for each in Outline(answer.text).all("button")]
    assert len(set(names)) == 24
    assert names == sorted(names)
    assert f"<code>{names[5]}</code>" in found(untouched, like=names[5])


def test_items_whose_content_is_gone_are_not_offered(project):
    path = write_config(project.parent, source={"options": {"items": ITEMS // 2}})
    with hotfill.open(path) as up:
        offered = some_contents(up, ITEMS)
    assert list(offered) == [f"item-{number:05}" for number in range(ITEMS // 2)]
    assert all(content is not None for content in offered.values())


def test_contents_are_shown_as_text_or_as_a_small_picture():
    assert _shown("x" * 400) == ("x" * 300 + "\N{HORIZONTAL ELLIPSIS}", "")
    text, picture = _shown(Image.new("L", (400, 200), 120))
    assert text == ""
    drawn = Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2])))
    assert drawn.size == (96, 48)
    assert _shown(b"\x89PNG and more")[1].startswith("data:image/png;base64,")
    drawing = np.zeros((28, 30), dtype=bool)
    drawing[3, 4] = True
    drawn = Image.open(io.BytesIO(base64.b64decode(_shown(drawing)[1].partition(",")[2])))
    assert drawn.size == (30, 28)
    assert drawn.getpixel((4, 3)) == (0, 0, 0)  # ink is dark
    assert drawn.getpixel((0, 0)) == (255, 255, 255)
    assert _shown(np.zeros((8, 9, 3), dtype=np.uint8))[1]
    assert _shown({"title": "a lamp", "price": 3}) == ('{"title": "a lamp", "price": 3}', "")
    assert _shown(np.zeros(8)) == _shown(np.zeros((8, 8))) == ("", "")
    assert _shown(b"no picture") == _shown([1.0, 2.0]) == _shown(None) == ("", "")
