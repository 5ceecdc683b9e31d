"""Programs of others know vectors by a column's name, and rows of theirs may share the table."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError, StoreError
from hotfill.types import ModelId

OLD = ModelId("old", "1", 3)
NEW = ModelId("new", "1", 4)
NEWER = ModelId("newer", "1", 2)
MINE, OTHERS = {"kind": "a"}, "SELECT id, kind, embedding::text FROM docs WHERE kind <> 'a'"
TYPE = (
    "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
    "WHERE attrelid = 'docs'::regclass AND attname = 'embedding'"
)


def docs(place, vector="vector", others="[7,8]", n=5):
    place.sql(f"CREATE TABLE docs (id text PRIMARY KEY, kind text, embedding {vector}, facts json)")
    for number in range(n):
        place.sql(
            "INSERT INTO docs VALUES (%s, 'a', %s, %s)",
            f"a{number}",
            f"[{number},1,0]",
            f'{{"n":  {number}}}',
        )
    if others:
        place.sql("INSERT INTO docs VALUES ('b0', 'b', %s), ('b1', 'b', NULL)", others)
    return place


def vectors(n, model, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, model.dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def upgraded(gallery, old, new):
    """Move all items, and return the vectors they have then, by id."""
    gallery.add_space(new)
    page = gallery.scan(old)
    rows = vectors(len(page.item_ids), new)
    assert gallery.move(page.item_ids, rows, space=new, expected_versions=page.versions).all()
    return dict(zip(page.item_ids, rows, strict=True))


def stored(place, where="kind = 'a'"):
    rows = place.sql(f"SELECT id, embedding::text FROM docs WHERE {where}")
    return {name: np.array(text.strip("[]").split(","), np.float32) for name, text in rows}


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, row in wanted.items():
        np.testing.assert_allclose(found[name], row, atol=1e-6)


def test_the_new_vectors_take_the_name_of_the_old_ones(place):
    docs(place, "vector(3) NOT NULL", others="")
    gallery = place.adopt(OLD, table="docs")
    wanted = upgraded(gallery, OLD, NEW)
    assert gallery.rehearse_drop(OLD) == []
    gallery.drop_space(OLD)
    assert_same(stored(place), wanted)
    assert place.sql(TYPE) == [("vector(4)",)]
    assert gallery.rehearse_writes() == []
    with pytest.raises(Exception, match="violates not-null constraint"):
        place.sql("INSERT INTO docs (id) VALUES ('late')")
    place.sql("INSERT INTO docs (id, embedding) VALUES ('late', '[0,9,0,0]')")
    (found,) = gallery.search({NEW: np.eye(4, dtype=np.float32)[1:2]}, 1)[NEW].item_ids
    assert found == ("late",)


def test_vectors_of_any_length_that_others_write_afterwards_are_ranked_by_the_cosine(place):
    docs(place, "vector(3)", others="")
    gallery = place.adopt(OLD, table="docs", exact=True)
    upgraded(gallery, OLD, NEW)
    gallery.drop_space(OLD)
    place.sql("UPDATE docs SET embedding = '[100,100,0,0]' WHERE id = 'a0'")
    place.sql("UPDATE docs SET embedding = '[0.1,0,0,0]' WHERE id = 'a1'")
    hits = gallery.search({NEW: np.eye(4, dtype=np.float32)[:1]}, 2)[NEW]
    assert hits.item_ids == (("a1", "a0"),)
    np.testing.assert_allclose(hits.scores[0], [1, 0.5**0.5], atol=1e-6)


def test_a_table_is_upgraded_again_and_again_under_the_same_name(place):
    docs(place, "vector(3)", others="")
    gallery = place.adopt(OLD, table="docs")
    upgraded(gallery, OLD, NEW)
    gallery.drop_space(OLD)
    wanted = upgraded(gallery, NEW, NEWER)
    gallery.drop_space(NEW)
    assert gallery.spaces == (NEWER,)
    assert_same(stored(place), wanted)


def test_in_a_chain_the_last_space_that_is_left_takes_the_name(place):
    docs(place, "vector(3)", others="")
    gallery = place.adopt(OLD, table="docs")
    upgraded(gallery, OLD, NEW)
    wanted = upgraded(gallery, NEW, NEWER)
    gallery.drop_space(OLD)
    gallery.drop_space(NEW)
    assert_same(stored(place), wanted)


def test_giving_up_leaves_the_column_as_it_was(place):
    docs(place, "vector(3)", others="")
    before = place.sql("SELECT id, kind, embedding::text, facts::text FROM docs ORDER BY 1")
    gallery = place.adopt(OLD, table="docs")
    gallery.add_space(NEW)
    gallery.drop_space(NEW)
    assert place.sql(TYPE) == [("vector(3)",)]
    now = place.sql("SELECT id, kind, embedding::text, facts::text FROM docs ORDER BY 1")
    assert now == before


@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_rows_of_others_in_the_same_table_and_column_stay_as_they_are(place, kind):
    docs(place, kind)
    others = place.sql(OTHERS)
    gallery = place.adopt(OLD, table="docs", rows=MINE)
    assert len(gallery) == 5
    wanted = upgraded(gallery, OLD, NEW)
    gallery.upsert(["a9"], vectors(1, NEW, 9), space=NEW)
    assert place.sql("SELECT kind FROM docs WHERE id = 'a9'") == [("a",)]
    assert gallery.rehearse_drop(OLD) == []
    gallery.drop_space(OLD)
    assert place.sql(OTHERS) == others
    assert place.sql(TYPE) == [(kind,)]
    found = stored(place)
    np.testing.assert_allclose(found.pop("a9"), vectors(1, NEW, 9)[0], atol=1e-3)
    for name, row in wanted.items():
        np.testing.assert_allclose(found[name], row, atol=1e-3 if kind == "halfvec" else 1e-6)
    assert gallery.search({NEW: vectors(1, NEW)}, 9)[NEW].item_ids[0][0] == "a0"


def test_an_id_of_a_row_of_others_is_neither_read_nor_written_nor_deleted(place):
    docs(place)
    others = place.sql(OTHERS)
    gallery = place.adopt(OLD, table="docs", rows=MINE, metadata_column="facts")
    gallery.add_space(NEW)
    assert gallery.get(["b0"]) == [None]
    assert gallery.vectors(["b0"], OLD).item_ids == ()
    assert gallery.delete(["b0", "b1"]) == 0
    gallery.set_metadata(["b0"], [{"n": 5}])
    before = place.sql("SELECT id, kind, embedding, facts::text FROM docs ORDER BY id")
    with pytest.raises(InputError, match="rows of others with one of the ids"):
        gallery.upsert(["a0", "b1", "a7"], vectors(3, NEW), space=NEW)
    after = place.sql("SELECT id, kind, embedding, facts::text FROM docs ORDER BY id")
    assert after == before
    assert place.sql(OTHERS) == others


def test_two_galleries_of_one_table_are_upgraded_beside_each_other(place):
    docs(place)
    first = place.adopt(OLD, table="docs", rows=MINE)
    second = place.adopt(NEWER, table="docs", rows={"kind": "b"})
    with pytest.raises(StoreError, match="has 2 galleries"):
        place.open(table="docs")
    assert place.open(table="docs", rows=MINE).spaces == (OLD,)
    first.claim("one")
    second.claim("two")
    mine = upgraded(first, OLD, NEW)
    theirs = upgraded(second, NEWER, NEW)
    assert (len(first), len(second)) == (5, 1)
    place.sql("UPDATE docs SET embedding = '[1,1]' WHERE id = 'b0'")  # a write beats a move
    assert second.get(["b0"])[0].space == NEWER
    assert first.count(NEW) == 5
    page = second.scan(NEWER)
    rows = np.array(list(theirs.values()))
    second.move(page.item_ids, rows, space=NEW, expected_versions=page.versions)
    first.drop_space(OLD)
    second.drop_space(NEWER)
    assert_same(stored(place), mine)
    assert_same(stored(place, "kind = 'b' AND embedding IS NOT NULL"), theirs)
    assert first.recount() == {NEW: 5}
    assert second.recount() == {NEW: 1}


def test_a_shared_column_of_one_length_needs_another_type_before_and_that_is_said(place):
    docs(place, "vector(3)", others="[7,8,9]")
    gallery = place.adopt(OLD, table="docs", rows=MINE)
    (said,) = [each for each in gallery.remarks(NEW) if "will be refused" in each]
    wanted = upgraded(gallery, OLD, NEW)
    (why,) = gallery.rehearse_drop(OLD)
    assert why in said or "numbers" in why
    statement = why[why.index("ALTER TABLE") : why.index(", after dropping")]
    with pytest.raises(StoreError, match="ALTER TABLE"):
        gallery.drop_space(OLD)
    place.sql(statement)
    assert gallery.rehearse_drop(OLD) == []
    gallery.drop_space(OLD)
    assert_same(stored(place), wanted)


def test_an_index_of_others_that_knows_one_length_only_is_found_before_anything_is_copied(place):
    docs(place)
    place.sql("CREATE INDEX ON docs USING hnsw ((embedding::vector(3)) vector_l2_ops) "
              "WHERE kind = 'a'")  # fmt: skip
    gallery = place.adopt(OLD, table="docs", rows=MINE)
    upgraded(gallery, OLD, NEW)
    before = place.sql("SELECT * FROM docs ORDER BY id")
    (why,) = gallery.rehearse_drop(OLD)
    assert "expected 3 dimensions, not 4" in why
    assert place.sql("SELECT * FROM docs ORDER BY id") == before


def test_dropping_again_after_a_crash_in_the_middle_ends_the_same(place, monkeypatch):
    from hotfill.stores.postgres import schema

    docs(place)
    gallery = place.adopt(OLD, table="docs", rows=MINE)
    wanted = upgraded(gallery, OLD, NEW)

    def crash(*_, **__):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "drop_space", crash)
        with pytest.raises(RuntimeError, match="killed"):
            gallery.drop_space(OLD)
    assert gallery.count(NEW) == 5
    again = place.open(table="docs")
    again.upsert(["a1"], vectors(1, NEW, 4), space=NEW)
    again.drop_space(OLD)
    wanted["a1"] = vectors(1, NEW, 4)[0]
    assert_same(stored(place), wanted)


def test_what_is_written_while_vectors_are_copied_is_not_lost(place, monkeypatch):
    from hotfill.stores.postgres import schema

    docs(place)
    gallery = place.adopt(OLD, table="docs", rows=MINE)
    wanted = upgraded(gallery, OLD, NEW)
    hand_over = schema.hand_over

    def then_written(*given, **options):
        since = hand_over(*given, **options)
        gallery.upsert(["a2", "a8"], vectors(2, NEW, 4), space=NEW)
        return since

    monkeypatch.setattr(schema, "hand_over", then_written)
    gallery.drop_space(OLD)
    wanted["a2"], wanted["a8"] = vectors(2, NEW, 4)
    assert_same(stored(place), wanted)


def test_searches_of_a_shared_column_find_the_index_that_was_built_for_them(place, monkeypatch):
    from hotfill.stores.postgres import schema

    monkeypatch.setattr(schema, "INDEXED_FROM", 3)
    docs(place)
    gallery = place.adopt(OLD, table="docs", rows=MINE)
    gallery.optimise()
    upgraded(gallery, OLD, NEW)
    gallery.drop_space(OLD)
    gallery.optimise()
    indexes = place.sql(
        "SELECT indexdef FROM pg_indexes WHERE tablename = 'docs' "
        "AND schemaname = current_schema() AND strpos(indexdef, 'hnsw') > 0"
    )
    ((text,),) = indexes
    assert "(((embedding)::vector(4)) vector_cosine_ops)" in text.replace("public.", "")
    hits = gallery.search({NEW: vectors(1, NEW)}, 3)[NEW]
    assert hits.item_ids[0][0] == "a0"


def test_metadata_in_json_is_shown_filtered_by_and_written(place):
    docs(place, "vector(3)", others="")
    gallery = place.adopt(OLD, table="docs", metadata_column="facts")
    gallery.add_space(NEW)
    assert gallery.get(["a3"])[0].metadata == {"n": 3}
    found = gallery.search({OLD: np.ones((1, 3))}, 9, where={"n": [2, 3]})[OLD].item_ids[0]
    assert set(found) == {"a2", "a3"}
    gallery.set_metadata(["a3"], [{"n": 9}])
    gallery.upsert(["a4", "x"], vectors(2, NEW), space=NEW, metadata=[{"n": 7}, {"m": 1}])
    metadata = [state.metadata for state in gallery.get(["a3", "a4", "x"])]
    assert metadata == [{"n": 9}, {"n": 7}, {"m": 1}]
    untouched = place.sql("SELECT facts::text FROM docs WHERE id = 'a1'")
    assert untouched == [('{"n":  1}',)]


def test_vectors_of_other_lengths_are_told_when_a_table_is_adopted(place):
    docs(place)
    with pytest.raises(StoreError, match="embedding holds 1 of 2 numbers: say in"):
        place.adopt(OLD, table="docs")
    assert place.sql("SELECT to_regclass('hotfill_galleries')") == [(None,)]
