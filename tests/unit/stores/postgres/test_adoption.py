"""A table that is there becomes a gallery; its owner goes on using it with SQL."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError, StoreError
from hotfill.types import ModelId

OLD = ModelId("old", "1", 3)
NEW = ModelId("new", "1", 4, metric="l2", normalised=False)
COLUMNS = (
    "SELECT column_name, data_type, column_default, is_nullable FROM information_schema.columns "
    "WHERE table_name = 'docs' AND table_schema = current_schema() ORDER BY ordinal_position"
)
TRIGGERS = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'docs'::regclass"


@pytest.fixture
def docs(place):
    """A table as people have it: numbers as ids, other columns, vectors of any length, gaps."""
    place.sql(
        "CREATE TABLE docs (id bigserial PRIMARY KEY, title text NOT NULL, embedding vector(3), "
        "facts jsonb)"
    )
    place.sql(
        "INSERT INTO docs (title, embedding, facts) VALUES ('a', '[2,0,0]', '{\"n\": 1}'), "
        '(\'b\', \'[0,3,0]\', \'{"n": 2, "deep": {"x": 1}, "none": null}\'), '
        "('c', '[0,0,4]', NULL), ('no vector yet', NULL, '{}')"
    )
    return place


def adopted(docs, **options):
    return docs.adopt(OLD, table="docs", metadata_column="facts", exact=True, **options)


def test_adopting_changes_nothing_in_the_table_and_lets_it_be_read_and_searched(docs):
    before = docs.sql(COLUMNS), docs.sql(TRIGGERS), docs.sql("SELECT * FROM docs ORDER BY id")
    gallery = adopted(docs)
    assert gallery.spaces == (OLD,)
    assert (gallery.count(OLD), gallery.count(OLD, origin=OLD.fingerprint)) == (3, 3)
    assert gallery.count(OLD, origin="other") == 0
    assert gallery.scan(OLD, limit=2).item_ids == ("1", "2")
    assert gallery.scan(OLD, after="2", limit=2).item_ids == ("3",)
    states = gallery.get(["2", "4", "5", "x", "02", "3"])
    assert [state and state.metadata for state in states] == [{"n": 2}, None, None, None, None, {}]
    assert (states[0].space, states[0].origin) == (OLD, OLD.fingerprint)
    np.testing.assert_allclose(
        gallery.vectors(["3", "4", "1"], OLD).vectors, [[0, 0, 1], [1, 0, 0]]
    )
    hits = gallery.search({OLD: np.array([[1, 1, 0.5]])}, 9)[OLD]
    assert set(hits.item_ids[0][:2]) == {"1", "2"}
    np.testing.assert_allclose(hits.scores[0], [2 / 3, 2 / 3, 1 / 3], atol=1e-6)
    assert gallery.search({OLD: np.ones((1, 3))}, 9, where={"n": 2})[OLD].item_ids == (("2",),)
    after = docs.sql(COLUMNS), docs.sql(TRIGGERS), docs.sql("SELECT * FROM docs ORDER BY id")
    assert after == before


def test_an_adopted_table_is_not_written_before_it_was_asked_for(docs):
    gallery = adopted(docs)
    calls = (
        lambda: gallery.upsert(["1"], np.ones((1, 3)), space=OLD),
        lambda: gallery.move(["1"], np.ones((1, 3)), space=OLD, expected_versions=np.array([0])),
        lambda: gallery.delete(["1"]),
        lambda: gallery.set_metadata(["1"], [{"n": 5}]),
        lambda: gallery.drop_space(OLD),
    )
    for call in calls:
        with pytest.raises(StoreError, match="still as it was"):
            call()


def test_an_adopted_table_is_upgraded_where_it_is(docs):
    gallery = adopted(docs)
    gallery.add_space(NEW)
    assert (gallery.count(OLD), gallery.count(NEW)) == (3, 0)
    page = gallery.scan(OLD)
    rows = np.arange(12, dtype=np.float32).reshape(3, 4) + 1
    moved = gallery.move(page.item_ids, rows, space=NEW, expected_versions=page.versions)
    assert moved.all()
    assert (gallery.count(OLD), gallery.count(NEW), len(gallery)) == (0, 3, 3)
    assert docs.sql("SELECT title, embedding::text FROM docs WHERE id = 2") == [("b", "[0,3,0]")]
    np.testing.assert_allclose(gallery.vectors(["1"], OLD).vectors, [[1, 0, 0]])
    gallery.set_metadata(["1"], [{"n": 9}])
    assert gallery.get(["1"])[0].metadata == {"n": 9}
    assert gallery.delete(["3", "4"]) == 1  # the row without a vector is no item
    gallery.drop_space(OLD)
    assert [row[0] for row in docs.sql(COLUMNS)][:3] == ["id", "title", "facts"]
    assert (gallery.spaces, len(gallery)) == ((NEW,), 2)


def test_items_can_be_written_but_columns_that_hotfill_does_not_know_are_not_made_up(docs):
    gallery = adopted(docs)
    gallery.add_space(NEW)
    stale = gallery.get(["1"])[0].version
    (version,) = gallery.upsert(["1"], np.ones((1, 4)), space=NEW, metadata=[{"n": 7}])
    assert version > stale
    assert docs.sql("SELECT title, embedding FROM docs WHERE id = 1") == [("a", None)]
    with pytest.raises(StoreError, match="must not be empty"):
        gallery.upsert(["77"], np.ones((1, 4)), space=NEW)
    with pytest.raises(InputError, match="bigint"):
        gallery.upsert(["seven"], np.ones((1, 4)), space=NEW)
    docs.sql("ALTER TABLE docs ALTER COLUMN title DROP NOT NULL")
    gallery.upsert(["77"], np.ones((1, 4)), space=NEW)
    assert gallery.get(["77"])[0].space == NEW


def test_what_others_write_with_sql_beats_a_batch_in_flight_and_is_counted(docs):
    gallery = adopted(docs)
    gallery.add_space(NEW)
    page = gallery.scan(OLD)
    docs.sql("UPDATE docs SET embedding = '[1,1,1]' WHERE id = 1")
    docs.sql("DELETE FROM docs WHERE id = 2")
    docs.sql("INSERT INTO docs (title, embedding) VALUES ('late', '[1,2,3]'), ('later', NULL)")
    docs.sql("UPDATE docs SET title = 'C' WHERE id = 3")  # no vector: not content to hotfill
    moved = gallery.move(page.item_ids, np.ones((3, 4)), space=NEW, expected_versions=page.versions)
    assert dict(zip(page.item_ids, moved.tolist(), strict=True)) == {"1": False, "2": False, "3": 1}
    assert (gallery.count(OLD), gallery.count(NEW)) == (2, 1)
    assert set(gallery.scan(OLD).item_ids) == {"1", "5"}

    docs.sql("UPDATE docs SET embedding = '[3,2,1]' WHERE id = 3")  # back to the old side
    assert gallery.get(["3"])[0].space == OLD
    assert gallery.vectors(["3"], NEW).item_ids == ()  # of the earlier content
    column = docs.sql(COLUMNS)[-1][0]
    docs.sql(f"UPDATE docs SET {column} = '[1,2,3,4]' WHERE id = 5")
    state = gallery.get(["5"])[0]
    assert (state.space, state.origin) == (NEW, NEW.fingerprint)
    docs.sql("UPDATE docs SET embedding = NULL WHERE id = 1")
    assert gallery.get(["1"]) == [None]
    assert (gallery.count(OLD), gallery.count(NEW)) == (1, 1)
    docs.sql("TRUNCATE docs")
    assert (gallery.count(OLD), gallery.count(NEW), len(gallery)) == (0, 0, 0)


def test_a_crash_between_adding_columns_and_counting_is_made_good_by_the_next_call(docs):
    gallery = adopted(docs)
    gallery.add_space(NEW)
    docs.sql("UPDATE hotfill_galleries SET revision = revision + 1, "
             "stamp = jsonb_set(stamp, '{counted}', 'false')")  # fmt: skip
    docs.sql("DELETE FROM hotfill_counts")
    again = docs.open(table="docs")
    assert again.count(OLD) == 3
    docs.sql("INSERT INTO docs (title, embedding) VALUES ('late', '[1,2,3]')")
    again.add_space(NEW)
    assert (again.count(OLD), gallery.count(OLD)) == (4, 4)
    assert docs.sql("SELECT sum(items)::int FROM hotfill_counts") == [(4,)]


def test_adopting_again_is_harmless_and_another_model_is_refused(docs):
    adopted(docs).add_space(NEW)
    assert adopted(docs).spaces == (OLD, NEW)
    with pytest.raises(StoreError, match="is stamped already: it holds old@1"):
        docs.adopt(ModelId("other", "1", 3), table="docs")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "nothing"}, "there is no table"),
        ({"id_column": "key"}, "has no column 'key'; it has id, title"),
        ({"vector_column": "title"}, "'title' is text"),
        ({"metadata_column": "title"}, "needs a column of type jsonb or json; 'title' is text"),
        ({"id_column": "title"}, "has no such index"),
        ({"id_column": "facts"}, "it is jsonb, may be empty, has no such index"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_and_nothing_is_made(docs, options, message):
    with pytest.raises(StoreError, match=message):
        docs.adopt(OLD, **{"table": "docs", **options})
    assert docs.sql("SELECT to_regclass('hotfill_galleries')") == [(None,)]


def test_vectors_of_another_dimension_are_refused(docs):
    with pytest.raises(StoreError, match=r"need a column of type vector\(5\)"):
        docs.adopt(ModelId("wide", "1", 5), table="docs")


@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        ("text", ["b", "a", "ä"]),
        ("uuid", ["00000000-0000-0000-0000-00000000000a", "ffffffff-0000-0000-0000-000000000000"]),
        ("smallint", ["-5", "300"]),
    ],
)
def test_ids_of_every_type_are_texts_here(place, kind, ids):
    place.sql(f"CREATE TABLE docs (id {kind} PRIMARY KEY, embedding halfvec(3))")
    for item_id in ids:
        place.sql(f"INSERT INTO docs VALUES (%s::text::{kind}, '[1,2,3]')", item_id)
    gallery = place.adopt(OLD, table="docs")
    gallery.add_space(NEW)
    assert set(gallery.scan(OLD).item_ids) == set(ids)
    assert gallery.get([*ids, "99999", "no id"])[-2:] == [None, None]
    gallery.upsert(ids[:1], np.ones((1, 4)), space=NEW)
    assert gallery.delete([ids[0], "no id"]) == 1
    assert len(gallery) == len(ids) - 1
