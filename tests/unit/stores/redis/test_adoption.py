"""Indexes that are there: taken over, byte by byte, and refused where they do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError, StoreError
from hotfill.stores.base import Range
from hotfill.stores.redis import RedisGallery
from hotfill.types import ModelId
from tests.unit.stores.redis.models import NAMES, NEW, NEW_ROWS, OLD, ROWS, theirs


def adopt(url, shop, model=OLD, **options):
    return RedisGallery.adopt(url, model, index=shop.index, **options)


def test_a_stamp_alters_no_document_and_no_index(url, shop):
    before = shop.content()
    info = shop.client.execute_command("FT.INFO", shop.index)
    for _ in range(2):  # idempotent
        with adopt(url, shop) as gallery:
            assert gallery.spaces == (OLD,)
            assert gallery.count(OLD) == gallery.count(OLD, origin=OLD.fingerprint) == 4
            assert gallery.scan(OLD).item_ids == tuple(NAMES)
            found = gallery.search({OLD: ROWS[:1]}, 2)[OLD]
            assert found.item_ids == (("x 0", "x 3"),)
            np.testing.assert_allclose(found.scores[0], [1, 0.5**0.5], atol=1e-6)
            lengths = np.linalg.norm(gallery.vectors(NAMES, OLD).vectors, axis=1)
            np.testing.assert_allclose(lengths, 1, atol=1e-6)
    assert shop.content() == before
    for what in (b"attributes", b"index_definition"):
        assert shop.client.execute_command("FT.INFO", shop.index)[what] == info[what]


def test_no_write_of_an_upgrade_takes_anything_of_theirs(url, shop):
    before = shop.content()
    with adopt(url, shop) as gallery:
        gallery.add_space(NEW)
        page = gallery.scan(OLD)
        assert gallery.move(
            page.item_ids, NEW_ROWS, space=NEW, expected_versions=page.versions
        ).all()
        assert shop.content() == before
        assert shop.nearest(ROWS[0])[:2] == ["x 0", "x 3"]  # the application's own search
        gallery.set_metadata(NAMES, [state.metadata for state in gallery.get(NAMES)])
        assert shop.content() == before
        found = gallery.vectors(NAMES, OLD)
        gallery.move(NAMES, found.vectors, space=OLD, expected_versions=found.versions)
        assert shop.content() == before  # not of unit length all of a sudden
        gallery.move(NAMES, NEW_ROWS, space=NEW, expected_versions=found.versions)
        gallery.drop_space(OLD)
        assert gallery.spaces == (NEW,)
        assert gallery.search({NEW: NEW_ROWS[:1]}, 9)[NEW].item_ids[0][0] == "x 0"
    assert shop.content() == before


def test_both_sides_are_searched_while_items_move(url, shop):
    with adopt(url, shop) as gallery:
        gallery.add_space(NEW)
        page = gallery.scan(OLD)
        gallery.move(NAMES[1:3], NEW_ROWS[1:3], space=NEW, expected_versions=page.versions[1:3])
        found = gallery.search({OLD: ROWS[:1], NEW: NEW_ROWS[:1]}, 9)
        assert sorted(found[OLD].item_ids[0]) == ["x 0", "x 3"]
        assert sorted(found[NEW].item_ids[0]) == ["x 1", "x 2"]
        assert gallery.vectors(NAMES, OLD).item_ids == tuple(NAMES)


def test_live_writes_keep_what_they_do_not_name_and_dual_writes_keep_the_old_side(url, shop):
    before = shop.content()
    with adopt(url, shop) as gallery:
        gallery.add_space(NEW)
        row = np.array([[0, 0, 1]], dtype=np.float32)
        gallery.upsert(["x 1"], NEW_ROWS[:1], space=NEW, kept={OLD: row})
        gallery.upsert(["x 2"], NEW_ROWS[:1], space=NEW)  # there is no old vector of its content
        gallery.upsert(["own"], NEW_ROWS[:1], space=NEW, metadata=[{"colour": "green"}])
        after = shop.content()
        for name in NAMES[1:3]:
            vector = after[name].pop("embedding", None)
            before[name].pop("embedding")
            assert after[name] == before[name]
            assert (vector is None) == (name == "x 2")
        assert shop.nearest(row[0])[0] == "x 1"
        assert gallery.vectors(NAMES[1:3], OLD).item_ids == ("x 1",)
        assert gallery.get(["own"])[0].metadata == {"colour": "green"}


def test_changed_metadata_change_nothing_else(url, shop):
    before = shop.content()
    with adopt(url, shop) as gallery:
        (state,) = gallery.get(["x 2"])
        gallery.set_metadata(["x 2"], [state.metadata | {"colour": "grün", "added": 3.5}])
        assert gallery.get(["x 2"])[0].metadata == state.metadata | {
            "colour": "grün",
            "added": 3.5,
        }
        gallery.set_metadata(["x 2"], [{k: v for k, v in state.metadata.items() if k != "colour"}])
    after = shop.content()
    del before["x 2"]["colour"]
    assert after == before


def test_metadata_are_what_the_documents_hold(url, shop):
    with adopt(url, shop) as gallery:
        found = [state.metadata for state in gallery.get(NAMES)]
    for n, metadata in enumerate(found):
        expected = {
            k: v
            for k, v in theirs(n).items()
            if isinstance(v, (str, int, float)) and not k.startswith("_")
        }
        if shop.kind == "hash":
            del expected["new"]
        else:
            expected |= {
                "metadata.source": f"file{n % 2}.txt", "metadata.page": n, "metadata.loc.from": n
            }  # fmt: skip
        assert metadata == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"colour": "red"}, [0]),  # tags of the index do not tell capitals
        ({"colour": ["Red", "light blue"]}, [1, 2]),
        ({"colour": "a{b}|c-d"}, [3]),
        ({"colour": "red*"}, []),
        ({"colour": "none"}, []),
        ({"price": 2.5}, [1]),
        ({"price": [1, -3]}, [0, 2]),
        ({"price": 12345678901234567}, [3]),
        ({"price": Range(at_least=0)}, [0, 1, 3]),
        ({"price": Range(at_most=2.5), "colour": ["red", "Red"]}, [0, 1]),
        ({"price": "1"}, []),
        ({"content": 'text 1 it\'s "quoted" @ {1|2}'}, [1]),  # a text of the index is no tag
        ({"version": "theirs"}, [0, 1, 2, 3]),  # not in the index at all
        ({"literal.dot": "d2"}, [2]),
    ],
)
def test_filters_mean_what_they_mean_everywhere(url, shop, where, expected):
    with adopt(url, shop) as gallery:
        for _ in range(2):  # by their index, then by one of ours
            hits = gallery.search({OLD: ROWS[:1]}, 9, where=where)[OLD]
            assert sorted(hits.item_ids[0]) == [NAMES[n] for n in expected]
            gallery.add_space(NEW)


def test_filters_reach_nested_keys_of_json(url, client):
    from tests.unit.stores.redis.conftest import Shop

    with adopt(url, Shop(client, "json", graph=False)) as gallery:
        for where, expected in [
            ({"metadata.source": "file1.txt"}, [1, 3]),
            ({"metadata.loc.from": Range(2, 3)}, [2, 3]),
            ({"new": True}, [0, 2]),
        ]:
            hits = gallery.search({OLD: ROWS[:1]}, 9, where=where)[OLD]
            assert sorted(hits.item_ids[0]) == [NAMES[n] for n in expected]


def test_a_graph_of_theirs_is_searched_and_followed_by_one_of_ours(url, graph_shop):
    with adopt(url, graph_shop, ef=20) as gallery:
        for _ in range(2):
            assert gallery.search({OLD: ROWS[:1]}, 2)[OLD].item_ids == (("x 0", "x 3"),)
            gallery.add_space(NEW)


def test_documents_that_others_write_later_are_items_and_beat_a_move(url, shop):
    with adopt(url, shop) as gallery:
        gallery.add_space(NEW)
        page = gallery.scan(OLD)
        row = np.array([0, 0, -1], dtype=np.float32)
        shop.put("later", {"embedding": row})
        shop.put("x 1", {"embedding": row})  # past hotfill, while a batch is in flight
        assert gallery.search({OLD: row[None]}, 9)[OLD].item_ids[0][:2] == ("later", "x 1")
        moved = gallery.move(NAMES, NEW_ROWS, space=NEW, expected_versions=page.versions)
        assert moved.tolist() == [True, False, True, True]
        shop.put("x 2", {"embedding": row})  # one that has moved: its item is on the old side again
        assert gallery.recount() == {OLD: 3, NEW: 2}
        assert gallery.scan(OLD).item_ids == ("later", "x 1", "x 2")
        with pytest.raises(StoreError, match="3 items are searched there"):
            gallery.drop_space(OLD)
        shop.client.delete(f"{shop.prefix}later")
        assert gallery.get(["later"]) == [None]
        assert gallery.recount()[OLD] == 2


def test_once_the_old_space_is_gone_others_write_the_new_vectors_and_upgrade_again(url, shop):
    newest = ModelId("newest", "1", 4)
    rows = np.eye(4, dtype=np.float32)
    with adopt(url, shop) as gallery:
        gallery.add_space(NEW)
        page = gallery.scan(OLD)
        gallery.move(NAMES, NEW_ROWS, space=NEW, expected_versions=page.versions)
        gallery.drop_space(OLD)
        shop.put("later", {"hotfill_v2": NEW_ROWS[0] * -9, "colour": "red"})
        assert gallery.recount() == {NEW: 5}
        found = gallery.search({NEW: NEW_ROWS[:1] * -9}, 1, where={"colour": "red"})[NEW]
        assert found.item_ids == (("later",),)
        gallery.add_space(newest)
        page = gallery.scan(NEW)
        made = np.concatenate([rows, rows[:1]])
        shop.put("later", {"hotfill_v2": NEW_ROWS[0] * 9})  # while a batch is in flight
        moved = gallery.move(page.item_ids, made, space=newest, expected_versions=page.versions)
        assert dict(zip(page.item_ids, moved.tolist(), strict=True)) == {
            **dict.fromkeys(NAMES, True),
            "later": False,
        }
        page = gallery.scan(NEW)
        assert page.item_ids == ("later",)
        gallery.move(["later"], rows[:1], space=newest, expected_versions=page.versions)
        kept = gallery.vectors(["later", *NAMES], NEW)
        assert kept.item_ids == ("later", *NAMES)
        np.testing.assert_allclose(kept.vectors[0], NEW_ROWS[0] * 9)
        np.testing.assert_allclose(kept.vectors[1:], NEW_ROWS)
        back = gallery.move(kept.item_ids, kept.vectors, space=NEW, expected_versions=kept.versions)
        assert back.all()
        assert sorted(gallery.search({NEW: NEW_ROWS[:1]}, 9)[NEW].item_ids[0]) == sorted(
            kept.item_ids
        )
        gallery.move(kept.item_ids, made, space=newest, expected_versions=kept.versions)
        gallery.drop_space(NEW)
        assert gallery.recount() == {newest: 5}
    assert all("hotfill_v2" not in fields for fields in shop.fields().values())


def test_documents_without_a_fitting_vector_are_no_items_and_are_told(url, shop):
    shop.put("none", {"colour": "red"})
    shop.put("short", {"embedding": np.ones(2, dtype=np.float32)})
    shop.put("zero", {"embedding": np.zeros(3, dtype=np.float32)})
    with adopt(url, shop, OLD) as gallery:
        assert gallery.count(OLD) == 5
        assert gallery.vectors(["zero", "none", "x 1"], OLD).item_ids == ("x 1",)
        assert "zero" not in gallery.search({OLD: ROWS[:1]}, 9)[OLD].item_ids[0]
        without, zeros = gallery.remarks()
        assert without.startswith("2 of 7 documents have no vector of 3 numbers in ")
        assert zeros.startswith("1 of 5 vectors looked at are all zero")
        assert gallery.delete(["none"]) == 0


def test_lengths_that_a_model_does_not_promise_are_told(url, shop):
    model = ModelId("unit", "1", 3)
    with adopt(url, shop, model) as gallery:
        (lengths,) = gallery.remarks()
        assert lengths.startswith("4 of 4 vectors looked at are not of unit length")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"price": "cheap"}, "takes it as NUMERIC"),
        ({"price": True}, "takes it as NUMERIC"),
        ({"hotfill_side": "s2"}, "hotfill's own"),
    ],
)
def test_what_would_take_a_document_out_of_their_index_is_refused(url, shop, metadata, message):
    before = shop.content()
    with adopt(url, shop) as gallery:
        with pytest.raises(InputError, match=message):
            gallery.set_metadata(["x 0"], [metadata])
        with pytest.raises(InputError, match=message):
            gallery.upsert(["x 0"], ROWS[:1], space=OLD, metadata=[metadata])
    assert shop.content() == before


def test_an_index_that_does_not_fit_is_refused(url, shop):
    for model, vector, message in [
        (ModelId("old", "1", 4), "embedding", "holds vectors with 3 numbers"),
        (ModelId("old", "1", 3, metric="l2"), "embedding", "compares 'embedding' by COSINE"),
        (OLD, "other", "has no vectors called 'other'; it has embedding, picture"),
    ]:
        with pytest.raises(StoreError, match=message):
            adopt(url, shop, model, vector=vector)
    with pytest.raises(StoreError, match="there is no index 'nowhere'"):
        RedisGallery.adopt(url, OLD, index="nowhere")
    adopt(url, shop).close()
    with pytest.raises(StoreError, match="is stamped already"):
        adopt(url, shop, ModelId("stranger", "1", 3))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["PREFIX", 2, "{p}a:", "{p}b:", "SCHEMA"], "over documents with 2 prefixes"),
        (["PREFIX", 1, "{p}", "FILTER", "@n>1", "SCHEMA", "n", "NUMERIC"], "leaves out documents"),
    ],
)
def test_what_an_index_of_ours_could_not_say_too_is_refused(url, client, words, message):
    from tests.redis_server import fresh_name

    name = fresh_name()
    client.execute_command(
        *("FT.CREATE", name, "ON", "HASH", *(str(w).replace("{p}", f"{name}-") for w in words)),
        *("embedding", "VECTOR", "FLAT", 6, "TYPE", "FLOAT32", "DIM", 3),
        *("DISTANCE_METRIC", "COSINE"),
    )
    with pytest.raises(StoreError, match=message):
        RedisGallery.adopt(url, OLD, index=name)


def test_two_galleries_over_the_same_documents_are_refused(url, shop):
    adopt(url, shop).close()
    client = shop.client
    other = f"{shop.index}-other"
    client.execute_command(
        *("FT.CREATE", other, "ON", "HASH", "PREFIX", 1, f"{shop.prefix}x", "SCHEMA"),
        *("embedding", "VECTOR", "FLAT", 6, "TYPE", "FLOAT32", "DIM", 3),
        *("DISTANCE_METRIC", "COSINE"),
    )
    with pytest.raises(StoreError, match="an item would be on sides of both"):
        RedisGallery.adopt(url, OLD, index=other)
