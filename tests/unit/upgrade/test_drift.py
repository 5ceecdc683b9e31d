"""Whether what comes in looks like the pairs that the map was fitted on."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest

from hotfill.upgrade import drift
from hotfill.upgrade.drift import FALSE_ALARMS, alarms, compare_with_pairs, p_of_same
from tests.unit.upgrade.small import NEW, OLD, Projection, contents
from tests.unit.upgrade.test_mixed import mixing, pairs_file, to_the_end


def draw(seed, n, shift=0.0, clusters=4):
    """Directions about a few centres, as real embeddings are; shift: of half of them."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(clusters, 12))
    rows = centres[rng.integers(clusters, size=n)] + rng.normal(size=(n, 12))
    rows[: n // 2] += shift
    return rows.astype(np.float32)


def test_samples_of_one_distribution_give_no_more_alarms_than_stated():
    found = sum(
        p_of_same(draw(2 * seed, 80), draw(2 * seed + 1, 60)) <= FALSE_ALARMS for seed in range(100)
    )
    assert found <= 4  # of 100 at a rate of 0.01 there are more than 4 in 0.3 % of all cases


def test_p_of_one_distribution_is_spread_evenly():
    ps = [p_of_same(draw(2 * seed, 60), draw(2 * seed + 1, 60)) for seed in range(100)]
    assert 0.3 < np.mean(np.array(ps) < 0.5) < 0.7
    assert 0 < min(ps) <= max(ps) <= 1


def test_samples_of_two_distributions_give_an_alarm():
    assert all(
        p_of_same(draw(2 * seed, 80), draw(2 * seed + 1, 60, shift=1.5)) <= FALSE_ALARMS / 3
        for seed in range(20)
    )


def test_p_is_the_share_of_all_ways_to_part_the_rows(monkeypatch):
    monkeypatch.setattr(drift, "_PERMUTATIONS", 20_000)
    rows = draw(3, 9)
    rows[:4] += 1.0
    one = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    apart = [[1 - float(a @ b) for b in one] for a in one]
    scale = np.median([apart[i][j] for i, j in combinations(range(9), 2)])

    def discrepancy(first):
        second = [each for each in range(9) if each not in first]
        means = [
            np.mean([[np.exp(-apart[i][j] / scale) for i in here] for j in there])
            for here, there in ((first, first), (second, second), (first, second))
        ]
        return means[0] + means[1] - 2 * means[2]

    found = discrepancy((0, 1, 2, 3))
    ways = [discrepancy(first) for first in combinations(range(9), 4)]
    exact = sum(way >= found - 1e-9 for way in ways) / comb(9, 4)
    assert p_of_same(rows[:4], rows[4:]) == pytest.approx(exact, abs=0.015)


# In an upgrade ------------------------------------------------------------------------------------


def looked(up):
    return compare_with_pairs(up.gallery, up.journal, up.plan_in_force, up.state.load_fit())


def write(up, n, shift):
    rows = {f"new-{name}": row + shift for name, row in contents(n, seed=50).items()}
    up.upsert(list(rows), list(rows.values()))


@pytest.mark.parametrize(("shift", "alarmed"), [(0.0, False), (1.5, True)])
def test_items_of_another_kind_are_told_after_complete(tmp_path, shift, alarmed):
    up = to_the_end(mixing(tmp_path, n=400))
    assert looked(up) == ()
    write(up, 90, shift)
    (found,) = looked(up)
    assert (found.items, found.pairs, bool(alarms([found]))) == (90, 100, alarmed)


def test_while_there_are_old_vectors_they_are_compared_as_well(tmp_path):
    up = mixing(tmp_path, n=400, backfill="budget", budget_items=200, old_embedder=Projection(OLD))
    up.start()
    assert looked(up) == ()  # embedded by the budget, but not written since
    write(up, 60, 1.5)
    found = looked(up)
    assert [each.what.rpartition("by the ")[2] for each in found] in (
        ["new model", "old model"],
        ["old model", "new model"],
    )
    assert alarms(found) == list(found)
    assert up.gallery.count(NEW) == 460


@pytest.mark.parametrize("alike", [True, False])
def test_pairs_from_a_file_are_compared_with_the_gallery(tmp_path, alike):
    path = pairs_file(tmp_path)
    if not alike:
        rows = [row + 1.5 for row in contents(300, seed=77).values()]
        np.savez(path, old=Projection(OLD)(rows), new=Projection(NEW)(rows))
    up = mixing(tmp_path, n=400, pairs=path)
    up.start()
    (found,) = looked(up)
    assert (found.what, found.items) == ("the items of the gallery", 400)
    assert bool(alarms([found])) is not alike
