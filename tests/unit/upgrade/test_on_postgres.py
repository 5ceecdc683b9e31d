"""Upgrades of a PostgreSQL table that others use too: who has it, and what hangs on it."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

import hotfill
from hotfill.cli.doctor import check_up
from hotfill.config import read
from hotfill.errors import HeldError, StoreBusyError
from hotfill.stores.coded import CodedGallery
from hotfill.stores.postgres import PostgresGallery
from hotfill.types import ModelId
from hotfill.upgrade import control
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.state import POLL_SECONDS
from tests import postgres
from tests.acceptance.postgres_project import make_project
from tests.unit.upgrade.small import NEW, OLD, Projection, contents, filled, upgrade

ITEMS = 120
OTHER = ModelId("other", "1", 6)


@pytest.fixture
def table():
    """A schema of its own with a gallery of 120 items, and its contents."""
    schema, source = postgres.fresh_schema(), contents(ITEMS)
    with PostgresGallery.create(postgres.server().dsn, OLD, schema=schema, exact=True) as made:
        filled(source, made)
    return schema, source


@pytest.fixture
def opened(table):
    """Opens the gallery as one more process would."""
    made = []

    def open_():
        made.append(PostgresGallery.open(postgres.server().dsn, schema=table[0], exact=True))
        return made[-1]

    yield open_
    for gallery in made:
        gallery.close()


def of(folder, table, gallery, **changes):
    return upgrade(folder, source=table[1], gallery=gallery, **changes)


def ask(statement: str, schema: str) -> None:
    with psycopg.connect(postgres.server().dsn) as connection:
        connection.execute(statement.format(schema=schema))


def test_a_second_upgrade_is_refused_with_the_name_of_the_first(table, opened, tmp_path):
    first = of(tmp_path / "first", table, opened())
    first.start()
    second = of(
        tmp_path / "second", table, opened(), new_embedder=Projection(OTHER), strategy="merge"
    )
    with pytest.raises(StoreBusyError, match=rf"upgraded by new.*{first.journal.identity}"):
        second.start()
    assert second.phase is Phase.PLANNED
    assert OTHER not in second.gallery.spaces
    first.abort()
    second.start()
    assert second.gallery.count(OTHER) == ITEMS


def test_a_lost_journal_is_replaced_once_the_operator_says_so(table, opened, tmp_path):
    of(tmp_path / "lost", table, opened()).start()
    anew = of(tmp_path / "anew", table, opened())
    with pytest.raises(StoreBusyError, match="adopt --take-over"):
        anew.start()
    anew.take_over()
    anew.start()
    assert anew.verify().passed
    assert anew.cutover().phase is Phase.CUT_OVER


def test_an_upgrade_that_could_not_begin_keeps_nobody_out(table, opened, tmp_path):
    first = of(tmp_path / "first", table, opened(), new_embedder=_Broken())
    with pytest.raises(Exception, match="broken"):
        first.start()
    second = of(
        tmp_path / "second", table, opened(), new_embedder=Projection(OTHER), strategy="merge"
    )
    assert second.start().phase is Phase.BACKFILLED


class _Broken:
    model_id = NEW

    def __call__(self, contents):
        raise RuntimeError("broken")


def test_complete_is_refused_as_long_as_a_view_needs_the_old_vectors(table, opened, tmp_path):
    up = of(tmp_path, table, opened())
    up.start()
    up.verify()
    up.cutover()
    ask("CREATE VIEW {schema}.shown AS SELECT * FROM {schema}.items", table[0])
    with pytest.raises(HeldError, match="shown"):
        up.complete()
    assert up.phase is Phase.CUT_OVER
    ask("DROP VIEW {schema}.shown", table[0])
    assert up.complete().phase is Phase.COMPLETED
    assert up.gallery.spaces == (NEW,)


def test_a_plan_names_the_view_that_will_be_in_the_way(table, opened, tmp_path):
    ask("CREATE VIEW {schema}.shown AS SELECT * FROM {schema}.items", table[0])
    made = of(tmp_path, table, opened()).plan()
    assert [note for note in made.notes if "shown" in note]
    assert made.blockers == ()


def test_a_plan_is_blocked_by_a_table_that_refuses_writes(table, opened, tmp_path):
    ask("ALTER TABLE {schema}.items ADD CHECK (false) NOT VALID", table[0])
    made = of(tmp_path, table, opened()).plan()
    assert [line for line in made.blockers if "check constraint" in line]


def test_a_small_table_that_people_have_indexed_is_searched_by_an_index_during_the_upgrade(
    table, tmp_path
):
    """The engine compares 3,000 x 384 with all in ten times the time of a graph."""
    with psycopg.connect(postgres.server().dsn) as connection:
        (column,) = connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s "
            "AND udt_name = 'vector'",
            (table[0],),
        ).fetchone()
    ask(f"CREATE INDEX ON {{schema}}.items USING hnsw ({column} vector_cosine_ops)", table[0])
    with PostgresGallery.open(postgres.server().dsn, schema=table[0]) as gallery:
        assert gallery.indexed(OLD) == 1
        up = of(tmp_path, table, gallery, strategy="prefill")
        assert up.start().phase is Phase.BACKFILLED
        assert gallery.indexed(NEW) == 1
        assert up.status().indexed[str(NEW)] == 1


@pytest.mark.parametrize("phase", [Phase.PREPARED, Phase.ABORTING, Phase.ROLLING_BACK])
def test_an_item_written_as_a_phase_begins_is_missed_by_no_search_elsewhere(
    table, opened, tmp_path, phase
):
    """The other process has just asked for the phase, and knows of the one before."""
    given = {"old_embedder": Projection(OLD), "fitting": None, "fit_items": 110}
    leading = of(tmp_path, table, opened(), **given)
    elsewhere = of(tmp_path, table, opened(), **given)
    query, written, missed = table[1]["item-00000"], "item-00003", []

    def begun(entered):
        if entered is phase:
            elsewhere.state._polled = elsewhere.state._known_at = time.monotonic()
            leading.upsert([written], [table[1][written]])
            missed.extend(written not in elsewhere.search(query, ITEMS).item_ids for _ in range(50))

    leading.on_phase = begun
    assert written in elsewhere.search(query, ITEMS).item_ids
    leading.start()
    if phase is Phase.ROLLING_BACK:
        leading.verify()
        leading.cutover()
        elsewhere.state.follow()
        leading.rollback()
    if phase is Phase.ABORTING:
        elsewhere.state.follow()
        assert written in elsewhere.search(query, ITEMS).item_ids  # all have moved, as it knows now
        leading.abort()
    assert missed == [False] * 50


def test_an_item_written_after_the_journal_was_lost_is_missed_by_no_search_elsewhere(
    table, opened, tmp_path
):
    """It goes to the old side, as before an upgrade; the other process still knows the phase."""
    given = {"old_embedder": Projection(OLD), "fitting": None, "fit_items": 110}
    of(tmp_path, table, opened(), **given).start()
    elsewhere = of(tmp_path, table, opened(), **given)
    query, written = table[1]["item-00000"], "item-00003"
    elsewhere.search(query, ITEMS)
    for path in tmp_path.glob("journal.sqlite*"):
        path.unlink()
    writing = of(tmp_path, table, opened(), **given)
    writing.take_over()
    elsewhere.state._polled = elsewhere.state._known_at = time.monotonic()
    writing.upsert([written], [table[1][written]])
    assert writing.gallery.get([written])[0].space == OLD
    missed = [written not in elsewhere.search(query, ITEMS).item_ids for _ in range(50)]
    assert missed == [False] * 50


class _Meanwhile(Projection):
    """An embedder during whose first call something else goes on."""

    def __init__(self, model, act):
        super().__init__(model)
        self._act = act

    def __call__(self, contents):
        act, self._act = self._act, lambda: None
        act()
        return super().__call__(contents)


def test_a_writer_that_slept_through_the_upgrade_puts_nothing_where_nobody_looks(
    table, opened, tmp_path
):
    leading = of(tmp_path, table, opened(), old_embedder=Projection(OLD))

    def upgraded():
        leading.start()
        leading.verify()
        leading.cutover()
        sleeping.state._known_at -= 60  # it had slept for a minute, not for a moment

    embedder = _Meanwhile(OLD, upgraded)
    sleeping = of(tmp_path, table, opened(), old_embedder=embedder)
    written, places = sleeping.gallery.upsert, []

    def upsert(*args, space, **more):
        places.append(space)
        return written(*args, space=space, **more)

    sleeping.gallery.upsert = upsert
    sleeping.upsert(["item-00003"], [table[1]["item-00003"]])
    assert leading.phase is Phase.CUT_OVER
    assert places == [NEW]


def stands_still(gallery, write, act):
    """Let something go on just before the first write; return where writes went that were done."""
    done, sides = getattr(gallery, write), []

    def late(item_ids, vectors, space, *more):
        nonlocal act
        act, now = lambda: None, act
        now()
        answer = done(item_ids, vectors, space, *more)
        sides.append(space)
        return answer

    setattr(gallery, write, late)
    return sides


def test_a_writer_that_stood_still_before_the_write_itself_writes_by_the_phase_of_now(
    table, opened, tmp_path
):
    parts = {"old_embedder": Projection(OLD), "fitting": None, "fit_items": 110}
    leading = of(tmp_path, table, opened(), **parts)
    sleeping = of(tmp_path, table, opened(), **parts)

    def upgraded():
        leading.start()
        leading.verify()
        leading.cutover()

    sides = stands_still(sleeping.gallery, "_upsert", upgraded)
    sleeping.upsert(["item-00003"], [table[1]["item-00003"]])
    assert leading.phase is Phase.CUT_OVER
    assert sides == [NEW]


def test_a_batch_that_stood_still_before_its_move_stays_where_it_is_when_the_upgrade_goes_back(
    table, opened, tmp_path
):
    up = of(tmp_path, table, opened(), old_embedder=Projection(OLD))

    def aborting():
        control.abort(up.journal)
        opened().restrict_writes([OLD])

    sides = stands_still(up.gallery, "_move", aborting)
    up.start()
    assert up.phase is Phase.ABORTING
    assert (sides, up.gallery.count(NEW)) == ([], 0)
    up.abort()
    assert up.phase is Phase.ABORTED
    opened().upsert(["anew"], Projection(OLD)([table[1]["item-00003"]]), space=OLD)


def test_a_store_that_is_behind_the_phase_takes_writes_and_moves_all_the_same(
    table, opened, tmp_path
):
    """It was put back from a backup, or whoever leads was killed between journal and store."""
    parts = {"old_embedder": Projection(OLD), "fitting": None, "fit_items": 110}
    up = of(tmp_path, table, opened(), **parts)
    sides = stands_still(up.gallery, "_move", lambda: opened().restrict_writes([OLD]))
    up.start()
    assert up.gallery.count(NEW) == ITEMS
    assert {*sides} == {NEW}
    sides = stands_still(up.gallery, "_upsert", lambda: opened().restrict_writes([OLD]))
    up.upsert(["item-00003"], [table[1]["item-00003"]])
    assert sides == [NEW]


@pytest.mark.parametrize("phase", [Phase.BACKFILLED, Phase.CUT_OVER])
def test_a_late_write_to_the_old_side_is_found_though_reading_the_rows_rests(
    table, opened, tmp_path, phase
):
    """Rows come past the store's refusal, too. On a busy machine the next look is an hour away."""
    parts = {"old_embedder": Projection(OLD), "fitting": None, "fit_items": 110}
    up = of(tmp_path, table, opened(), **parts)
    up.start()
    if phase is Phase.CUT_OVER:
        up.verify()
        up.cutover()
    query, late, serving = table[1]["item-00003"], opened(), up._serve()
    assert len(up.search(query, ITEMS).item_ids) == ITEMS
    serving._read_again = up.state._read_again = time.monotonic() + 3600
    late.restrict_writes([])
    late.upsert(["late"], Projection(OLD)([query]), space=OLD)
    serving._count_again = up.state._look_again = up.state._polled = 0.0  # half a second later
    assert "late" in up.search(query, ITEMS + 1).item_ids


def test_rows_that_came_past_the_triggers_are_counted_by_start(table, opened, tmp_path):
    up = of(tmp_path, table, opened())
    up.start()
    up.source["late"] = next(iter(up.source.values()))
    with psycopg.connect(postgres.server().dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            f"INSERT INTO {table[0]}.items (item_id, hotfill_vector_1, hotfill_space, "
            "hotfill_origin, hotfill_version) VALUES ('late', '[1, 0, 0, 0]', 1, %s, 1)",
            (OLD.fingerprint,),
        )
    up.start()
    assert (up.gallery.count(OLD), up.gallery.count(NEW)) == (0, ITEMS + 1)
    assert up.verify().passed


@pytest.mark.parametrize("phase", [Phase.BACKFILLED, Phase.CUT_OVER])
def test_rows_that_came_past_the_triggers_are_found_before_anybody_counts(
    table, opened, tmp_path, phase
):
    parts = {"old_embedder": Projection(OLD), "fitting": None, "fit_items": 110}
    up = of(tmp_path / "up", table, opened(), **parts)
    up.start()
    if phase is Phase.CUT_OVER:
        assert up.verify().passed
        up.cutover()
    query = table[1]["item-00003"]
    assert len(up.search(query, ITEMS).item_ids) == ITEMS
    with psycopg.connect(postgres.server().dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            f"UPDATE {table[0]}.items SET hotfill_space = DEFAULT, hotfill_origin = DEFAULT "
            "WHERE item_id < 'item-00003'"
        )
    deadline = time.monotonic() + 60
    while {*up.search(query, ITEMS).item_ids} != {*table[1]}:
        assert time.monotonic() < deadline, "nobody looks at the rows"
        time.sleep(POLL_SECONDS)
    assert up.phase is phase


def test_a_gallery_of_codes_is_claimed_and_counted_where_its_items_are(table, opened, tmp_path):
    inner, other = opened(), opened()
    with CodedGallery(inner, tmp_path / "codes", []) as coded:
        coded.claim("first")
        with pytest.raises(StoreBusyError, match="upgraded by first"):
            other.claim("second")
        coded.release("first")
        other.claim("second")
        ask("SET session_replication_role = replica; DELETE FROM {schema}.items", table[0])
        assert (coded.count(OLD), coded.count_rows(OLD)) == (ITEMS, 0)
        assert coded.recount() == {OLD: 0}
        assert coded.count(OLD) == 0
        ask("CREATE VIEW {schema}.seen AS SELECT * FROM {schema}.items", table[0])
        assert "seen" in " ".join([*coded.remarks(), *coded.rehearse_drop(OLD)])


def test_other_items_are_drawn_for_those_whose_stored_vector_is_of_no_use(table, opened, tmp_path):
    ask(
        "UPDATE {schema}.items SET hotfill_vector_1 = '[0, 0, 0, 0]' WHERE item_id < 'item-00020'",
        table[0],
    )
    up = of(tmp_path, table, opened(), fit_items=30)
    up.start()
    assert int(up.journal.last("fit").body["pairs"]) >= 30
    assert up.gallery.count(NEW) == ITEMS


def test_doctor_compares_the_kept_sums_with_the_rows(tmp_path):
    path = make_project(tmp_path, ITEMS)
    settings = read(path).settings.store
    with psycopg.connect(settings.dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(f"DELETE FROM {settings.table} WHERE item_id = 'item-00003'")
    (finding,) = [each for each in check_up(path) if each.what == "counts"]
    assert "119 items of old@1" in finding.problem
    assert "and 120 are counted" in finding.problem
    with hotfill.open(path) as up:
        up.start()
    (finding,) = [each for each in check_up(path) if each.what == "counts"]
    assert finding.problem is None


def test_a_budget_holds_for_all_that_embed(table, opened, tmp_path):
    settings = {"fitting": None, "fit_items": 100, "backfill": "budget", "budget_items": 47}
    up = of(tmp_path, table, opened(), batch_size=5, **settings)
    others = [of(tmp_path, table, opened(), batch_size=5, **settings) for _ in range(2)]
    up.start(background=True)
    helping = []
    for each in others:
        while each.journal.last("plan") is None:
            time.sleep(0.05)
        each.remade()  # follow the plan that has begun
        helping.append(threading.Thread(target=each.worker().run))
        helping[-1].start()
    assert up.wait().phase is Phase.BACKFILLED
    for thread in helping:
        thread.join()
    assert up.gallery.count(NEW, origin=NEW.fingerprint) == 47
    assert up.journal.tally("embed").moved == 47
    assert up.verify().passed
