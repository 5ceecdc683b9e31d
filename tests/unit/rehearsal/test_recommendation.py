"""Which way is recommended, given curves."""

from __future__ import annotations

import numpy as np

from hotfill.metrics import BackfillCurve
from hotfill.rehearsal.backfill_evaluation import Figures, PerQuery
from hotfill.rehearsal.recommendation import ModelSigns, recommend
from hotfill.rehearsal.results import MeasuredCurve, Point

DIFFERENT = ModelSigns(agreement=0.4, old_coherence=0.5, new_coherence=0.6)


def system(level, queries=50):
    values = np.full(queries, level)
    return PerQuery(values, np.zeros(queries, dtype=bool), values)


def curve(
    name, values, *, transform="none", order="random", rewritten=0, queries="new", old=0.2, new=0.6,
    calibration="none",
):  # fmt: skip
    shares = tuple(np.linspace(0, 1, len(values)).tolist())
    measured = BackfillCurve(shares, tuple(values), old, new)
    return MeasuredCurve(
        strategy=name, transform=transform, queries=queries, calibration=calibration, order=order,
        labels_used=False,
        points=tuple(
            Point(share, Figures(value, 0.0, 0.0), 0.0)
            for share, value in zip(shares, values, strict=True)
        ),
        auc=measured.auc, gain=measured.gain, floor=measured.floor, dips=measured.dips,
        vectors_rewritten=rewritten, fit_seconds=0.0,
    )  # fmt: skip


def chosen(curves, *, labels_used, old=0.2, new=0.6, signs=DIFFERENT):
    return recommend(curves, old=system(old), new=system(new), signs=signs, labels_used=labels_used)


def test_with_labels_the_larger_area_wins() -> None:
    found = chosen(
        [curve("merge", [0.3, 0.4, 0.6]), curve("compatible", [0.3, 0.5, 0.6])], labels_used=True
    )
    assert found.strategy == "compatible"
    assert found.worth_it


def test_a_curve_below_the_old_model_loses_to_one_that_never_is() -> None:
    deep = curve("prefill", [0.1, 0.6, 0.6])
    assert deep.auc > curve("merge", [0.2, 0.4, 0.6]).auc
    found = chosen([deep, curve("merge", [0.2, 0.4, 0.6])], labels_used=True)
    assert found.strategy == "merge"


def test_of_nearly_equal_ways_the_cheaper_wins() -> None:
    for labels_used in (True, False):
        found = chosen(
            [
                curve("prefill", [0.4, 0.5, 0.6], rewritten=1000, calibration="none"),
                curve("prefill", [0.403, 0.5, 0.6], rewritten=1000, calibration="tail"),
                curve("merge", [0.404, 0.5, 0.6], calibration="tail"),
                curve("merge", [0.405, 0.5, 0.6], queries="both"),
            ],
            labels_used=labels_used,
        )
        assert (found.strategy, found.calibration) == ("prefill", "none")


def test_what_a_query_pays_on_the_way_is_said() -> None:
    for strategy, said in (("merge", True), ("prefill", False)):
        why = chosen([curve(strategy, [0.3, 0.5, 0.6])], labels_used=True).why
        assert ("each query searches two sides" in why) is said


def test_baselines_are_not_recommended() -> None:
    found = chosen(
        [curve("naive_merge", [0.5, 0.6, 0.6]), curve("merge", [0.2, 0.4, 0.6])], labels_used=True
    )
    assert found.strategy == "merge"
    alone = chosen([curve("naive_merge", [0.2, 0.3, 0.6])], labels_used=True)
    assert alone.strategy == "naive_merge"


def test_without_labels_the_better_start_wins_over_the_larger_area() -> None:
    found = chosen(
        [curve("prefill", [0.3, 0.59, 0.6]), curve("merge", [0.4, 0.5, 0.6])], labels_used=False
    )
    assert found.strategy == "merge"
    assert "Without labels" in found.why


def test_without_labels_a_curve_that_falls_on_the_way_is_out() -> None:
    found = chosen(
        [curve("prefill", [0.5, 0.3, 0.6]), curve("merge", [0.4, 0.5, 0.6])], labels_used=False
    )
    assert found.strategy == "merge"


def test_without_labels_a_curve_that_another_lies_above_is_out() -> None:
    found = chosen(
        [curve("merge", [0.5, 0.44, 0.6]), curve("merge", [0.1, 0.3, 0.6], queries="both")],
        labels_used=False,
    )
    assert found.queries == "new"


def test_without_labels_a_cheaper_curve_is_not_out_for_a_dearer_one_above() -> None:
    found = chosen(
        [curve("merge", [0.5, 0.4, 0.6]), curve("prefill", [0.3, 0.3, 0.6], rewritten=9)],
        labels_used=False,
    )
    assert found.strategy == "prefill"


def test_without_labels_an_informed_order_comes_before_the_random_one() -> None:
    found = chosen(
        [curve("merge", [0.4, 0.5, 0.6]), curve("merge", [0.4, 0.49, 0.6], order="uncertainty")],
        labels_used=False,
    )
    assert found.order == "uncertainty"


def test_a_new_model_that_is_not_better_is_not_worth_it() -> None:
    some = [curve("merge", [0.6, 0.5, 0.2], old=0.6, new=0.2)]
    found = chosen(some, labels_used=True, old=0.6, new=0.2)
    assert not found.worth_it
    assert found.expected_gain is None


def test_a_difference_within_the_noise_is_not_worth_it() -> None:
    noisy = np.random.default_rng(0).normal(0.3, 0.2, size=40)
    right = np.zeros(40, dtype=bool)
    found = recommend(
        [curve("merge", [0.3, 0.3, 0.31], old=0.3, new=0.31)],
        old=PerQuery(np.full(40, noisy.mean() - 0.01), right, noisy),
        new=PerQuery(noisy, right, noisy),
        signs=DIFFERENT,
        labels_used=True,
    )
    assert not found.worth_it
    assert "not measurably better" in found.why


def test_without_labels_the_signs_say_whether_it_is_worth_it() -> None:
    some = [curve("merge", [0.4, 0.5, 0.6])]
    assert chosen(some, labels_used=False).worth_it
    same = ModelSigns(agreement=1.0, old_coherence=0.5, new_coherence=0.5)
    assert not chosen(some, labels_used=False, signs=same).worth_it
    worse = ModelSigns(agreement=0.4, old_coherence=0.5, new_coherence=0.4)
    assert not chosen(some, labels_used=False, signs=worse).worth_it
