"""A draft becomes a plan with figures, or with every reason why it cannot start."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest

from hotfill.embedders import CachedEmbedder, VectorCache
from hotfill.errors import EmbedError
from hotfill.stores import StoreCost
from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId
from hotfill.upgrade.plan import Plan
from hotfill.upgrade.prepare import make_plan
from tests.unit.upgrade.small import NEW, OLD, Contents, Projection, contents, filled

DRAFT = Plan(OLD, NEW)


def planned(**changes):
    """Plan over a hundred items, and check that nothing was written."""
    source = changes.pop("source", contents(100))
    gallery = changes.pop("gallery") if "gallery" in changes else filled(contents(100))
    before = gallery.spaces
    values = {"draft": DRAFT, "source": source, "embedder": Projection(NEW), **changes}
    plan = make_plan(gallery, **values)
    assert gallery.spaces == before
    return plan


def test_counts_bytes_and_time_are_found():
    plan = planned(free_bytes=10**9)
    assert (plan.items, plan.bytes_to_write, plan.sampled_items) == (100, 100 * 6 * 4, 64)
    assert plan.seconds_expected > 0
    assert plan.blockers == ()
    assert plan.decisions() == DRAFT.decisions()


@pytest.fixture
def second(monkeypatch):
    """The 64 items of a sample take 64 seconds."""
    ticks = cycle([0.0, 64.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))


NOTHING_BESIDES = {"fit_items": 0, "verify_items": 0}


def test_half_the_duty_takes_twice_the_time(second):
    once = Plan(OLD, NEW, **NOTHING_BESIDES)
    assert planned(draft=once).seconds_expected == pytest.approx(100.0)
    half = Plan(OLD, NEW, duty_cycle=0.5, **NOTHING_BESIDES)
    assert planned(draft=half).seconds_expected == pytest.approx(200.0)


def test_what_is_fitted_verified_and_measured_counts(second):
    besides = Plan(OLD, NEW, fit_items=50, verify_items=30)
    assert planned(draft=besides).seconds_expected == pytest.approx(180.0)
    assert planned(draft=Plan(OLD, NEW)).seconds_expected == pytest.approx(300.0)
    guarded = Plan(OLD, NEW, canary_items=8, **NOTHING_BESIDES)
    plan = planned(draft=guarded)
    assert plan.seconds_expected == pytest.approx(100.0 / 0.9)
    assert "of the time at most 10% is for measuring the canaries" in plan.notes


class Paid(Projection):
    """Counts what it is asked for, and has a price."""

    paid = 0

    def __call__(self, contents):
        self.paid += len(contents)
        return super().__call__(contents)

    def price(self, contents):
        return 0.5 * len(contents)


@pytest.fixture
def cached(tmp_path):
    embedder = CachedEmbedder(Paid(NEW), VectorCache(tmp_path / "vectors.sqlite"))
    yield embedder
    embedder.close()


def test_what_a_cache_holds_takes_no_time_and_costs_nothing(second, cached):
    cached(list(contents(100).values())[50:])
    plan = planned(draft=Plan(OLD, NEW, **NOTHING_BESIDES), embedder=cached)
    assert (plan.cached_share, plan.sampled_items) == (0.5, 42)  # 8 to warm up, of the first 72
    assert plan.seconds_expected == pytest.approx(64.0 / 42 * 50)
    assert plan.price_expected == pytest.approx(25.0)


def test_what_a_plan_embeds_is_kept_and_the_next_plan_knows_better_than_its_own_sample(
    second, cached
):
    draft = Plan(OLD, NEW, **NOTHING_BESIDES)
    assert planned(draft=draft, embedder=cached).cached_share == 0.0
    assert (cached.kept, cached.uncached.paid) == (72, 72)
    again = planned(draft=draft, embedder=cached)
    assert again.cached_share == pytest.approx(0.72)
    assert again.seconds_expected == pytest.approx(64.0 / 8 * 28)  # of eight, embedded past it
    assert cached.uncached.paid == 80


@pytest.mark.parametrize(
    ("strategy", "words"), [("merge", "about twice that while"), ("prefill", "there is one side")]
)
def test_the_cost_of_a_search_is_measured_and_said(strategy, words):
    (note,) = [
        each
        for each in planned(draft=Plan(OLD, NEW, strategy=strategy)).notes
        if "a search" in each
    ]
    assert words in note


class Slow(MemoryGallery):
    """Takes a second to impute an item of six numbers, two to write one, three for its index."""

    @property
    def capabilities(self):
        second = 1e6 * 384 / 6
        cost = StoreCost(imputed=second, embedded=2 * second, indexed=3 * second)
        return replace(super().capabilities, cost=cost)


def said_of_the_store(**decisions):
    gallery = filled(contents(100), Slow(OLD))
    notes = planned(gallery=gallery, draft=Plan(OLD, NEW, **decisions)).notes
    return [each for each in notes if each.startswith("the store itself takes")]


def test_what_the_store_takes_by_itself_is_said_of_large_galleries(monkeypatch):
    assert said_of_the_store() == []
    monkeypatch.setattr("hotfill.upgrade.prepare._LARGE", 100)
    (note,) = said_of_the_store()
    assert "about 1 min 40 s to impute, 3 min 20 s to write what is embedded" in note
    assert "5 min 0 s for the index" in note
    (merge,) = said_of_the_store(strategy="merge", optimise=False)
    assert "about 3 min 20 s to write what is embedded" in merge
    assert "impute" not in merge
    assert "index" not in merge


@pytest.mark.parametrize("items", [1, 8, 9, 72, 73])
def test_a_gallery_of_any_size_can_be_sampled(items):
    plan = planned(gallery=filled(contents(items)), source=contents(items))
    assert plan.blockers == ()
    assert 1 <= plan.sampled_items <= min(items, 64)


def test_the_same_model_twice_is_nothing_to_upgrade():
    plan = planned(draft=Plan(OLD, OLD), embedder=Projection(OLD))
    assert "old and new model are the same" in plan.blockers[0]


def test_an_embedder_of_another_model_is_named_with_the_difference():
    (blocker,) = planned(embedder=Projection(ModelId("new", "2", 6))).blockers
    assert "the plan says new@1" in blocker
    assert "revision '1' != '2'" in blocker


def test_a_store_of_another_model_is_named():
    (blocker,) = planned(draft=Plan(ModelId("older", "1", 4), NEW)).blockers
    assert blocker.startswith("the plan's old model is older@1")
    assert "but the store holds old@1" in blocker


def test_an_unstamped_store_is_named():
    (blocker,) = planned(gallery=MemoryGallery()).blockers
    assert "no stamped vectors" in blocker


def test_an_empty_gallery_has_nothing_to_upgrade():
    (blocker,) = planned(gallery=MemoryGallery(OLD)).blockers
    assert blocker.endswith("is empty: there is nothing to upgrade")


def test_a_source_without_content_is_a_blocker():
    (blocker,) = planned(source=Contents()).blockers
    assert "the source has no content" in blocker


def test_an_embedder_that_fails_is_a_blocker_with_its_words():
    def fail(rows):
        raise EmbedError("the endpoint is down")

    (blocker,) = planned(embedder=_Calling(fail)).blockers
    assert blocker == "embedding a sample failed: the endpoint is down"


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (lambda n: np.ones((n, 5)), r"expected shape (n, 6), got (8, 5)"),
        (lambda n: np.full((n, 6), np.nan), "hold NaN, infinite or only zero values"),
        (lambda n: np.ones((n - 1, 6)), "expected one row per item (8), got 7"),
    ],
)
def test_vectors_that_cannot_be_used_are_a_blocker(vectors, words):
    (blocker,) = planned(embedder=_Calling(lambda rows: vectors(len(rows)))).blockers
    assert words in blocker


def test_too_little_room_is_a_blocker_with_both_figures():
    (blocker,) = planned(free_bytes=100).blockers
    assert "need 2.4 kB, 100 B are free" in blocker


def test_just_enough_room_is_enough():
    assert planned(free_bytes=100 * 6 * 4).blockers == ()
    assert planned(free_bytes=100 * 6 * 4 - 1).blockers != ()


def test_several_reasons_are_told_together():
    plan = planned(
        draft=Plan(ModelId("older", "1", 4), NEW), embedder=Projection(ModelId("x", "1", 6))
    )
    assert len(plan.blockers) == 2


class _Calling:
    model_id = NEW

    def __init__(self, function):
        self.function = function

    def __call__(self, rows):
        return self.function(rows)


def test_items_of_a_model_that_the_plan_does_not_know_block_it():
    gallery = filled(contents(100))
    gallery.add_space(NEW)
    gallery.upsert(
        ["item-00000", "item-00001"], Projection(NEW)([*contents(2).values()]), space=NEW
    )
    third = ModelId("third", "1", 7)
    (blocker,) = planned(
        gallery=gallery, draft=Plan(NEW, third), embedder=Projection(third)
    ).blockers
    assert f"98 items are still searched by {OLD}" in blocker
    assert "supersede" in blocker
    chain = Plan(NEW, third, older_models=(OLD,), strategy="merge")
    plan = planned(gallery=gallery, draft=chain, embedder=Projection(third))
    assert (plan.blockers, plan.items) == ((), 100)
    alone = MemoryGallery(NEW)
    (blocker, *_) = planned(gallery=alone, draft=chain, embedder=Projection(third)).blockers
    assert "the store lacks it" in blocker


def test_items_that_others_take_away_while_it_is_planned_are_no_trouble():
    """Or move, between two looks."""
    gallery = filled(contents(100))

    def embed(rows):
        gallery.delete(gallery.scan(OLD).item_ids)
        return Projection(NEW)(rows)

    embed.model_id = NEW
    assert planned(gallery=gallery, embedder=embed).sampled_items == 64
