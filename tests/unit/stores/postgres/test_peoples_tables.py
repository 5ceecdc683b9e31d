"""Tables as people have them: what an upgrade will meet is told before, and nothing is lost."""

from __future__ import annotations

import json
import socket
import struct
import threading

import numpy as np
import psycopg
import pytest

from hotfill.errors import InputError, StoreBusyError, StoreError
from hotfill.stores.postgres import PostgresGallery, schema
from hotfill.types import ModelId
from tests.postgres import Server, server

OLD = ModelId("old", "1", 3)
NEW = ModelId("new", "1", 4)
WIDE = ModelId("wide", "1", 5000)


def ones(n, model):
    return np.ones((n, model.dimension), dtype=np.float32)


def table(place, columns="id bigint PRIMARY KEY, title text, embedding vector(3)", n=6):
    place.sql(f"CREATE TABLE docs ({columns})")
    for number in range(1, n + 1):
        place.sql(
            "INSERT INTO docs (id, embedding) OVERRIDING SYSTEM VALUE VALUES (%s, %s)",
            number,
            f"[{number},1,0]",
        )


def snapshot(place):
    """Everything that is in the schema, but for sequences, which count what was undone too."""
    return [
        place.sql(text)
        for text in (
            "SELECT table_name, column_name, data_type, column_default, is_nullable "
            "FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY 1, 2",
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'docs'::regclass ORDER BY 1",
            "SELECT * FROM docs ORDER BY 1",
            "SELECT * FROM hotfill_galleries",
            "SELECT * FROM hotfill_counts ORDER BY 1, 2, 3, 4",
        )
    ]


# Rehearsing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True])
def test_a_rehearsal_of_a_table_that_can_be_upgraded_finds_nothing_and_leaves_nothing(place, begun):
    table(place)
    gallery = place.adopt(OLD, table="docs")
    if begun:
        gallery.add_space(NEW)
    before = snapshot(place)
    assert gallery.rehearse_writes(NEW) == []
    assert gallery.rehearse_writes() == []
    assert snapshot(place) == before
    gallery.add_space(NEW)
    assert gallery.upsert(["1"], ones(1, NEW), space=NEW).shape == (1,)


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        ("ALTER TABLE docs ADD CHECK (embedding IS NOT NULL)", "docs_embedding_check"),
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RETURN NULL; END $$; "
            "CREATE TRIGGER no BEFORE UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION no()",
            "no row was touched",
        ),
        ("CREATE RULE no AS ON UPDATE TO docs DO INSTEAD NOTHING", "could not write an item"),
        ("CREATE RULE no AS ON DELETE TO docs DO INSTEAD NOTHING", "could not delete an item"),
    ],
)
def test_what_a_table_forbids_is_found_by_the_rehearsal(place, spoiled, said):
    table(place)
    for statement in spoiled.split("; CREATE TRIGGER"):
        head = "CREATE TRIGGER" if not statement.startswith(("ALTER", "CREATE")) else ""
        place.sql(head + statement)
    gallery = place.adopt(OLD, table="docs")
    before = snapshot(place)
    problems = gallery.rehearse_writes(NEW)
    assert problems
    assert any(said in problem for problem in problems), problems
    assert snapshot(place) == before


@pytest.fixture
def guest(place):
    """A user with few rights, who may do in the schema what hotfill needs of it."""
    place.sql(f"CREATE ROLE {place.schema}_guest LOGIN")
    place.sql(f"GRANT USAGE, CREATE ON SCHEMA {place.schema} TO {place.schema}_guest")
    yield f"{place.schema}_guest"
    place.sql(f"DROP OWNED BY {place.schema}_guest CASCADE")
    place.sql(f"DROP ROLE {place.schema}_guest")


def test_missing_rights_are_found_by_the_rehearsal(place, guest):
    table(place)
    place.sql(f"GRANT SELECT ON docs TO {guest}")
    dsn = place.dsn.replace("user=hotfill", f"user={guest}")
    with PostgresGallery.adopt(dsn, OLD, table="docs", schema=place.schema) as gallery:
        (problem,) = gallery.rehearse_writes(NEW)
        assert "must be owner of table docs" in problem
        assert "grant the right" in problem


def test_rows_that_row_level_security_hides_are_found_by_the_rehearsal(place, guest):
    table(place)
    place.sql(f"GRANT ALL ON docs TO {guest}")
    place.sql("ALTER TABLE docs ENABLE ROW LEVEL SECURITY")
    place.sql("CREATE POLICY half ON docs USING (id < 4)")
    dsn = place.dsn.replace("user=hotfill", f"user={guest}")
    with PostgresGallery.adopt(dsn, OLD, table="docs", schema=place.schema) as gallery:
        problems = gallery.rehearse_writes()
        assert any("row-level security hides rows" in problem for problem in problems)


def test_rows_of_other_tables_that_forbid_a_deletion_are_no_problem(place):
    table(place)
    place.sql("CREATE TABLE likes (doc bigint REFERENCES docs (id))")
    place.sql("INSERT INTO likes SELECT id FROM docs")
    assert place.adopt(OLD, table="docs").rehearse_writes(NEW) == []


# Tables as they are -------------------------------------------------------------------------------


def test_rows_whose_ids_the_table_gives_out_are_written_again_and_new_ones_refused(place):
    table(place, "id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, embedding vector(3)")
    gallery = place.adopt(OLD, table="docs")
    assert gallery.rehearse_writes(NEW) == []
    assert any("GENERATED ALWAYS" in remark for remark in gallery.remarks())
    gallery.add_space(NEW)
    gallery.upsert(["2", "1"], ones(2, NEW), space=NEW)
    assert [state.space for state in gallery.get(["1", "2", "3"])] == [NEW, NEW, OLD]
    with pytest.raises(InputError, match=r"no item 77: insert new rows with your own") as caught:
        gallery.upsert(["3", "77"], ones(2, NEW), space=NEW)
    assert "nothing was written" in str(caught.value)
    assert gallery.get(["3"])[0].space == OLD


def test_a_column_of_vectors_that_must_not_be_empty_may_be_during_an_upgrade_only(place):
    table(place, "id bigint PRIMARY KEY, embedding vector(3) NOT NULL")
    required = (
        "SELECT attnotnull FROM pg_attribute "
        "WHERE attrelid = 'docs'::regclass AND attname = 'embedding'"
    )
    gallery = place.adopt(OLD, table="docs")
    assert gallery.rehearse_writes(NEW) == []
    gallery.add_space(NEW)
    gallery.upsert(["1"], ones(1, NEW), space=NEW)  # the old model is gone: no vector of it
    assert gallery.get(["1"])[0].space == NEW
    gallery.upsert(["1"], ones(1, OLD), space=OLD)
    gallery.drop_space(NEW)
    assert place.sql(required) == [(True,)]
    gallery.add_space(NEW)
    assert place.sql(required) == [(False,)]
    place.sql("INSERT INTO docs (id) VALUES (99)")
    gallery.drop_space(NEW)
    assert place.sql(required) == [(False,)]  # a row has none: as it is, and no error


ABOUT_A_VIEW = (
    "SELECT pg_get_viewdef(c.oid), pg_get_userbyid(relowner), reloptions, "
    "obj_description(c.oid, 'pg_class'), col_description(c.oid, 2), "
    "(SELECT array_agg(x::text ORDER BY x::text) FROM aclexplode(relacl) x) "
    "FROM pg_class c WHERE relname = 'search_docs'"
)


@pytest.mark.parametrize(
    "definition",
    [
        "SELECT id, embedding FROM docs",
        "SELECT d.embedding AS vec, d.id FROM docs d WHERE d.id > 0 ORDER BY d.id",
        "SELECT a.id, a.embedding FROM docs a JOIN docs b USING (id)",
        "SELECT id, embedding FROM docs WHERE id > 3 UNION ALL SELECT id, embedding FROM docs",
    ],
)
def test_a_view_that_shows_the_vectors_shows_the_new_ones_after(place, definition):
    table(place)
    place.sql(
        "DROP ROLE IF EXISTS view_owner; DROP ROLE IF EXISTS view_reader; "
        "CREATE ROLE view_owner SUPERUSER; CREATE ROLE view_reader"
    )
    place.sql(f"CREATE VIEW search_docs WITH (security_barrier = true) AS {definition}")
    place.sql(
        "ALTER VIEW search_docs OWNER TO view_owner; SET ROLE view_owner; "
        "GRANT SELECT ON search_docs TO PUBLIC; "
        "GRANT SELECT, INSERT ON search_docs TO view_reader WITH GRANT OPTION; RESET ROLE; "
        "COMMENT ON VIEW search_docs IS 'what people''s programs ask'"
    )
    (column,) = place.sql(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'search_docs'::regclass AND attnum = 2"
    )[0]
    place.sql(f"COMMENT ON COLUMN search_docs.{column} IS 'the second'")
    before = place.sql(ABOUT_A_VIEW)
    gallery = place.adopt(OLD, table="docs")
    assert any("makes it again" in remark for remark in gallery.remarks(NEW))
    gallery.add_space(NEW)
    page = gallery.scan(OLD)
    gallery.move(page.item_ids, ones(6, NEW), space=NEW, expected_versions=page.versions)
    assert gallery.rehearse_drop(OLD) == []
    assert place.sql(ABOUT_A_VIEW) == before
    gallery.drop_space(OLD)
    assert place.sql(ABOUT_A_VIEW) == before
    name = "vec" if "vec" in definition else "embedding"
    lengths = place.sql(f"SELECT DISTINCT vector_dims({name}) FROM search_docs")
    assert lengths == [(NEW.dimension,)]
    place.sql("DROP VIEW search_docs; DROP ROLE view_owner; DROP ROLE view_reader")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("VIEW search_docs AS SELECT id, vector_dims(embedding) AS n FROM docs", "more than show"),
        ("VIEW search_docs AS SELECT id FROM docs WHERE embedding IS NOT NULL", "more than show"),
        ("VIEW search_docs AS SELECT DISTINCT embedding, id FROM docs", "more than show"),
        ("MATERIALIZED VIEW search_docs AS SELECT id, embedding FROM docs", "keeps a copy"),
        (
            "VIEW search_docs AS SELECT id, embedding FROM docs; "
            "CREATE RULE nothing AS ON DELETE TO search_docs DO INSTEAD NOTHING",
            "has rules",
        ),
        (
            "VIEW search_docs AS SELECT id, embedding FROM docs; "
            "ALTER VIEW search_docs ALTER COLUMN id SET DEFAULT 3",
            "has defaults of columns",
        ),
    ],
)
def test_a_view_that_does_more_is_named_before_and_keeps_the_column(place, made, why):
    table(place)
    place.sql(f"CREATE {made}")
    kind = made.partition(" search")[0]
    gallery = place.adopt(OLD, table="docs")
    (said,) = [remark for remark in gallery.remarks(NEW) if "search_docs" in remark]
    assert f"run DROP {kind} " in said
    assert f"it is CREATE {kind} " in said
    assert why in said
    gallery.add_space(NEW)
    page = gallery.scan(OLD)
    gallery.move(page.item_ids, ones(6, NEW), space=NEW, expected_versions=page.versions)
    with pytest.raises(StoreError, match=why):
        gallery.drop_space(OLD)
    assert gallery.spaces == (OLD, NEW)
    assert gallery.search({NEW: ones(1, NEW)}, 9)[NEW].item_ids[0]
    place.sql(f"DROP {kind} search_docs")
    gallery.drop_space(OLD)
    assert gallery.remarks() == []


def test_a_view_of_a_view_keeps_the_column_and_nothing_is_changed(place):
    table(place)
    place.sql("CREATE VIEW search_docs AS SELECT id, embedding FROM docs")
    place.sql("CREATE VIEW of_it AS SELECT embedding FROM search_docs")
    gallery = place.adopt(OLD, table="docs")
    gallery.add_space(NEW)
    page = gallery.scan(OLD)
    gallery.move(page.item_ids, ones(6, NEW), space=NEW, expected_versions=page.versions)
    (why,) = gallery.rehearse_drop(OLD)
    assert why in gallery.remarks()
    with pytest.raises(StoreError, match=r"search_docs.* has others that depend on it"):
        gallery.drop_space(OLD)
    assert gallery.spaces == (OLD, NEW)
    assert place.sql("SELECT count(*) FROM of_it") == [(6,)]


def test_a_column_made_of_the_vectors_is_named_before(place):
    table(
        place,
        "id bigint PRIMARY KEY, embedding vector(3), "
        "length real GENERATED ALWAYS AS (vector_norm(embedding)) STORED",
    )
    gallery = place.adopt(OLD, table="docs")
    assert any("column length of table" in remark for remark in gallery.remarks())


def test_stored_gaps_zeros_and_lengths_are_counted_and_zeros_are_moved_like_others(place):
    table(place)
    place.sql("UPDATE docs SET embedding = NULL WHERE id = 1")
    place.sql("UPDATE docs SET embedding = '[0,0,0]' WHERE id = 2")
    gallery = place.adopt(OLD, table="docs")
    gaps, zeros, lengths = gallery.remarks()
    assert gaps.startswith("1 of 6 rows have no vector in embedding")
    assert zeros.startswith("1 of 5 vectors are all zero")
    assert lengths.startswith("4 of 5 vectors looked at are not of unit length")
    assert gallery.vectors(["1", "2", "3"], OLD).item_ids == ("3",)
    gallery.add_space(NEW)
    page = gallery.scan(OLD)
    assert page.item_ids == ("2", "3", "4", "5", "6")
    moved = gallery.move(page.item_ids, ones(5, NEW), space=NEW, expected_versions=page.versions)
    assert moved.all()
    assert place.sql("SELECT embedding::text FROM docs WHERE id = 2") == [("[0,0,0]",)]


def test_more_dimensions_than_an_index_has_are_told_with_what_they_cost(place):
    table(place)
    (remark,) = [line for line in place.adopt(OLD, table="docs").remarks(WIDE) if "index" in line]
    assert "5,000 dimensions" in remark
    assert "all 6 of them" in remark


def test_a_column_without_a_length_gets_the_statement_to_run(place):
    table(place, "id bigint PRIMARY KEY, embedding vector")
    gallery = place.adopt(OLD, table="docs")
    assert gallery.count(OLD) == 6
    (said,) = [each for each in gallery.remarks(NEW) if "has no length" in each]
    place.sql(said[said.index("ALTER TABLE") :])
    assert not any("has no length" in each for each in gallery.remarks(NEW))
    assert place.adopt(OLD, table="docs").count(OLD) == 6


@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_moved_there_and_back_vectors_have_the_length_that_they_had(place, kind):
    table(place, f"id bigint PRIMARY KEY, title text, embedding {kind}(3)")
    place.sql("UPDATE docs SET embedding = '[2.7,-41,0.123]' WHERE id = 2")
    before = place.sql("SELECT id, embedding::text FROM docs ORDER BY id")
    gallery = place.adopt(OLD, table="docs")
    gallery.add_space(NEW)
    page = gallery.scan(OLD)
    gallery.move(page.item_ids, ones(6, NEW), space=NEW, expected_versions=page.versions)
    found = gallery.vectors(page.item_ids, OLD)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-3)
    back = found.vectors.copy()
    back[0] = [0, 0, 1]  # another one is written
    gallery.move(found.item_ids, back, space=OLD, expected_versions=found.versions)
    assert gallery.count(OLD) == 6
    after = place.sql("SELECT id, embedding::text FROM docs ORDER BY id")
    assert after == [(1, "[0,0,1]"), *before[1:]]


def test_a_partitioned_table_is_upgraded_and_gets_no_index(place, monkeypatch):
    monkeypatch.setattr(schema, "INDEXED_FROM", 3)
    place.sql(
        "CREATE TABLE docs (id bigint PRIMARY KEY, embedding vector(3)) PARTITION BY HASH (id)"
    )
    for n in range(2):
        place.sql(
            f"CREATE TABLE docs_{n} PARTITION OF docs FOR VALUES WITH (MODULUS 2, REMAINDER {n})"
        )
    place.sql("INSERT INTO docs SELECT n, '[0,0,1]' FROM generate_series(1, 6) n")
    gallery = place.adopt(OLD, table="docs")
    assert gallery.rehearse_writes(NEW) == []
    assert any("is partitioned" in remark for remark in gallery.remarks())
    gallery.add_space(NEW)
    page = gallery.scan(OLD)
    gallery.move(page.item_ids, ones(6, NEW), space=NEW, expected_versions=page.versions)
    place.sql("UPDATE docs SET embedding = '[1,0,0]' WHERE id = 1")  # by SQL of their own
    assert (gallery.count(OLD), gallery.count(NEW)) == (1, 5)
    place.sql("INSERT INTO docs_0 SELECT n, '[0,0,1]' FROM generate_series(50, 99) n "
              "WHERE satisfies_hash_partition('docs'::regclass, 2, 0, n::bigint)")  # fmt: skip
    gallery.optimise()
    counted = gallery.recount()
    assert counted[OLD] == place.sql("SELECT count(*) FROM docs WHERE hotfill_space = 1")[0][0] > 1


def test_triggers_that_moves_fire_are_named(place):
    table(place)
    place.sql("CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS "
              "$$ BEGIN NEW.title := 'touched'; RETURN NEW; END $$")  # fmt: skip
    place.sql("CREATE TRIGGER touch BEFORE UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION touch()")
    place.sql("CREATE TRIGGER of_title BEFORE UPDATE OF title ON docs "
              "FOR EACH ROW EXECUTE FUNCTION touch()")  # fmt: skip
    gallery = place.adopt(OLD, table="docs")
    gallery.add_space(NEW)
    (remark,) = [line for line in gallery.remarks() if "fires" in line]
    assert "fires touch:" in remark


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_what_is_no_table_is_not_taken_over(place, kind):
    table(place)
    place.sql(f"CREATE {kind} seen AS SELECT * FROM docs")
    with pytest.raises(StoreError, match=kind.lower()):
        place.adopt(OLD, table="seen")


# What hotfill does not show -----------------------------------------------------------------------

HIDDEN = {
    "deep": {"x": [1]},
    "list": [1, "a"],
    "none": None,
    "_own": "y",
    'quo"te': 1,
    "big": 2**70,
}


@pytest.mark.parametrize("way", ["set_metadata", "upsert"])
def test_metadata_read_changed_and_written_back_loses_nothing(place, way):
    place.sql("CREATE TABLE docs (id bigint PRIMARY KEY, embedding vector(3), facts jsonb)")
    given = {**HIDDEN, "n": 1, "half": 0.5, "t": "x", "yes": True}
    place.sql("INSERT INTO docs VALUES (1, '[1,2,3]', %s), (2, '[1,2,3]', NULL)", json.dumps(given))
    gallery = place.adopt(OLD, table="docs", metadata_column="facts")
    gallery.add_space(NEW)
    shown = gallery.get(["1"])[0].metadata
    assert shown == {"n": 1, "half": 0.5, "t": "x", "yes": True}
    changed = {key: value for key, value in {**shown, "n": 2}.items() if key != "t"}
    if way == "set_metadata":
        gallery.set_metadata(["1", "2"], [changed, {"n": 3}])
    else:
        gallery.upsert(["1", "2"], ones(2, NEW), space=NEW, metadata=[changed, {"n": 3}])
    assert place.sql("SELECT facts FROM docs ORDER BY id") == [
        ({**HIDDEN, "n": 2, "half": 0.5, "yes": True},),
        ({"n": 3},),
    ]


def test_a_filter_of_many_values_means_what_one_of_few_means(place):
    gallery = place.create(OLD)
    values = [1, 2.0, "1", True, "x", 0.5, False]
    names = [f"item{i}" for i in range(len(values))]
    gallery.upsert(names, ones(7, OLD), space=OLD, metadata=[{"v": value} for value in values])
    for wanted in ([1, 2, "x"], ["1", True], [0.5, 1.0, 99]):
        few = gallery.search({OLD: ones(1, OLD)}, 9, where={"v": wanted})[OLD].item_ids
        many = [*wanted, *(f"none{i}" for i in range(900))]
        assert gallery.search({OLD: ones(1, OLD)}, 9, where={"v": many})[OLD].item_ids == few


@pytest.mark.parametrize("method", ["hnsw", "ivfflat"])
def test_a_column_that_people_have_indexed_is_indexed_when_new_vectors_stand_in_it(place, method):
    table(place)
    place.sql(f"CREATE INDEX theirs ON docs USING {method} (embedding vector_cosine_ops)")
    gallery = place.adopt(OLD, table="docs")
    gallery.add_space(NEW)
    assert gallery.indexed(OLD) == 1  # so few would need none: searches must not lose it
    page = gallery.scan(OLD)
    gallery.move(page.item_ids, ones(6, NEW), space=NEW, expected_versions=page.versions)
    assert gallery.indexed(NEW) == 0
    gallery.optimise()
    assert gallery.indexed(NEW) == 1
    gallery.drop_space(OLD)
    gallery.optimise()
    (made,) = place.sql(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = %s AND indexdef LIKE '%%hnsw%%'",
        place.schema,
    )[0]
    assert "(embedding vector_cosine_ops)" in made


# Counts -------------------------------------------------------------------------------------------


def without_triggers(place, statement):
    """Write as a restore with disabled triggers or a replica does."""
    with psycopg.connect(place.dsn, options=f"-c search_path={place.schema},public") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement)


def test_rows_that_came_without_triggers_are_counted_for_real_and_keep_their_space(place):
    table(place)
    gallery = place.adopt(OLD, table="docs")
    gallery.add_space(NEW)
    page = gallery.scan(OLD)
    gallery.move(page.item_ids, ones(6, NEW), space=NEW, expected_versions=page.versions)
    without_triggers(place, "INSERT INTO docs (id, embedding) VALUES (70, '[1,2,3]')")
    assert gallery.count(OLD) == 0  # what the triggers know
    assert (gallery.count_rows(OLD), gallery.count_rows(NEW)) == (1, 6)
    with pytest.raises(StoreError, match="1 items are searched there"):
        gallery.drop_space(OLD)
    assert place.sql("SELECT embedding::text FROM docs WHERE id = 70") == [("[1,2,3]",)]
    assert gallery.recount() == {OLD: 1, NEW: 6}
    assert (gallery.count(OLD), gallery.count(NEW)) == (1, 6)
    page = gallery.scan(OLD)
    gallery.move(page.item_ids, ones(1, NEW), space=NEW, expected_versions=page.versions)
    gallery.drop_space(OLD)
    column = gallery._table.stamp.spaces[0].column
    without_triggers(place, f"INSERT INTO docs (id, {column}) VALUES (71, '[1,2,3,4]')")
    assert gallery.recount() == {NEW: 8}
    assert gallery.get(["71"])[0].space == NEW


def test_an_adopted_table_is_counted_before_anything_was_added_to_it(place):
    table(place)
    assert place.adopt(OLD, table="docs").recount() == {OLD: 6}


# Who has the gallery ------------------------------------------------------------------------------


def test_a_gallery_is_claimed_by_one_upgrade_at_a_time(place):
    gallery, other = place.create(OLD), place.open()
    gallery.claim("journal-1")
    gallery.claim("journal-1")
    with pytest.raises(StoreBusyError, match="upgraded by journal-1, not by journal-2"):
        other.claim("journal-2")
    other.release("journal-2")
    with pytest.raises(StoreBusyError):
        other.claim("journal-2")
    gallery.add_space(NEW)
    other.claim("journal-1")
    gallery.release("journal-1")
    other.claim("journal-2")


# Where pgvector is, and who stands between --------------------------------------------------------


@pytest.fixture(scope="module")
def elsewhere():
    """A server whose pgvector is in a schema that is on nobody's search path."""
    own = Server()
    with psycopg.connect(own.dsn, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA extensions")
        connection.execute("CREATE EXTENSION vector SCHEMA extensions")
    yield own
    own.remove()


@pytest.mark.parametrize("dimension", [3, 2100])
@pytest.mark.parametrize("half", [False, True])
def test_pgvector_may_be_in_any_schema(elsewhere, dimension, half, monkeypatch):
    monkeypatch.setattr(schema, "INDEXED_FROM", 3)
    old, new = ModelId("old", "1", dimension), ModelId("new", "1", dimension + 1, metric="l2")
    name = f"docs_{dimension}_{half}".lower()
    row = "[" + ",".join(["1"] * dimension) + "]"
    with psycopg.connect(elsewhere.dsn, autocommit=True) as connection:
        kind = "halfvec" if half else "vector"
        connection.execute(
            f"CREATE TABLE {name} (id bigint PRIMARY KEY, embedding extensions.{kind}({dimension}))"
        )
        connection.execute(f"INSERT INTO {name} SELECT n, '{row}' FROM generate_series(1, 5) n")
    with PostgresGallery.adopt(elsewhere.dsn, old, table=name, half=half) as gallery:
        assert gallery.rehearse_writes(new) == []
        gallery.remarks(new)
        gallery.add_space(new)
        page = gallery.scan(old)
        gallery.move(page.item_ids, ones(5, new), space=new, expected_versions=page.versions)
        gallery.upsert(["9"], ones(1, new), space=new, kept={old: ones(1, old)})
        gallery.optimise()
        assert len(gallery.search({new: ones(1, new)}, 9)[new].item_ids[0]) == 6
        assert gallery.vectors(["9", "1"], old).item_ids == ("9", "1")
        gallery.drop_space(old)
    with PostgresGallery.create(elsewhere.dsn, old, table=f"made_{name}", half=half) as gallery:
        gallery.upsert(["a"], ones(1, old), space=old)
        assert gallery.search({old: ones(1, old)}, 1)[old].item_ids == (("a",),)


def _pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        end.close()


def _without_options(packet):
    """Take `options` out of a start-up packet: four bytes, then names and values, each ended."""
    words = packet[4:].split(b"\0")
    kept = [
        word + b"\0" + value + b"\0"
        for word, value in zip(words[::2], words[1::2], strict=False)
        if word and word != b"options"
    ]
    return packet[:4] + b"".join(kept) + b"\0"


@pytest.fixture
def pooler():
    """Stands for a pooler that was told to ignore the start-up parameter `options`."""
    door = socket.create_server(("127.0.0.1", 0))

    def serve(client):
        body = b"\x04\xd2"
        while body[:2] == b"\x04\xd2":  # asks for encryption
            (length,) = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))
            body = client.recv(length - 4, socket.MSG_WAITALL)
            if body[:2] == b"\x04\xd2":
                client.sendall(b"N")
        packet = _without_options(body)
        back = socket.socket(socket.AF_UNIX)
        back.connect(f"{server().folder}/.s.PGSQL.5432")
        back.sendall(struct.pack("!I", len(packet) + 4) + packet)
        threading.Thread(target=_pump, args=(back, client), daemon=True).start()
        _pump(client, back)

    def listen():
        while True:
            try:
                client, _ = door.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    yield f"host=127.0.0.1 port={door.getsockname()[1]} user=hotfill dbname=postgres"
    door.close()


def test_behind_a_pooler_that_drops_settings_each_transaction_has_them(place, pooler):
    table(place)
    with PostgresGallery.adopt(
        pooler, OLD, table="docs", schema=place.schema, timeout_seconds=0.5
    ) as gallery:
        assert gallery.rehearse_writes(NEW) == []
        assert any("drops the start-up parameter" in remark for remark in gallery.remarks())
        gallery.add_space(NEW)
        page = gallery.scan(OLD)
        gallery.move(page.item_ids, ones(6, NEW), space=NEW, expected_versions=page.versions)
        gallery.upsert(["1"], ones(1, NEW), space=NEW, kept={OLD: ones(1, OLD)})
        assert place.sql("SELECT count(embedding) FROM docs") == [(6,)]  # the way back
        assert gallery.vectors(page.item_ids, OLD).item_ids == page.item_ids
        with psycopg.connect(place.dsn) as held:
            held.execute(f"LOCK TABLE {place.schema}.docs IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreError, match="timeout"):
                gallery.get(["1"])
        gallery.optimise()
        gallery.drop_space(OLD)
        assert gallery.count(NEW) == 6
