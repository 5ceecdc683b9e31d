"""A third model takes over an upgrade by `prefill`, which left imputed vectors behind."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import ConfigError, PlanError, StoreError
from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.plan import Plan
from tests.unit.upgrade.small import Projection, contents, filled

pytest.importorskip("qdrant_edge", reason="qdrant-edge-py is not installed")  # of test_chain

from tests.scenarios.test_chain import FIRST, ITEMS, QUERIES, SECOND, THIRD, upgrade


class Cut(MemoryGallery):
    """Ends a process at one of its moves, before or after it."""

    left, after = -1, False

    def _move(self, *args):
        self.left -= 1
        if self.left == 0 and not self.after:
            raise StoreError("cut")
        moved = super()._move(*args)
        if self.left == 0:
            raise StoreError("cut")
        return moved


class World:
    """A prefilled upgrade from the first to the second model, of which some items are embedded."""

    def __init__(self, folder):
        self.folder, self.gallery, self.source = folder, Cut(FIRST), contents(ITEMS)
        filled(self.source, self.gallery)
        self.previous = upgrade(
            folder / "second",
            self.gallery,
            self.source,
            FIRST,
            SECOND,
            calls=17,
            strategy="prefill",
        )
        self.previous.start()
        self.embedded = {
            state.item_id
            for state in self.gallery.get(sorted(self.source))
            if state.origin == SECOND.fingerprint
        }
        assert 100 < len(self.embedded) < 220
        assert self.gallery.count(SECOND) == ITEMS

    def third(self, **settings):
        given = {"old_embedder": Projection(SECOND), "previous": self.previous}
        return upgrade(
            self.folder / "third",
            self.gallery,
            self.source,
            SECOND,
            THIRD,
            **{**given, "strategy": "prefill", **settings},
        )

    def assert_whole(self, up):
        model = up.query_model
        for found in up.search_vectors(Projection(model)(QUERIES), model, ITEMS):
            assert sorted(found.item_ids) == sorted(self.source)

    def assert_as_before(self):
        """The second model's own vectors are on its side, the others back on the first's."""
        states = self.gallery.get(sorted(self.source))
        for space, ids in (
            (SECOND, self.embedded),
            (FIRST, self.source.keys() - self.embedded),
        ):
            there = {state.item_id for state in states if state.space == space}
            assert there == ids
            assert {state.origin for state in states if state.space == space} == {space.fingerprint}
            direct = Projection(space)([self.source[item] for item in sorted(ids)])
            stored = self.gallery.vectors(sorted(ids), space).vectors
            np.testing.assert_allclose(stored, direct, atol=1e-5)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.mark.parametrize("ranking", ["raw", "calibrated"])
def test_each_item_is_imputed_from_the_newest_vector_that_a_model_made(world, ranking):
    third = world.third(calls=15, ranking=ranking)
    world.assert_whole(third)
    third.start()
    assert third.phase is Phase.BACKFILLING
    fit = third.state.load_fit()
    source_of = {one.origin: one.old_model for one in fit.one_spaces}
    assert {*source_of.values()} == {FIRST, SECOND}
    left = [
        state
        for state in world.gallery.get(sorted(world.source))
        if state.origin != THIRD.fingerprint
    ]
    assert 0 < len(left) < ITEMS
    for state in left:
        expected = SECOND if state.item_id in world.embedded else FIRST
        assert (state.space, source_of[state.origin]) == (THIRD, expected)
    world.assert_whole(third)
    third.new_embedder = Projection(THIRD)
    assert third.start().phase is Phase.BACKFILLED
    assert third.verify().passed
    third.cutover()
    third.complete()
    assert world.gallery.spaces == (THIRD,)
    assert world.gallery.count(THIRD, origin=THIRD.fingerprint) == ITEMS


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("move", [1, 2, 8, 16, 28])
def test_an_abort_puts_back_what_each_model_made_wherever_either_is_cut(world, move, after):
    world.gallery.left, world.gallery.after = move, after
    third = world.third()
    with pytest.raises(StoreError, match="cut"):
        third.start()
    third.close()
    third = world.third(calls=10)
    world.assert_whole(third)
    third.start()
    assert third.phase is Phase.BACKFILLING
    world.gallery.left = move // 2
    third.close()
    third = world.third()
    if move > 1:
        with pytest.raises(StoreError, match="cut"):
            third.abort()
        world.assert_whole(third)
    assert third.abort().phase is Phase.ABORTED
    world.assert_as_before()
    world.previous.new_embedder = Projection(SECOND)
    assert world.previous.start().phase is Phase.BACKFILLED
    assert world.gallery.count(SECOND, origin=SECOND.fingerprint) == ITEMS


def test_a_longer_chain_over_imputed_vectors_is_refused(world):
    third = world.third(calls=10)
    third.start()
    fourth = upgrade(
        world.folder / "fourth",
        world.gallery,
        world.source,
        THIRD,
        ModelId("fourth", "1", 5),
        previous=third,
        strategy="prefill",
    )
    with pytest.raises(PlanError, match="finish or abort that upgrade first"):
        fourth.start()
    third.new_embedder = Projection(THIRD)
    assert third.start().phase is Phase.BACKFILLED


def test_what_knows_one_old_side_is_refused_with_what_to_write():
    same = ModelId("same", "1", SECOND.dimension)
    for change in ({"strategy": "compatible"}, {"up": "up.safetensors"}):
        with pytest.raises(ConfigError, match='write strategy = "prefill" or "merge"'):
            Plan(SECOND, same, older_models=(FIRST,), **change)
