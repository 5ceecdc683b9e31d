"""Rho, and the two ends of one index: what is measured, and who is sent where."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hotfill.metrics import average_precision, hit_rate, rank_scores, same_label
from hotfill.ranking import fit_one_space
from hotfill.rehearsal.backfill_evaluation import PerQuery
from hotfill.rehearsal.ends import measure_ends
from hotfill.rehearsal.maps import pairs_of
from hotfill.rehearsal.report import settings, summary
from hotfill.rehearsal.results import Recommendation
from hotfill.rehearsal.sample import EmbeddedBy, draw_sample
from hotfill.rehearsal.strategies import paired
from tests.unit.rehearsal.short import rehearsed

BY_LABELS = Recommendation(
    "prefill", "bridge", "new", "tail", "random", 0.9, True, "", labels_used=True
)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    rows = np.random.default_rng(0).permutation(len(data.data))[:600]
    sample = draw_sample(
        EmbeddedBy(data.data[rows, :32]), EmbeddedBy(data.data[rows]), fit=300, seed=0
    )
    return sample, data.target[rows]


def seen(digits):
    sample, labels = digits
    return same_label(labels[sample.queries], labels[sample.gallery])


def ends_of(digits, plain, recommended=BY_LABELS):
    sample, _ = digits
    return measure_ends(
        sample,
        pairs_of(sample),
        ["bridge"],
        plain=plain,
        relevance=seen(digits),
        recommended=recommended,
    )


def worst(digits):
    """A plain end that any other is measurably better than."""
    count = len(digits[0].queries)
    return PerQuery(np.zeros(count), np.zeros(count, np.bool_), np.zeros(count))


def test_the_agreement_end_is_measured_as_the_index_will_hold_it(digits) -> None:
    sample, _ = digits
    found = ends_of(digits, worst(digits))
    one = fit_one_space(
        *paired(pairs_of(sample)),
        sample.old.model,
        sample.new.model,
        map="ridge",
        finish="agreement",
    )
    scores = one.searching(sample.new.queries.read()) @ one.own(sample.new.gallery.read()).T
    ranks = rank_scores(scores, seen(digits))
    assert found.agreement.map == pytest.approx(average_precision(ranks).mean(), abs=1e-6)
    assert found.agreement.hit_rate_at_1 == pytest.approx(hit_rate(ranks, 1).mean())
    assert (found.rho, found.by_items) == (pytest.approx(one.rho), True)


def test_nobody_is_sent_to_the_agreement_end_without_labels(digits) -> None:
    unseen = replace(BY_LABELS, labels_used=False)
    assert ends_of(digits, worst(digits)).finish == "agreement"
    assert ends_of(digits, worst(digits), unseen).finish == "plain"


def test_it_must_be_better_in_average_precision_and_at_the_first_hit(digits) -> None:
    lowest = worst(digits)
    first = replace(lowest, right=np.ones_like(lowest.right))
    whole = replace(lowest, average_precision=np.ones_like(lowest.average_precision))
    for plain in (first, whole):
        found = ends_of(digits, plain)
        assert found.finish == "plain"
        assert "not measurably better in both" in found.why


def test_a_way_that_cannot_end_there_is_not_sent_there(digits) -> None:
    for other in (replace(BY_LABELS, queries="both"), replace(BY_LABELS, strategy="merge")):
        found = ends_of(digits, worst(digits), other)
        assert found.finish == "plain"
        assert "cannot end there" in found.why


def test_a_rehearsal_tells_rho_and_against_which_end_gain_is_measured(digits) -> None:
    rng = np.random.default_rng(0)
    found = rehearsed(
        rng.normal(size=(400, 6)), rng.normal(size=(400, 6)), points=2,
        strategies=["prefill"], transforms=["bridge"], orders=["random"],
    )  # fmt: skip
    words = summary(found)
    assert found.ends is not None
    assert f"rho {found.ends.rho:.2f}; from 0.65 on, one encoder is enough" in words
    assert 'let it embed queries, too, by `queries = "both"`' in words
    assert f"Gain is measured against the plain new model (map {found.new.map:.3f}" in words
    assert found.to_dict()["ends"]["finish"] == "plain"
    assert f"`start` refuses at rho {found.ends.rho:.2f}. Add allow_below_old" in settings(found)
    assert "upgrade" in tomllib.loads(settings(found)), "the advice is a comment"
    assert [curve.queries for curve in found.curves] == ["new", "new", "both"]


@pytest.mark.parametrize("looked_at", [True, False])
def test_labels_are_asked_for_where_they_were_not_looked_at(digits, looked_at, monkeypatch) -> None:
    monkeypatch.setattr("hotfill.ranking.one_space.RHO_UNSURE", (-1.0, 1.0))
    found = ends_of(digits, worst(digits), replace(BY_LABELS, labels_used=looked_at))
    asked = "`hotfill sample --queries FILE` or `--label-key KEY`" in found.text()
    assert asked is not looked_at


def test_the_end_recommended_stands_in_the_lines_for_the_configuration() -> None:
    written = tomllib.loads(replace(BY_LABELS, finish="agreement").to_toml() or "")
    assert written["upgrade"]["finish"] == "agreement"
    assert "finish" not in (BY_LABELS.to_toml() or "")
