"""What is Redis's own: several processes, a server that comes back, its settings, its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.errors import ConfigError, InputError, ModelMismatchError, StoreBusyError, StoreError
from hotfill.stores.base import Range
from hotfill.stores.filters import matches
from hotfill.stores.redis import RedisGallery
from hotfill.stores.redis.filter import condition, facets
from hotfill.stores.redis.stamp import RedisStamp
from hotfill.stores.section import Existing, RedisSection
from hotfill.types import ModelId
from tests import redis_server
from tests.redis_server import fresh_name
from tests.unit.stores.redis.models import NAMES, NEW, NEW_ROWS, OLD, ROWS

UNIT = ModelId("unit", "1", 3)


@pytest.fixture
def place(url):
    return {"location": url, "index": fresh_name()}


@pytest.fixture
def gallery(place):
    with RedisGallery.create(model=OLD, **place, exact=True) as gallery:
        gallery.upsert(NAMES, ROWS, space=OLD, metadata=[{"n": n} for n in range(4)])
        yield gallery


@pytest.fixture
def special():
    """Servers with settings of their own."""
    made = []

    def start(**settings):
        if redis_server.MISSING:
            pytest.skip("the packages that have the server exist for Linux on x86-64 only")
        made.append(redis_server.Server(**settings))
        return made[-1]

    yield start
    for server in made:
        server.remove()


# Several processes --------------------------------------------------------------------------------


def test_who_has_the_gallery_open_hears_of_spaces_that_come_and_go(place, gallery):
    with RedisGallery.open(**place, exact=True) as other:
        gallery.add_space(NEW)
        page = other.scan(OLD)
        assert other.move(NAMES, NEW_ROWS, space=NEW, expected_versions=page.versions).all()
        assert gallery.search({NEW: NEW_ROWS[:1]}, 1)[NEW].item_ids == (("x 0",),)
        gallery.drop_space(OLD)
        assert other.upsert(["y"], NEW_ROWS[:1], space=NEW).shape == (1,)  # by an old stamp
        with pytest.raises(ModelMismatchError):
            other.search({OLD: ROWS[:1]}, 1)
        with pytest.raises(ModelMismatchError):
            other.upsert(["y"], ROWS[:1], space=OLD)


def test_two_that_add_the_same_space_at_once_add_it_once(place, gallery, monkeypatch):
    with RedisGallery.open(**place, exact=True) as other:
        make = other._server.make_index

        def slowly(stamp, space):
            make(stamp, space)
            monkeypatch.setattr(other._server, "make_index", make)
            gallery.add_space(NEW)

        monkeypatch.setattr(other._server, "make_index", slowly)
        other.add_space(NEW)
        assert other.spaces == gallery.spaces == (OLD, NEW)
        indexes = {n for n in other._server.index_names() if f":{place['index']}:" in n}
        assert indexes == {space.index for space in other._stamp.spaces}


def test_a_drop_beside_a_move_back_loses_nothing(place, gallery, monkeypatch):
    gallery.add_space(NEW)
    page = gallery.scan(OLD)
    gallery.move(NAMES, NEW_ROWS, space=NEW, expected_versions=page.versions)
    with RedisGallery.open(**place, exact=True) as other:
        look = gallery._server.size_of

        def then_move_back(index):
            n = look(index)
            other.move(NAMES[:1], ROWS[:1], space=OLD, expected_versions=page.versions[:1])
            return n

        monkeypatch.setattr(gallery._server, "size_of", then_move_back)
        with pytest.raises(StoreError, match="1 items are searched there"):
            gallery.drop_space(OLD)
        assert other.count(OLD) == 1


def test_metadata_that_two_write_at_once_are_those_of_one(place, gallery, monkeypatch):
    with RedisGallery.open(**place, exact=True) as other:
        read = gallery._server.read

        def then_write(*asked):
            found = read(*asked)
            monkeypatch.setattr(gallery._server, "read", read)
            other.set_metadata(NAMES[:1], [{"theirs": True}])
            return found

        monkeypatch.setattr(gallery._server, "read", then_write)
        gallery.set_metadata(NAMES[:1], [{"ours": 1.5}])
        assert other.get(NAMES[:1])[0].metadata == {"ours": 1.5}


def test_one_upgrade_has_the_gallery(place, gallery):
    gallery.claim("one")
    gallery.claim("one")
    with RedisGallery.open(**place) as other:
        with pytest.raises(StoreBusyError, match="upgraded by one, not by two"):
            other.claim("two")
        other.release("two")
        with pytest.raises(StoreBusyError):
            other.claim("two")
        other.claim("two", take_over=True)
        with pytest.raises(StoreBusyError, match="upgraded by two"):
            gallery.claim("one")
        other.release("two")
    gallery.claim("one")


# What a killed process or another person left -----------------------------------------------------


def test_an_index_that_somebody_dropped_is_made_anew(place, gallery):
    gallery.add_space(NEW)
    gallery._server.drop_index(gallery._stamp.spaces[0].index)
    with pytest.raises(StoreError, match=r"is gone .* open the gallery again"):
        gallery.search({OLD: ROWS[:1]}, 2)
    with RedisGallery.open(**place, exact=True) as again:
        assert again.search({OLD: ROWS[:1]}, 2)[OLD].item_ids == (("x 0", "x 3"),)


def test_kept_vectors_of_a_dropped_space_go_even_if_that_was_cut_short(
    client, place, gallery, monkeypatch
):
    gallery.add_space(NEW)
    page = gallery.scan(OLD)
    gallery.move(NAMES, NEW_ROWS, space=NEW, expected_versions=page.versions)
    kept = f"hotfill:{place['index']}:kept:*"
    assert len(list(client.scan_iter(kept))) == 4

    def die(before):
        raise KeyboardInterrupt

    monkeypatch.setattr(gallery, "_sweep", die)
    with pytest.raises(KeyboardInterrupt):
        gallery.drop_space(OLD)
    with RedisGallery.open(**place, exact=True) as again:
        assert again.spaces == (NEW,)
        assert list(client.scan_iter(kept)) == []
        assert again.count(NEW) == 4


def test_deleted_items_leave_nothing(client, place, gallery):
    gallery.add_space(NEW)
    page = gallery.scan(OLD)
    gallery.move(NAMES, NEW_ROWS, space=NEW, expected_versions=page.versions)
    gallery.delete(NAMES)
    left = {key.decode().rpartition(":")[2] for key in client.scan_iter(f"*{place['index']}*")}
    assert left == {"stamp", "epoch", "clock", "sets"}


# The server ---------------------------------------------------------------------------------------


def test_the_first_search_after_a_crash_of_the_server_finds_everything(special):
    server, model, n = special(), ModelId("old", "1", 64), 1500
    rows = np.random.default_rng(0).normal(size=(n, 64)).astype(np.float32)
    names = [str(i) for i in range(n)]
    with RedisGallery.create(server.url, model) as gallery:
        versions = gallery.upsert(names, rows, space=model)
        server.kill()
        with pytest.raises(StoreError) as caught:
            gallery.count(model)
        assert caught.value.retryable
        server.start()
        found = gallery.search({model: rows[:1]}, n)[model]
        assert len(found.item_ids[0]) == gallery.count(model) == n
        assert found.item_ids[0][0] == "0"
        again = gallery.upsert(["0"], rows[:1], space=model)
        assert again[0] > versions.max()


def test_settings_by_which_acknowledged_writes_get_lost_are_told(special):
    for settings, said in [
        ({"appendonly": "no"}, "keeps no log of writes"),
        ({"appendfsync": "everysec"}, "a power cut loses the last second"),
        ({"maxmemory": "1gb", "maxmemory_policy": "allkeys-lru"}, "throws items away"),
    ]:
        with RedisGallery.create(special(**settings).url, UNIT) as gallery:
            (remark,) = gallery.remarks()
            assert said in remark


def test_a_server_of_the_right_settings_has_no_remarks(gallery):
    assert gallery.remarks() == []


def test_a_server_that_has_no_room_for_the_new_vectors_is_told_before(special):
    with RedisGallery.create(special(maxmemory="12mb").url, UNIT) as gallery:
        gallery.upsert(NAMES, ROWS, space=UNIT)
        assert gallery.rehearse_writes(ModelId("new", "1", 2)) == []
        (problem,) = gallery.rehearse_writes(ModelId("new", "1", 1_000_000))
        assert "new vectors do not fit" in problem or "OOM" in problem


def test_a_user_who_may_not_write_is_told_by_the_rehearsal(client, place, gallery):
    client.acl_setuser(
        "reader", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-hset", "-ft.create"]
    )
    there = place["location"].replace("//", "//reader:any@")
    with RedisGallery.open(there, index=place["index"], exact=True) as other:
        before = sorted(client.scan_iter("*"))
        (problem,) = other.rehearse_writes(NEW)
        assert "NOPERM" in problem or "permissions" in problem
        assert sorted(client.scan_iter("*")) == before


def test_a_server_that_cannot_be_used_is_told_in_words(special):
    with pytest.raises(StoreError, match="could not connect to Redis") as caught:
        RedisGallery.open("redis://127.0.0.1:1", index="g")
    assert caught.value.retryable
    with pytest.raises(StoreError, match="could not connect to Redis"):
        RedisGallery.open("http://127.0.0.1", index="g")
    secured = special(requirepass="secret")
    for password in (None, "wrong"):
        with pytest.raises(StoreError, match="could not connect to Redis") as caught:
            RedisGallery.open(secured.url, index="g", password=password)
        assert not caught.value.retryable
    RedisGallery.create(secured.url, UNIT, index="g", password="secret").close()
    bare = special(modules=())
    with pytest.raises(StoreError, match="no query engine"):
        RedisGallery.open(bare.url, index="g")


def test_what_a_url_says_of_answers_does_not_matter(place, gallery):
    there = place["location"] + "?decode_responses=True&protocol=2"
    with RedisGallery.open(there, index=place["index"]) as other:
        assert other.search({OLD: ROWS[:1]}, 1)[OLD].item_ids == (("x 0",),)


def test_the_file_names_index_and_server_and_the_environment_the_password(
    special, monkeypatch, tmp_path
):
    secured = special(requirepass="secret")
    monkeypatch.setenv("REDIS_PASSWORD", "secret")
    RedisGallery.create(secured.url, UNIT, index="g", password="secret").close()
    section = RedisSection(kind="redis", location=secured.url, index="g")
    with section.open(tmp_path) as gallery:
        assert gallery.spaces == (UNIT,)
    with pytest.raises(ConfigError, match="knows its items by their own keys"):
        section.adopt(tmp_path, UNIT, Existing(id_column="sku"))
    with pytest.raises(StoreError, match="there is no index 'none'"):
        section.model_copy(update={"index": "none"}).adopt(tmp_path, UNIT, Existing())


# Limits -------------------------------------------------------------------------------------------


def test_no_more_hits_are_asked_for_than_the_server_gives(special):
    server = special()
    with RedisGallery.create(server.url, UNIT) as gallery:
        assert gallery.capabilities.most_hits == 1_000_000
        gallery._server._client.execute_command("FT.CONFIG", "SET", "MAXSEARCHRESULTS", 3)
    with RedisGallery.open(server.url) as gallery:
        gallery.upsert(NAMES, ROWS, space=UNIT)
        assert gallery.capabilities.most_hits == 3
        assert len(gallery.search({UNIT: ROWS[:1]}, 3)[UNIT].item_ids[0]) == 3
        with pytest.raises(InputError, match="at most 3"):
            gallery.search({UNIT: ROWS[:1]}, 4)


@pytest.mark.parametrize("index", ["", "a b", "a:b", "*", "x" * 101])
def test_names_that_would_be_taken_for_something_else_are_refused(url, index):
    with pytest.raises(InputError, match="index: letters"):
        RedisGallery.create(url, OLD, index=index)


def test_bytes_that_others_put_into_a_document_stay(client, place, gallery):
    key = f"{place['index']}:x 0"
    client.hset(key, "blob", b"\xff\x00")
    gallery.set_metadata(["x 0"], [{"n": 7}])
    gallery.add_space(NEW)
    gallery.upsert(["x 0"], NEW_ROWS[:1], space=NEW, metadata=[{"n": 8}])
    assert client.hget(key, "blob") == b"\xff\x00"
    assert gallery.get(["x 0"])[0].metadata == {"n": 8}


# Facets -------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 5e-324, 2**53, 2.0**53 + 2, 1.5, 3, 3.0]),
)
bounds = st.one_of(st.none(), numbers, st.sampled_from([math.inf, -math.inf]))
STAMP = RedisStamp("g", "hash", "g:")


@given(value=numbers, low=bounds, high=bounds)
def test_whatever_is_in_a_range_has_one_of_its_facets(value, low, high):
    where = {"n": Range(low, high)}
    asked = condition(where, STAMP)
    found = any(facet in asked.text for facet in facets({"n": value}).split(","))
    if matches({"n": value}, where):
        assert found
        assert not asked.nothing
    assert asked.text.count("|") < 200


def test_a_range_of_years_asks_for_a_few_facets_and_for_no_other_year():
    asked = condition({"year": Range(1990, 1999)}, STAMP).text
    hits = [
        year
        for year in range(1900, 2100)
        if any(facet in asked for facet in facets({"year": year}).split(","))
    ]
    assert hits == list(range(1990, 2000))
    assert asked.count("|") < 40
