"""A third model arrives while the upgrade to the second is half done, and takes over.

Search is right over all three sides meanwhile, by plain arithmetic; every item ends on the third
side, or, after an abort, where it was; and the first upgrade can go on then.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hotfill.errors import InputError, PhaseError, PlanError
from hotfill.ranking import Fit
from hotfill.stores.memory import MemoryGallery
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from hotfill.types import ModelId
from hotfill.upgrade import control, pace, state
from hotfill.upgrade import guard as watch
from hotfill.upgrade.guard import quality_curve
from hotfill.upgrade.parts import Model
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.state import fit_folder
from tests.unit.upgrade.small import NEW, OLD, Exchangeable, Projection, Small, contents, filled

FIRST, SECOND, THIRD = OLD, NEW, ModelId("third", "1", 7)
ITEMS = 300
QUERIES = list(contents(3, seed=77).values())


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(pace, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(watch, "EVERY_SHARE", 0.2)
    monkeypatch.setattr(watch, "_LEAST_REST", 0)
    monkeypatch.setattr(state, "POLL_SECONDS", 0.0)


@pytest.fixture(params=["memory", "qdrant-edge"])
def gallery(request, tmp_path):
    if request.param == "memory":
        made = MemoryGallery(FIRST)
    else:
        made = QdrantEdgeGallery.create(tmp_path / "store", FIRST, exact=True)
    yield made
    made.close()


class Stopping:
    """An honest embedder that asks its upgrade to stop after some calls in the backfill."""

    def __init__(self, model_id, calls):
        self.model_id, self.inner, self.calls = model_id, Projection(model_id), calls
        self.upgrade = None

    def __call__(self, rows):
        if self.upgrade is not None and self.upgrade.journal.phase is Phase.BACKFILLING:
            self.calls -= 1
            if self.calls <= 0:
                self.upgrade.stop()
        return self.inner(rows)


SETTINGS = {
    "strategy": "merge",
    "allow_below_old": True,
    "batch_size": 8,
    "fit_items": 300,
    "verify_items": 40,
}


def upgrade(folder, gallery, source, old, new, *, calls=10**9, **settings):
    """old, new: model ids. The old model has an embedder where `old_embedder` gives one."""
    stopping = Stopping(new, calls)
    made = Small(
        gallery,
        old=Model(settings.pop("old_embedder", None), old),
        new=Exchangeable(stopping),
        source=source,
        folder=folder,
        **{**SETTINGS, **settings},
    )
    made.exchangeable, made.fitting, stopping.upgrade = made.parts.new.embedder, None, made
    return made


class World:
    """A half-done upgrade from the first to the second model."""

    def __init__(self, folder: Path, gallery):
        self.folder, self.gallery = folder, gallery
        self.source = contents(ITEMS)
        filled(self.source, gallery)
        self.previous = upgrade(folder / "second", gallery, self.source, FIRST, SECOND, calls=17)
        self.previous.start()
        assert 100 < gallery.count(SECOND) < 220

    def third(self, **settings):
        values = {"old_embedder": Projection(SECOND), "previous": self.previous, **settings}
        return upgrade(self.folder / "third", self.gallery, self.source, SECOND, THIRD, **values)

    def scorer_of(self, up):
        return Fit.load(fit_folder(up.folder, up.journal)).scorer

    def sides(self):
        ids = sorted(self.source)
        return {state.item_id: state.space for state in self.gallery.get(ids)}


def by_plain_arithmetic(world, scorer, query_model):
    """Every item's comparable score for every query, one at a time, from vectors made directly."""
    queries = Projection(query_model)(QUERIES).astype(np.float64)
    sides = world.sides()
    exact = {
        model: dict(zip(sorted(world.source), _direct(model, world.source), strict=True))
        for model in set(sides.values())
    }
    scores = []
    for row, query in enumerate(queries):
        found = {}
        new_background = scorer.new_reference @ query
        for side in scorer.sides:
            feature = side.transform.query_features(queries.astype(np.float32))[row]
            old_background = side.transform.gallery_features(side.reference) @ feature
            there = [item for item, space in sides.items() if space == side.model]
            rows = side.transform.gallery_features(np.stack([exact[side.model][i] for i in there]))
            for item, mapped in zip(there, rows, strict=True):
                found[item] = rescaled(float(mapped @ feature), old_background, new_background)
        for item, space in sides.items():
            if space == query_model:
                found[item] = float(exact[space][item] @ query)
        scores.append(found)
    return scores


def _direct(model, source):
    return Projection(model)([source[item] for item in sorted(source)]).astype(np.float32)


def rescaled(score, old, new):
    """The tail calibration as its docstring writes it."""
    levels = (0.90, 0.95, 0.97, 0.98, 0.99)

    def rise(values):
        middle = np.median(values)
        return np.sqrt(np.mean([(np.quantile(values, p) - middle) ** 2 for p in levels]))

    return np.median(new) + (score - np.median(old)) * rise(new) / rise(old)


def assert_search_is_right(world, up, scorer, query_model, spaces):
    sides = world.sides()
    assert set(sides.values()) == set(spaces)
    expected = by_plain_arithmetic(world, scorer, query_model)
    for found, truth in zip(up.search(list(QUERIES), len(world.source)), expected, strict=True):
        assert found.query_model == query_model
        assert sorted(found.item_ids) == sorted(world.source), "an item is lost or doubled"
        assert {hit.item_id: hit.model for hit in found.hits} == sides
        np.testing.assert_allclose(
            [hit.score for hit in found.hits], [truth[hit.item_id] for hit in found.hits], atol=2e-4
        )
    few = up.search(QUERIES[0], 10)
    best = sorted(expected[0].values(), reverse=True)[:10]
    np.testing.assert_allclose([hit.score for hit in few.hits], best, atol=2e-4)


def test_the_third_model_takes_over_and_search_is_right_over_three_sides_until_it_has_all(
    tmp_path, gallery
):
    world = World(tmp_path, gallery)
    up = world.third(calls=12, canary_items=12, canary_k=5)
    # Before it begins, searches are those of the unfinished upgrade.
    scorer = world.scorer_of(world.previous)
    assert_search_is_right(world, up, scorer, SECOND, (FIRST, SECOND))

    up.start()
    assert world.previous.journal.phase is Phase.SUPERSEDED
    assert up.journal.phase is Phase.BACKFILLING
    scorer = world.scorer_of(up)
    assert [side.model for side in scorer.sides] == [FIRST, SECOND]
    assert_search_is_right(world, up, scorer, THIRD, (FIRST, SECOND, THIRD))

    # Live writes meanwhile.
    sides = world.sides()
    edited = [next(item for item in sides if sides[item] == space) for space in (FIRST, SECOND)]
    for item in edited:
        world.source[item] = contents(1, seed=len(item) + ord(item[-1]))["item-00000"]
    up.upsert(edited, [world.source[item] for item in edited])
    gone = next(item for item in sides if sides[item] == FIRST and item not in edited)
    del world.source[gone]
    up.delete([gone])
    assert_search_is_right(world, up, scorer, THIRD, (FIRST, SECOND, THIRD))

    up.new_embedder = Projection(THIRD)
    assert up.start().phase is Phase.BACKFILLED
    assert up.verify().passed
    assert up.cutover().phase is Phase.CUT_OVER
    assert up.complete().phase is Phase.COMPLETED
    assert gallery.spaces == (THIRD,)
    found = gallery.vectors(sorted(world.source), THIRD)
    np.testing.assert_allclose(found.vectors, _direct(THIRD, world.source), atol=1e-5)
    assert gallery.count(THIRD, origin=THIRD.fingerprint) == len(world.source)
    curve = quality_curve(up.journal)
    assert len(curve) >= 4
    assert curve[0]["old_overlap"] is not None
    assert curve[-1]["agreement"] is not None


def test_an_abort_puts_every_item_back_where_it_was_and_the_first_upgrade_goes_on(
    tmp_path, gallery
):
    world = World(tmp_path, gallery)
    before = world.sides()
    up = world.third(calls=12)
    up.start()
    assert gallery.count(THIRD) > 50
    with pytest.raises(PlanError, match="of which this upgrade knows nothing"):
        world.previous.start()  # the third model has items
    written = next(item for item in before if before[item] == FIRST)
    world.source[written] = contents(1, seed=9)["item-00000"]
    up.upsert([written], [world.source[written]])

    # Killed somewhere on the way back, and given again.
    moves = [5]
    honest = gallery.move

    def last_move(*args, **kwargs):
        moves[0] -= 1
        if moves[0] == 0:
            up.stop()
        return honest(*args, **kwargs)

    gallery.move = last_move
    assert up.abort().phase is Phase.ABORTING
    assert_search_is_right(world, up, world.scorer_of(up), THIRD, (FIRST, SECOND, THIRD))
    gallery.move = honest
    assert up.abort().phase is Phase.ABORTED
    assert world.sides() == {**before, written: SECOND}
    assert gallery.spaces == (FIRST, SECOND)
    for space in (FIRST, SECOND):
        ids = [item for item, side in world.sides().items() if side == space]
        found = gallery.vectors(ids, space)
        direct = Projection(space)([world.source[item] for item in ids])
        np.testing.assert_allclose(found.vectors, direct, atol=1e-5)
    scorer = world.scorer_of(world.previous)
    assert_search_is_right(world, up, scorer, SECOND, (FIRST, SECOND))

    world.previous.new_embedder = Projection(SECOND)
    assert world.previous.start().phase is Phase.BACKFILLED
    assert world.previous.verify().passed
    world.previous.cutover()
    assert world.previous.complete().phase is Phase.COMPLETED
    assert gallery.spaces == (SECOND,)
    found = gallery.vectors(sorted(world.source), SECOND)
    np.testing.assert_allclose(found.vectors, _direct(SECOND, world.source), atol=1e-5)


def test_a_rollback_after_the_cutover_leads_back_to_both_old_sides(tmp_path):
    world = World(tmp_path, MemoryGallery(FIRST))
    before = world.sides()
    up = world.third()
    up.start()
    up.verify()
    up.cutover()
    assert up.rollback().phase is Phase.ROLLED_BACK
    assert world.sides() == before
    world.previous.new_embedder = Projection(SECOND)
    assert world.previous.start().phase is Phase.BACKFILLED


def _moved_once_more(world):
    """Do what a worker of the previous upgrade does that hung inside a move until now."""
    names = sorted(world.source)[:9]
    states = world.gallery.get(names)
    moved = world.gallery.move(
        names,
        _direct(SECOND, {name: world.source[name] for name in names}),
        space=SECOND,
        expected_versions=np.array([state.version for state in states]),
    )
    assert moved.all()
    assert world.gallery.count(SECOND) == len(names)


@pytest.mark.parametrize("command", ["cutover", "complete"])
def test_what_a_hanging_worker_of_the_former_upgrade_moved_after_the_cutover_is_reembedded(
    tmp_path, command
):
    world = World(tmp_path, MemoryGallery(FIRST))
    up = world.third()
    up.start()
    up.verify()
    up.cutover()
    _moved_once_more(world)
    getattr(up, command)()
    assert world.gallery.count(THIRD) == ITEMS
    assert up.verify().passed if command == "cutover" else up.gallery.spaces == (THIRD,)
    found = world.gallery.vectors(sorted(world.source), THIRD)
    np.testing.assert_allclose(found.vectors, _direct(THIRD, world.source), atol=1e-5)


def test_searches_by_the_superseded_configuration_refuse_rather_than_miss_items(tmp_path):
    world = World(tmp_path, MemoryGallery(FIRST))
    previous = world.previous
    control.supersede(world.previous.journal, "third.toml")
    assert len(previous.search(QUERIES[0], ITEMS).hits) == ITEMS  # nothing was taken yet
    world.third(calls=5).start()
    with pytest.raises(PhaseError, match="superseded this one"):
        previous.search(QUERIES[0], 5)


def test_an_upgrade_that_does_not_know_of_the_unfinished_one_is_refused(tmp_path):
    world = World(tmp_path, MemoryGallery(FIRST))
    stranger = upgrade(tmp_path / "stranger", world.gallery, world.source, SECOND, THIRD)
    with pytest.raises(PlanError, match="of which this upgrade knows nothing"):
        stranger.start()
    assert world.gallery.spaces == (FIRST, SECOND)


def test_vectors_that_a_transform_made_are_not_taken_over(tmp_path):
    gallery = MemoryGallery(FIRST)
    source = contents(ITEMS)
    filled(source, gallery)
    previous = upgrade(
        tmp_path / "second", gallery, source, FIRST, SECOND, calls=3, strategy="prefill"
    )
    previous.start()
    assert previous.journal.phase is Phase.BACKFILLING
    third = upgrade(
        tmp_path / "third",
        gallery,
        source,
        SECOND,
        THIRD,
        previous=previous,
    )
    with pytest.raises(PlanError, match=r'imputed into.*write strategy = "prefill"'):
        third.start()
    previous.new_embedder = Projection(SECOND)
    assert previous.start().phase is Phase.BACKFILLED  # nothing stands in its way


def test_a_side_too_small_to_fit_is_told_and_an_old_embedder_helps(tmp_path):
    gallery, source = MemoryGallery(FIRST), contents(ITEMS)
    filled(source, gallery)
    previous = upgrade(tmp_path / "second", gallery, source, FIRST, SECOND, calls=2)
    previous.start()
    assert 0 < gallery.count(SECOND) < 80
    third = upgrade(
        tmp_path / "third",
        gallery,
        source,
        SECOND,
        THIRD,
        previous=previous,
    )
    with pytest.raises(InputError, match=r"give \[old\] an embedder"):
        third.start()
    assert gallery.spaces == (FIRST, SECOND)
    third.old_embedder = Projection(SECOND)
    assert third.start().phase is Phase.BACKFILLED


@pytest.mark.parametrize("phase", ["planned", "cut_over"])
def test_only_an_unfinished_upgrade_can_be_superseded(tmp_path, phase):
    gallery, source = MemoryGallery(FIRST), contents(150)
    filled(source, gallery)
    previous = upgrade(tmp_path / "second", gallery, source, FIRST, SECOND, fit_items=120)
    if phase == "cut_over":
        previous.start()
        previous.verify()
        previous.cutover()
    with pytest.raises(PhaseError, match=f"cannot supersede while {phase}"):
        control.supersede(previous.journal, "third.toml")


def test_what_was_written_since_is_searched_by_vectors_that_the_superseded_upgrade_makes(
    tmp_path,
):
    """A live write takes the vector of the oldest model away; few of them may be left."""
    world = World(tmp_path, MemoryGallery(FIRST))
    written = sorted(world.source)[: ITEMS - 20]
    rows = Projection(SECOND)([world.source[item] for item in written])
    world.gallery.upsert(written, rows, space=SECOND)
    with pytest.raises(InputError, match=r"give \[old\] an embedder, here or in the upgrade"):
        world.third().start()
    world.previous.old_embedder = Projection(FIRST)
    third = world.third()
    assert third.start().phase is Phase.BACKFILLED
    assert third.verify().passed
