"""A compatible model whose old vectors stay must find them at least as well as the old model."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hotfill.errors import PlanError
from hotfill.metrics import paired_difference
from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.upgrade import Upgrade
from tests.unit.upgrade.small import NEW, Projection, contents

N = 300
BEFORE = replace(NEW, name="before")


class Seen:
    """The new projection as a model of a name sees it: with an error of its own, or another one."""

    def __init__(self, model: Any, error: float) -> None:
        self.model_id, self.error = model, error

    def __call__(self, rows: Any) -> Any:
        made = Projection(NEW)(rows) + self.error * Projection(self.model_id)(rows)
        return made / np.linalg.norm(made, axis=1, keepdims=True)


OLD_MODEL, GOOD, BAD = Seen(BEFORE, 0.4), Seen(NEW, 0.0), Seen(replace(NEW, name="bad"), 9.0)


def compatible(folder: Any, new: Seen, **settings: Any) -> Upgrade:
    source = contents(N)
    gallery = MemoryGallery(BEFORE)
    gallery.upsert(list(source), OLD_MODEL(list(source.values())), space=BEFORE)
    given: dict[str, Any] = {"backfill": "none", "source": source, "batch_size": 64} | settings
    return Upgrade(gallery, old=OLD_MODEL, new=new, folder=folder, strategy="compatible", **given)


def precision(scores: Any, relevant: set[int], left_out: int = -1) -> float:
    """Average precision of one query, item by item."""
    order = [row for row in np.argsort(-scores, kind="stable") if row != left_out]
    hits = [rank for rank, row in enumerate(order, start=1) if row in relevant]
    return float(np.mean([found / rank for found, rank in enumerate(sorted(hits), start=1)]))


def by_items(new: Seen) -> Any:
    """New over old against old over old, relevant being the new model's ten nearest."""
    rows = list(contents(N).values())
    one, other = new(rows), OLD_MODEL(rows)
    figures = []
    for row in range(N):
        own = one @ one[row]
        own[row] = -np.inf
        nearest = {int(each) for each in np.argsort(-own)[:10]}
        figures.append(
            [precision(other @ asked[row], nearest, left_out=row) for asked in (one, other)]
        )
    return np.array(figures).T


def test_a_model_that_is_compatible_begins_and_what_was_measured_is_noted(tmp_path):
    with compatible(tmp_path, GOOD) as up:
        up.start()
        noted = up.journal.last("criterion").body
        wanted = by_items(GOOD)
        assert noted["new_over_old"] == pytest.approx(wanted[0].mean(), abs=1e-4)
        assert noted["old_over_old"] == pytest.approx(wanted[1].mean(), abs=1e-4)
        apart = paired_difference(*wanted)
        assert noted["difference"]["high"] == pytest.approx(apart.high, abs=1e-4)
        assert (noted["met"], noted["queries"]) == (True if apart.low >= 0 else None, N)
        assert up.phase is Phase.BACKFILLED


@pytest.mark.parametrize("backfill", [{"backfill": "none"}, {"budget_items": 9}])
def test_a_model_that_misses_the_criterion_is_refused_with_its_interval(tmp_path, backfill):
    settings = {"backfill": "budget", **backfill}
    with compatible(tmp_path, BAD, **settings) as up:
        apart = paired_difference(*by_items(BAD))
        assert apart.high < 0
        with pytest.raises(PlanError, match="is not compatible") as told:
            up.start()
        assert f"95 % interval {apart.low:+.3f} to {apart.high:+.3f}" in str(told.value)
        assert "--yes-below-old" in str(told.value)
        assert (up.phase, up.gallery.spaces) == (Phase.PLANNED, (BEFORE,))
        up.start(allow_below_old=True)
        assert up.phase is Phase.BACKFILLED


def test_what_is_neither_met_nor_missed_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr("hotfill.upgrade.criterion._ITEMS", 20)
    with compatible(tmp_path, Seen(replace(NEW, name="near"), 0.4)) as up:
        up.start()
        met = up.journal.last("criterion").body["met"]
        warned = [each for each in up.status().warnings if "is open: by 20 queries" in each]
        assert (met is None) == bool(warned)
        assert met is None


def test_judged_canaries_decide_where_there_are_some(tmp_path):
    source = contents(N)
    names, asked = list(source), list(contents(40, seed=8).values())
    # By these judgements the old model is right, whatever the new one thinks.
    old = OLD_MODEL(list(source.values()))
    judged = [[names[row] for row in np.argsort(-(old @ query))[:3]] for query in OLD_MODEL(asked)]
    lines = [
        json.dumps({"content": row.tolist(), "relevant": [*items, "gone"]})
        for row, items in zip(asked, judged, strict=True)
    ]
    (tmp_path / "queries.jsonl").write_text("\n".join(lines))
    canaries = {"canary_queries": str(tmp_path / "queries.jsonl")}
    with compatible(tmp_path / "up", GOOD, **canaries) as up:
        wanted = np.array(
            [
                [precision(old @ by([row])[0], {names.index(each) for each in items})]
                for by in (GOOD, OLD_MODEL)
                for row, items in zip(asked, judged, strict=True)
            ]
        ).reshape(2, -1)
        with pytest.raises(PlanError, match="by 40 queries and their judgements") as told:
            up.start()
        assert f"map {wanted[0].mean():.3f} against 1.000 of old queries" in str(told.value)
        assert wanted[1].min() == 1.0


def test_what_cannot_be_measured_without_contents_begins_only_where_somebody_takes_that(tmp_path):
    with compatible(tmp_path, BAD, source=None) as up:
        assert any("without contents nobody can tell" in note for note in up.plan().notes)
        with pytest.raises(PlanError, match="cannot be measured: it takes the contents of 20"):
            up.start()
        assert up.phase.value == "planned"
    with compatible(tmp_path / "taken", BAD, source=None, allow_below_old=True) as up:
        up.start()
        assert up.journal.last("criterion") is None


def test_the_plan_counts_what_is_embedded_to_measure(tmp_path):
    with compatible(tmp_path, GOOD) as up:
        assert up.plan().sampled_items > 0
    with compatible(tmp_path / "all", BAD, backfill="all") as up:
        up.start()  # the old vectors go
        assert up.journal.last("criterion") is None
