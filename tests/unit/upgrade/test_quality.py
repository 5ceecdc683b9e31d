"""Measurements of canaries, against slow and obvious ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.ranking import fit_models
from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade.backfill import prefill_work
from hotfill.upgrade.canaries import Canaries
from hotfill.upgrade.guard import LEAST_WATCHED, flip_rate, measure, moved_vectors, overlap
from hotfill.upgrade.own_vectors import OwnVectors
from hotfill.upgrade.plan import Plan
from tests.unit.upgrade.small import NEW, OLD, Projection, contents

K = 5
PLAN = Plan(OLD, NEW, strategy="merge", canary_k=K)


@given(st.lists(st.tuples(*[st.lists(st.sampled_from("abcdefg"), unique=True)] * 2), max_size=5))
def test_overlap_is_the_mean_share_of_what_was_wanted(pairs):
    found, wanted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    shares = []
    for mine, truth in pairs:
        first = truth[:3]
        hits = sum(1 for name in first if name in mine[:3])
        shares.append(hits / len(first) if first else 1.0)
    expected = sum(shares) / len(shares) if shares else None
    assert overlap(found, wanted, 3) == pytest.approx(expected)


@given(st.lists(st.tuples(*[st.lists(st.sampled_from("abcdefg"), unique=True)] * 3), max_size=5))
def test_a_flip_is_a_query_that_had_a_relevant_item_and_has_none_now(rows):
    flips = 0
    for before, after, relevant in rows:
        had = any(name in relevant for name in before[:2])
        has = any(name in relevant for name in after[:2])
        flips += had and not has
    expected = flips / len(rows) if rows else None
    columns = list(zip(*rows, strict=True)) if rows else [[], [], []]
    assert flip_rate(*columns, 2) == pytest.approx(expected)


@pytest.fixture(scope="module")
def world():
    """300 items, of which every third has moved; a fit; 12 canaries made of items."""
    source = contents(300)
    ids, rows = list(source), list(source.values())
    old, new = Projection(OLD)(rows), Projection(NEW)(rows)
    gallery = MemoryGallery(OLD)
    gallery.add_space(NEW)
    gallery.upsert(ids, old, space=OLD)
    moved = ids[::3]
    versions = np.array([state.version for state in gallery.get(moved)])
    gallery.move(moved, new[::3], space=NEW, expected_versions=versions)
    fit = fit_models(old[:200], new[:200], OLD, NEW)
    names = ids[:12]
    before = gallery_before(ids, old, old[:12], names)
    canaries = Canaries(new[:12], tuple(names), ((),) * 12, before, tuple(ids[100:]))
    return (
        gallery,
        fit,
        canaries,
        dict(zip(ids, old, strict=True)),
        dict(zip(ids, new, strict=True)),
    )


def gallery_before(ids, old, queries, names):
    found = []
    for query, name in zip(queries, names, strict=True):
        ranked = sorted(ids, key=lambda item, q=query: -float(old[ids.index(item)] @ q))
        found.append(tuple(item for item in ranked if item != name)[:K])
    return tuple(found)


def test_overlap_with_the_old_ranking_and_the_share_of_the_new_side(world):
    gallery, fit, canaries, _, _ = world
    found = measure(gallery, fit, canaries, PLAN)
    kept, firsts, from_new, total = 0, 0, 0, 0
    for query, mine in enumerate(found_now(gallery, fit, canaries)):
        kept += len(set(mine) & set(canaries.before[query])) / K
        firsts += canaries.before[query][0] in mine
        sides = [gallery.get([name])[0].space for name in mine]
        from_new += sides.count(NEW)
        total += len(mine)
    assert found.old_overlap == pytest.approx(kept / 12)
    assert found.first_kept == pytest.approx(firsts / 12)
    assert found.new_share == pytest.approx(from_new / total)
    assert found.coverage == pytest.approx(100 / 300)
    assert (found.canaries, found.flips, found.judged) == (12, None, 0)


def test_agreement_compares_moved_items_half_seen_by_old_vectors_with_the_new_model(world):
    gallery, fit, canaries, old, new = world
    found = measure(gallery, fit, canaries, PLAN)
    moved = [name for name in canaries.watched if gallery.get([name])[0].space == NEW]
    assert found.watched == len(moved) >= LEAST_WATCHED
    prepared = fit.prepare(canaries.queries)
    side = fit.scorer.sides[0]
    scores = []
    for query, own in enumerate(canaries.item_ids):
        line = prepared.refined[OLD].calibrated
        features = side.transform.query_features(canaries.queries)[query]
        mixed = {}
        for number, name in enumerate(moved):
            if number % 2:
                stored = side.transform.gallery_features(old[name][None])[0]
                exact = np.array([stored @ features], np.float32)
                mixed[name] = float(line(query, exact)[0])
            else:
                mixed[name] = float(new[name] @ canaries.queries[query])
        truth = {name: float(new[name] @ canaries.queries[query]) for name in moved}
        best = [
            [name for name in sorted(some, key=lambda n, s=some: -s[n]) if name != own][:K]
            for some in (mixed, truth)
        ]
        scores.append(len(set(best[0]) & set(best[1])) / K)
    assert found.agreement == pytest.approx(np.mean(scores))


def test_with_prefill_the_other_half_is_seen_by_imputed_vectors(world):
    gallery, fit, canaries, old, new = world
    imputing = prefill_work(
        OwnVectors(gallery, (OLD,)),
        NEW,
        fit.ups,
        (),
        lambda origin: pytest.fail(f"nothing was imputed before, by {origin}"),
        lambda item_ids: {},
    )
    prefill = replace(PLAN, strategy="prefill")
    found = measure(gallery, fit, canaries, prefill, imputing=imputing)
    moved = [name for name in canaries.watched if gallery.get([name])[0].space == NEW]
    seen = {
        name: fit.up(old[name][None])[0] if number % 2 else new[name]
        for number, name in enumerate(moved)
    }
    scores = []
    for query, own in zip(canaries.queries, canaries.item_ids, strict=True):
        best = [
            [
                name
                for name in sorted(some, key=lambda n, s=some: -float(s[n] @ query))
                if name != own
            ]
            for some in (seen, {name: new[name] for name in moved})
        ]
        scores.append(len({*best[0][:K]} & {*best[1][:K]}) / K)
    assert found.agreement == pytest.approx(np.mean(scores))


def test_judged_canaries_flip_only_where_they_had_an_answer_that_still_exists(world):
    gallery, fit, canaries, _, _ = world
    relevant = [row[-1:] for row in canaries.before]
    relevant[0] = ("deleted-long-ago",)
    relevant[1] = ("item-00299",)  # never found, so it cannot be lost
    judged = replace(canaries, relevant=tuple(relevant))
    lost = []
    for before, after, wanted in zip(
        canaries.before, found_now(gallery, fit, canaries), relevant, strict=True
    ):
        had, has = set(before) & set(wanted), set(after) & set(wanted)
        lost.append(bool(had) and not has)
    assert any(lost[2:])
    found = measure(gallery, fit, judged, PLAN)
    assert found.judged == 11
    assert found.flips == pytest.approx(sum(lost[1:]) / 11)


def found_now(gallery, fit, canaries):
    prepared = fit.prepare(canaries.queries)
    hits = gallery.search(prepared.vectors, prepared.depth(K + 1))
    ranked = prepared.rank(hits, K + 1, read=gallery.vectors)
    return [
        [name for name in row.item_ids if name != own][:K]
        for row, own in zip(ranked, canaries.item_ids, strict=True)
    ]


def test_an_empty_gallery_and_no_canaries_measure_nothing(world):
    _, fit, canaries, _, _ = world
    empty = MemoryGallery(OLD)
    empty.add_space(NEW)
    found = measure(empty, fit, canaries, PLAN)
    assert (found.coverage, found.agreement, found.old_overlap, found.new_share) == (
        0,
        None,
        None,
        None,
    )
    none = Canaries(canaries.queries[:0], (), (), (), canaries.watched)
    found = measure(world[0], fit, none, PLAN)
    assert (found.canaries, found.agreement, found.first_kept) == (0, None, None)


def test_vectors_of_earlier_content_are_no_pair(world):
    gallery = MemoryGallery(OLD)
    gallery.add_space(NEW)
    one = np.ones((1, 4), np.float32)
    gallery.upsert(["a", "b", "c"], np.repeat(one, 3, axis=0), space=OLD)
    gallery.move(
        ["a"],
        np.ones((1, 6), np.float32),
        space=NEW,
        expected_versions=np.array([gallery.get(["a"])[0].version]),
    )
    gallery.upsert(["b"], np.ones((1, 6), np.float32), space=NEW)  # a write without an old vector
    assert set(moved_vectors(gallery, ["a", "b", "c", "gone"], NEW)) == {"a"}
