"""A gallery of several origins in each store: searched, killed, copied and gone on with.

The oracle is plain numpy: which items are the model's own, what the map makes of the others, and
the common scale of the fit's reference items.
"""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from hotfill.errors import InputError
from hotfill.ranking.common_scale import CommonScale, ReferenceItems
from hotfill.rehearsal.sample import MIN_ITEMS
from hotfill.rehearsal.sampler import Sampler
from hotfill.stores.postgres import PostgresGallery
from hotfill.upgrade import pace, state
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.plan import Plan
from hotfill.upgrade.upgrade import Upgrade
from tests.postgres import fresh_schema, server
from tests.scenarios.test_state_machine import (
    Chroma,
    IndexFiles,
    LanceDB,
    Memory,
    Postgres,
    QdrantEdge,
    Redis,
    journal_of,
)
from tests.unit.upgrade.small import NEW, OLD, Projection, contents, filled, stay_imputed

N, BUDGET, MORE = 120, 45, 30


class AdoptedPostgres(Postgres):
    """A table that others made and fill: they, and hotfill after `complete`, compare cosines."""

    def __init__(self, folder):
        self.dsn, self.schema = server().dsn, fresh_schema()
        with psycopg.connect(self.dsn) as connection:
            connection.execute(
                f"CREATE TABLE {self.schema}.items "
                f"(id text PRIMARY KEY, metadata jsonb, embedding vector({OLD.dimension}))"
            )
        self.gallery = PostgresGallery.adopt(
            self.dsn,
            OLD,
            table="items",
            schema=self.schema,
            metadata_column="metadata",
            exact=True,
        )
        self.gallery.add_space(NEW)  # then it can be written through hotfill


STORES = [
    Memory,
    QdrantEdge,
    IndexFiles,
    *[
        pytest.param(each, marks=pytest.mark.slow)
        for each in (LanceDB, Postgres, AdoptedPostgres, Redis, Chroma)
    ],
]


class Dying:
    """The new model, until the process is killed in the middle of its backfill."""

    model_id = NEW

    def __init__(self, dies_after):
        self.left = dies_after

    def __call__(self, rows):
        if self.phase() in (Phase.BACKFILLING, Phase.COMPLETED):
            self.left -= len(rows)
            if self.left < 0:
                raise KeyboardInterrupt
        return Projection(NEW)(rows)


class World:
    """One store, and the processes that come and go over it."""

    def __init__(self, store, folder):
        self.folder = folder
        self.source = contents(N)
        self.disk = store(folder)
        self.gallery = filled(self.source, self.disk.gallery)
        self.queries = Projection(NEW)(list(contents(8, seed=5).values()))
        self.up = None

    def process(self, dies_after=10**9, **settings):
        """Begin a process: everything is opened anew."""
        if self.up is not None:
            self.up.close()
            self.gallery = self.disk.again(self.gallery)
        embedder = Dying(dies_after)
        self.up = Upgrade(
            self.gallery,
            old=OLD,
            new=embedder,
            source=self.source,
            folder=self.folder / "upgrade",
            journal=lambda: journal_of(self.disk, self.folder),
            backfill="budget",
            batch_size=20,
            fit_items=N,
            verify_items=20,
            ranking="calibrated",
            allow_below_old=True,
            **settings,
        )
        embedder.phase = lambda: self.up.journal.phase
        return self.up

    def own(self):
        page = self.gallery.scan(NEW, limit=1000)
        told = zip(page.item_ids, page.origins, strict=True)
        return {item for item, origin in told if origin == NEW.fingerprint}

    def wanted(self, one, old, k=10):
        """What searches must find, the slow way."""
        ids, own = sorted(self.source), self.own()
        imputed = self.gallery.kept_as(one.impute(old), NEW)
        direct = Projection(NEW)([self.source[item] for item in ids])
        mine = np.array([item in own for item in ids])
        rows = np.where(mine[:, None], direct, imputed)
        origins = [NEW.fingerprint if each else one.origin for each in mine]
        kept = self.gallery.kept_as(one.references.imputed, NEW)
        references = ReferenceItems(one.references.own, kept)
        scale = CommonScale(NEW.fingerprint, {one.origin: references})
        background = scale.prepare(self.queries)
        lists = []
        for number, query in enumerate(self.queries):
            scores = background.scores(number, rows @ query, origins)
            lists.append(tuple(ids[row] for row in np.argsort(-scores, kind="stable")[:k]))
        return lists

    def found(self, up, k=10):
        return [each.item_ids for each in up.search_vectors(self.queries, NEW, k)]


@pytest.mark.parametrize("store", STORES)
def test_items_of_two_origins_are_found_through_kill_complete_and_more(
    store, tmp_path, monkeypatch
):
    monkeypatch.setattr(pace, "NOTICE_SECONDS", 0.0)
    monkeypatch.setattr(state, "POLL_SECONDS", 0.0)
    world = World(store, tmp_path)
    old = world.gallery.vectors(sorted(world.source), OLD)
    old = old.vectors[np.argsort(old.item_ids)]
    up = world.process(dies_after=25, budget_items=BUDGET)
    with pytest.raises(KeyboardInterrupt):
        up.start()
    up = world.process(budget_items=BUDGET)
    up.start()
    assert len(world.own()) == BUDGET
    one = up._state().load_fit().one_space
    assert world.found(up) == world.wanted(one, old)
    assert up.verify().passed
    up.cutover()
    assert world.found(up) == world.wanted(one, old)
    up.complete()
    up = world.process(budget_items=MORE, dies_after=10)
    assert world.found(up) == world.wanted(one, old)
    with pytest.raises(KeyboardInterrupt):
        up.start(more=True)
    up = world.process(budget_items=MORE)
    up.start(more=True)
    assert len(world.own()) == BUDGET + MORE
    assert world.found(up) == world.wanted(one, old)
    (covered,) = up.current().models
    assert (covered.items, covered.embedded) == (N, BUDGET + MORE)
    assert sum(each.items for each in covered.imputed) == N - BUDGET - MORE
    up.close()
    # The store alone, in the next upgrade's hands.
    world.gallery = world.disk.again(world.gallery)
    with Upgrade(
        world.gallery,
        old=NEW,
        new=OLD,
        source=world.source,
        folder=world.folder / "next",
    ) as later:
        assert world.found(later) == world.wanted(one, old)
    world.gallery.close()


@pytest.mark.parametrize("store", STORES)
def test_a_rehearsal_of_the_next_model_sees_the_models_own_vectors_only(store, tmp_path):
    source = contents(MIN_ITEMS + 100)
    names = sorted(source)
    gallery = filled(source, store(tmp_path).gallery)
    stay_imputed(gallery, names[:60])
    sampler = Sampler(gallery, Plan(OLD, NEW), source, Projection(NEW))
    taken = sampler.take(MIN_ITEMS + 40)
    assert (taken.imputed_items, set(taken.item_ids)) == (60, set(names[60:]))
    own = Projection(OLD)([source[name] for name in taken.item_ids])
    np.testing.assert_allclose(taken.old, own, atol=1e-3)  # of half precision, too
    stay_imputed(gallery, names[60:101])
    with pytest.raises(InputError, match=r"299 of the items to be sampled have one.* --more"):
        sampler.take(MIN_ITEMS + 40)
    gallery.close()
