"""What is special about PostgreSQL: several processes, names, filters in SQL, indexes, failures."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg
import pytest

from hotfill.errors import (
    ConfigError,
    InputError,
    ModelMismatchError,
    StoreBusyError,
    StoreError,
    StoreFullError,
)
from hotfill.stores.postgres import PostgresGallery, connections, schema, statements, table
from hotfill.types import ModelId
from tests.postgres import Server

OLD = ModelId("old", "1", 4)
NEW = ModelId("new", "1", 6, metric="dot", normalised=False)
NEWEST = ModelId("newest", "1", 5, metric="l2", normalised=False)


def rows(n, model, seed=0):
    return np.random.default_rng(seed).normal(size=(n, model.dimension)).astype(np.float32)


# Several processes ------------------------------------------------------------------------------


def test_a_space_that_another_process_adds_or_drops_is_noticed(place):
    gallery, other = place.create(OLD), place.open()
    gallery.upsert(["a", "b"], rows(2, OLD), space=OLD)
    other.add_space(NEW)
    version = other.get(["a"])[0].version
    other.move(["a"], rows(1, NEW), space=NEW, expected_versions=np.array([version]))
    assert gallery.get(["a", "b"])[0].space == NEW
    assert gallery.search({NEW: rows(1, NEW)}, 5)[NEW].item_ids == (("a",),)
    assert (gallery.spaces, gallery.count(NEW)) == ((OLD, NEW), 1)
    other.upsert(["a"], rows(1, OLD), space=OLD)
    other.drop_space(NEW)
    for call in (
        lambda: gallery.search({NEW: rows(1, NEW)}, 5),
        lambda: gallery.vectors(["a"], NEW),
        lambda: gallery.count(NEW),
        lambda: gallery.scan(NEW),
        lambda: gallery.upsert(["a"], rows(1, NEW), space=NEW),
    ):
        with pytest.raises(ModelMismatchError):
            call()


def test_a_space_dropped_and_added_again_is_not_taken_for_the_one_before(place):
    gallery, other = place.create(OLD), place.open()
    gallery.add_space(NEW)
    other.add_space(NEW)
    gallery.drop_space(NEW)
    gallery.add_space(NEW)
    gallery.upsert(["a"], rows(1, NEW), space=NEW)
    assert other.search({NEW: rows(1, NEW)}, 5)[NEW].item_ids == (("a",),)
    assert (other.count(NEW), other.scan(NEW).item_ids) == (1, ("a",))
    assert other.vectors(["a"], NEW).item_ids == ("a",)


def test_a_write_by_an_old_stamp_still_voids_vectors_of_the_earlier_content(place):
    gallery, other = place.create(OLD), place.open()
    versions = gallery.upsert(["a"], rows(1, OLD), space=OLD)
    gallery.add_space(NEW)
    gallery.move(["a"], rows(1, NEW), space=NEW, expected_versions=versions)
    other.upsert(["a"], rows(1, OLD, seed=1), space=OLD)  # it has not heard of NEW yet
    assert gallery.vectors(["a"], NEW).item_ids == ()
    assert (gallery.count(OLD), gallery.count(NEW)) == (1, 0)


def test_counts_stay_exact_while_many_write_and_rows_of_counts_are_added_up(place, monkeypatch):
    monkeypatch.setattr(table, "_ADDED_UP_AFTER", 5)
    gallery = place.create(OLD, connections=6)
    gallery.add_space(NEW)
    names = [f"item{i}" for i in range(30)]
    faults = []

    def work(seed):
        dice = random.Random(seed)
        try:
            for _ in range(25):
                some = dice.sample(names, 6)
                action = dice.choice(["upsert", "move", "delete"])
                space = dice.choice([OLD, NEW])
                if action == "upsert":
                    gallery.upsert(some, rows(6, space), space=space)
                elif action == "delete":
                    gallery.delete(some[:2])
                else:
                    there = [state for state in gallery.get(some) if state is not None]
                    gallery.move(
                        [state.item_id for state in there],
                        rows(len(there), space),
                        space=space,
                        expected_versions=np.array([s.version for s in there], dtype=np.int64),
                        origin=dice.choice([None, "up"]),
                    )
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    states = [state for state in gallery.get(names) if state is not None]
    for space in (OLD, NEW):
        for origin in (None, "up", space.fingerprint):
            expected = sum(
                state.space == space and origin in (None, state.origin) for state in states
            )
            assert gallery.count(space, origin=origin) == expected
    gallery.optimise()
    assert len(gallery) == len(states)
    assert place.sql("SELECT count(*) FROM hotfill_counts")[0][0] <= 4


# Names, ids and values ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ['Über "items"', "items; DROP TABLE x; --", "select", "ITEMS'"])
def test_any_name_of_a_table_is_a_name_and_nothing_else(place, name):
    gallery = place.create(OLD, table=name)
    gallery.upsert(["a"], rows(1, OLD), space=OLD)
    gallery.add_space(NEW)
    gallery.drop_space(NEW)
    gallery.optimise()
    assert place.open(table=name).count(OLD) == 1


@pytest.mark.parametrize("name", ["", "x" * 64, "a%b", "a\0b"])
def test_names_that_postgresql_would_change_are_refused(place, name):
    with pytest.raises(ConfigError, match="the table must be a name"):
        place.create(OLD, table=name)


def test_two_galleries_of_one_schema_do_not_know_each_other(place):
    first, second = place.create(OLD, table="first"), place.create(OLD, table="second")
    first.upsert(["a", "b"], rows(2, OLD), space=OLD)
    second.upsert(["a"], rows(1, OLD), space=OLD)
    second.add_space(NEW)
    assert (len(first), len(second), first.spaces) == (2, 1, (OLD,))
    with pytest.raises(StoreError, match="already exists"):
        place.create(OLD, table="first")
    with pytest.raises(StoreError, match="is not a hotfill gallery"):
        place.open(table="third")


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", "".join(chr(97 + i % 26) for i in range(9))])
def test_ids_that_postgresql_cannot_hold_are_refused(place, bad):
    gallery = place.create(OLD)
    if len(bad) > 5:  # what cannot be compressed is too long for the index
        bad = np.random.default_rng(0).bytes(4000).hex()
    with pytest.raises(InputError):
        gallery.upsert(["good", bad], rows(2, OLD), space=OLD)
    assert len(gallery) == 0


@pytest.mark.parametrize("bad", ["a\0b", "\ud800"])
def test_texts_that_postgresql_cannot_hold_are_refused_in_metadata(place, bad):
    gallery = place.create(OLD)
    with pytest.raises(InputError):
        gallery.upsert(["a"], rows(1, OLD), space=OLD, metadata=[{"t": bad}])
    with pytest.raises(InputError):
        gallery.search({OLD: rows(1, OLD)}, 1, where={"t": bad})


# Kinds of vectors, indexes ------------------------------------------------------------------------


def test_half_vectors_are_kept_in_half_the_room_and_nearly_as_they_were(place):
    gallery = place.create(OLD, half=True)
    gallery.add_space(NEWEST)
    given = rows(20, NEWEST)
    names = [f"item{i}" for i in range(20)]
    gallery.upsert(names, given, space=NEWEST)
    found = gallery.vectors(names, NEWEST).vectors
    np.testing.assert_allclose(found, given, rtol=2e-3, atol=1e-3)
    hits = gallery.search({NEWEST: given[3:4]}, 2)[NEWEST]
    assert hits.item_ids[0][0] == "item3"
    with pytest.raises(InputError):
        gallery.upsert(["a"], np.full((1, 5), 1e6), space=NEWEST)  # too large for 16 bits


def plan_of(gallery, model, query):
    """How the server would search one side."""
    stamp = gallery._table.stamp
    space = stamp.space(model)
    asked = {space: (1, gallery._array(query, space))}
    text, values = statements.search(stamp, asked, 10, None, exact=False).whole(stamp)
    rows = gallery._table.connections.run(
        "explain", lambda c: c.execute(b"EXPLAIN " + text, values).fetchall()
    )
    return "\n".join(line for (line,) in rows)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("dimension", [64, 2100])
def test_an_index_is_built_late_used_and_dropped_when_its_side_is_empty(
    place, monkeypatch, metric, dimension
):
    monkeypatch.setattr(schema, "INDEXED_FROM", 300)
    model = ModelId("m", "1", dimension, metric=metric, normalised=False)
    exact = place.create(model, exact=True)
    # So few items are compared one by one more cheaply; the planner is told not to.
    dsn = f"{place.dsn} options='-c enable_seqscan=off'"
    gallery = place.kept(PostgresGallery.open(dsn, schema=place.schema, ef=200))
    names = [f"item{i}" for i in range(400)]
    versions = gallery.upsert(names, rows(400, model), space=model)
    built = "SELECT indexname FROM pg_indexes WHERE indexname LIKE '%%hnsw' AND schemaname = %s"
    assert place.sql(built, place.schema) == []
    gallery.optimise()
    assert len(place.sql(built, place.schema)) == 1
    queries = rows(5, model, seed=9)
    assert "_hnsw on items" in plan_of(gallery, model, queries[:1])
    found, best = gallery.search({model: queries}, 10)[model], exact.search({model: queries}, 10)
    same = [len(set(a) & set(b)) for a, b in zip(found.item_ids, best[model].item_ids, strict=True)]
    assert sum(same) >= 45
    np.testing.assert_allclose(found.scores[0][0], best[model].scores[0][0], rtol=1e-4)
    assert [len(each) for each in gallery.search({model: queries}, 400)[model].item_ids] == [
        400
    ] * 5
    gallery.add_space(NEW)
    gallery.move(names, rows(400, NEW), space=NEW, expected_versions=versions)
    gallery.optimise()
    assert len(place.sql(built, place.schema)) == 1  # that of the new side


def test_an_index_whose_making_was_cut_short_is_made_again(place, monkeypatch):
    monkeypatch.setattr(schema, "INDEXED_FROM", 10)
    gallery = place.create(OLD)
    gallery.upsert([f"item{i}" for i in range(20)], rows(20, OLD), space=OLD)
    gallery.optimise()
    (name,) = place.sql(
        "SELECT indexname FROM pg_indexes WHERE indexname LIKE '%%hnsw' AND schemaname = %s",
        place.schema,
    )[0]
    place.sql(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", f'"{name}"'
    )
    gallery.optimise()
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
    assert place.sql(valid, f'"{name}"') == [(True,)]


def test_whoever_builds_indexes_and_stands_still_is_named_and_not_waited_for(place, monkeypatch):
    monkeypatch.setattr(schema, "_STILL_SECONDS", 0.3)
    gallery = place.create(OLD)
    with psycopg.connect(place.dsn, autocommit=True) as other:
        key = (schema._BUILD_LOCK, f'"{place.schema}"."items"')
        other.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", key)
        with pytest.raises(
            StoreBusyError, match=rf"pg_terminate_backend\({other.info.backend_pid}\)"
        ):
            gallery.optimise()
    gallery.optimise()


def test_a_process_that_stands_still_within_a_change_of_the_table_keeps_nobody_waiting(
    place, monkeypatch
):
    gallery = place.create(OLD)
    gallery.upsert(["a"], rows(1, OLD), space=OLD)
    monkeypatch.setattr(connections, "STILL_SECONDS", 0.5)
    stopped = connections.Connections(place.dsn, most=1, timeout_seconds=30, settings={})
    locked, woken = threading.Event(), threading.Event()

    def stand_still(connection):
        connection.execute(f'LOCK TABLE "{place.schema}".items IN ACCESS EXCLUSIVE MODE')
        locked.set()
        assert woken.wait(30)
        connection.execute("SELECT 1")

    with ThreadPoolExecutor(1) as pool:
        change = pool.submit(schema.alone, stopped, "change it", place.schema, stand_still)
        assert locked.wait(30)
        assert gallery.search({OLD: rows(1, OLD)}, 1)[OLD].item_ids == (("a",),)
        woken.set()
        with pytest.raises(StoreError, match="could not change it: this process stood still") as e:
            change.result()
    assert e.value.retryable
    stopped.close()


# Failures -----------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_named_at_once():
    with pytest.raises(StoreError, match="could not connect") as caught:
        PostgresGallery.open("host=/nowhere user=x dbname=y")
    assert caught.value.retryable
    with pytest.raises(ConfigError, match="cannot be understood"):
        PostgresGallery.open("this is no dsn")


def test_a_closed_gallery_says_so(place):
    gallery = place.create(OLD)
    gallery.close()
    with pytest.raises(StoreError, match="closed"):
        gallery.count(OLD)


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        ("53100", StoreFullError, True),
        ("53200", StoreError, True),
        ("57014", StoreError, True),
        ("55P03", StoreError, True),
        ("42501", StoreError, False),
        ("25006", StoreError, False),
        ("XX000", StoreError, False),
        ("22023", InputError, None),
    ],
)
def test_the_servers_error_codes_become_our_errors_and_nothing_is_written(
    place, code, kind, retryable
):
    gallery = place.create(OLD)
    place.sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'so it goes' USING ERRCODE = '{code}'; END $$"
    )
    place.sql("CREATE TRIGGER fails BEFORE INSERT ON items EXECUTE FUNCTION fail()")
    with pytest.raises(kind, match="so it goes") as caught:
        gallery.upsert(["a"], rows(1, OLD), space=OLD)
    assert type(caught.value) is kind
    assert getattr(caught.value, "retryable", None) == retryable
    assert len(gallery) == 0


def test_a_transaction_that_lost_against_another_is_done_again(place):
    gallery = place.create(OLD)
    place.sql("CREATE SEQUENCE tries")
    place.sql(
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('tries') < 3 THEN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END IF; "
        "RETURN NULL; END $$"
    )
    place.sql("ALTER FUNCTION lose() SET search_path = " + place.schema)
    place.sql("CREATE TRIGGER loses BEFORE INSERT ON items EXECUTE FUNCTION lose()")
    gallery.upsert(["a"], rows(1, OLD), space=OLD)
    assert len(gallery) == 1


def test_a_statement_that_takes_too_long_is_ended(place):
    place.create(OLD).upsert(["a"], rows(1, OLD), space=OLD)
    gallery = place.open(timeout_seconds=0.2)
    with psycopg.connect(place.dsn) as held:
        held.execute(f"LOCK TABLE {place.schema}.items IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreError, match="timeout") as caught:
            gallery.get(["a"])
    assert caught.value.retryable
    assert gallery.get(["a"])[0] is not None


def test_connections_that_the_server_ended_while_idle_fail_no_later_call(place):
    gallery = place.create(OLD)
    gallery.upsert(["a"], rows(1, OLD), space=OLD)
    at_once = threading.Barrier(4)

    def search():
        at_once.wait()
        return gallery.search({OLD: rows(1, OLD)}, 1)[OLD].item_ids

    with ThreadPoolExecutor(4) as threads:  # so that the pool holds several
        assert {each.result() for each in [threads.submit(search) for _ in range(4)]} == {(("a",),)}
    place.sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE application_name = 'hotfill' AND query LIKE %s",
        f"%{place.schema}%",
    )
    for _ in range(8):
        assert gallery.count(OLD) == 1
        gallery.upsert(["a"], rows(1, OLD), space=OLD)


def test_a_database_without_pgvector_gets_it_with_its_first_gallery(place):
    place.sql("CREATE DATABASE bare")
    bare = place.dsn.replace("dbname=postgres", "dbname=bare")
    try:
        with PostgresGallery.create(bare, OLD) as gallery:
            gallery.upsert(["a"], rows(1, OLD), space=OLD)
            assert len(gallery) == 1
    finally:
        place.sql("DROP DATABASE bare")


def test_a_killed_server_loses_no_acknowledged_move_and_the_same_gallery_goes_on():
    own = Server()
    try:
        with psycopg.connect(own.dsn, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        with PostgresGallery.create(own.dsn, OLD) as gallery:
            gallery.add_space(NEW)
            names = [f"item{i:03}" for i in range(200)]
            versions = gallery.upsert(names, rows(200, OLD), space=OLD)
            moved = []

            def move():
                for start in range(0, 200, 10):
                    part = slice(start, start + 10)
                    try:
                        gallery.move(
                            names[part], rows(10, NEW), space=NEW, expected_versions=versions[part]
                        )
                    except StoreError as error:
                        failures.append(error)
                        return
                    moved.append(start + 10)
                    if len(moved) == 8:
                        ready.set()

            ready, failures = threading.Event(), []
            thread = threading.Thread(target=move)
            thread.start()
            assert ready.wait(60)
            own.kill()
            thread.join()
            own.start()
            assert all(error.retryable for error in failures)
            there = gallery.count(NEW)
            assert there in (moved[-1], moved[-1] + 10)  # the one in flight: all of it or none
            assert gallery.count(OLD) == 200 - there
            assert set(gallery.scan(NEW).item_ids) == set(names[:there])
            assert gallery.move(names, rows(200, NEW), space=NEW, expected_versions=versions).all()
    finally:
        own.remove()
