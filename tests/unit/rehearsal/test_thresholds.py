"""A limit on the score, carried over: counted one score at a time."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError
from hotfill.metrics import same_label
from hotfill.rehearsal.mixed_gallery import MixedGallery
from hotfill.rehearsal.report import summary
from hotfill.rehearsal.sample import EmbeddedBy, cosines, draw_sample
from hotfill.rehearsal.thresholds import carry_threshold
from tests.unit.rehearsal.short import rehearsed

ITEMS = 600


@pytest.fixture(scope="module")
def world():
    """Twelve classes seen by a blurred old model and a sharper new one, of other dimensions."""
    rng = np.random.default_rng(0)
    labels = np.arange(ITEMS) % 12
    centres = rng.normal(size=(12, 10))
    true = centres[labels] + 0.6 * rng.normal(size=(ITEMS, 10))
    old = true @ rng.normal(size=(10, 6)) + 0.5 * rng.normal(size=(ITEMS, 6))
    new = true @ rng.normal(size=(10, 8))
    return old.astype(np.float32), new.astype(np.float32), labels


def test_counts_precision_and_recall_are_those_of_every_single_score(world, monkeypatch):
    old, new, labels = world
    monkeypatch.setattr("hotfill.rehearsal.backfill_evaluation.MAX_CHUNK_BYTES", 9000)
    sample = draw_sample(EmbeddedBy(old), EmbeddedBy(new), fit=150, seed=0)
    relevance = same_label(labels[sample.queries], labels[sample.gallery])

    def sides(rows):
        by_new = cosines(sample.new.queries.read(rows), sample.new.gallery)
        return by_new - 0.1, by_new

    gallery = MixedGallery("merge", "shifted", "none", sides)
    items = len(sample.gallery)
    order = np.random.default_rng(1).permutation(items)
    found = carry_threshold(0.7, sample, gallery, order, (0.0, 0.5, 1.0), relevance)

    def counted(scores, limit):
        passed = right = wanted = 0
        for query, row in zip(sample.queries, scores, strict=True):
            for item, score in zip(sample.gallery, row, strict=True):
                same = labels[query] == labels[item]
                passed += score >= limit
                right += bool(same and score >= limit)
                wanted += same
        return passed, right, wanted

    every = slice(None)
    by_old = cosines(sample.old.queries.read(every), sample.old.gallery)
    by_new = cosines(sample.new.queries.read(every), sample.new.gallery)
    before, right, wanted = counted(by_old, 0.7)
    assert found.before.hits == pytest.approx(before / len(sample.queries))
    assert found.before.precision == pytest.approx(right / before)
    assert found.before.recall == pytest.approx(right / wanted)
    nearest = np.sort(by_new.ravel())[::-1][before - 1]
    assert found.new == pytest.approx(nearest, abs=2e-4)
    for share, stage in zip(found.shares, found.stages, strict=True):
        mixed = by_new - 0.1
        moved = order[: int(share * items)]
        mixed[:, moved] = by_new[:, moved]
        passed, right, wanted = counted(mixed, found.new)
        assert stage.hits == pytest.approx(passed / len(sample.queries))
        assert stage.precision == pytest.approx(right / passed)
        assert stage.recall == pytest.approx(right / wanted)
    assert found.stages[-1].hits == pytest.approx(found.before.hits, rel=0.01)


def test_a_rehearsal_carries_the_limit_along_the_recommended_way(world):
    old, new, labels = world
    words = {"points": 3, "orders": ["random"], "strategies": ["merge"]}
    found = rehearsed(old, new, labels=labels, use_labels=True, threshold=0.7, **words)
    carried = found.to_dict()["threshold"]
    assert carried["old"] == 0.7
    assert [stage["share"] for stage in carried["stages"]] == [0.0, 0.5, 1.0]
    hits = [stage["hits"] for stage in carried["stages"]]
    assert hits[-1] == pytest.approx(carried["before"]["hits"], rel=0.01)
    # Scores are calibrated to the new model's: the limit means the same from the first item on.
    assert min(hits) > 0.6 * hits[-1]
    assert max(hits) < 1.6 * hits[-1]
    said = summary(found)
    assert "Scores of 0.7 and more" in said
    assert "were relevant" in said
    plain = rehearsed(old, new, threshold=0.7, **words)
    assert plain.threshold.before.precision is None
    assert "were relevant" not in summary(plain)
    assert rehearsed(old, new, **words).to_dict()["threshold"] is None


def test_a_limit_that_nothing_reaches_is_told(world):
    old, new, _ = world
    with pytest.raises(InputError, match=r"no score of the old model reaches 1.5; the highest"):
        rehearsed(old, new, threshold=1.5, points=2, orders=["random"], strategies=["merge"])
