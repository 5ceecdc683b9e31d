"""Fitting again from moved items, beside the backfill."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError
from hotfill.upgrade import refit
from hotfill.upgrade.pairs import Fitting
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.state import fit_folder
from tests.unit.upgrade.small import (
    FITTING,
    NEW,
    OLD,
    LeastSquares,
    Projection,
    assert_reembedded,
    stay_imputed,
    upgrade,
)


@pytest.fixture
def few_held_out(monkeypatch):
    monkeypatch.setattr(refit, "_HELD_OUT", 50)


def test_without_being_asked_nothing_is_fitted_again(tmp_path, few_held_out):
    up = upgrade(tmp_path, n=400)
    up.start()
    assert up.journal.last("refit") is None
    assert fit_folder(tmp_path, up.journal).name == "fit-1"


def test_a_better_fit_takes_the_place_of_the_one_in_force(tmp_path, few_held_out):
    up = upgrade(tmp_path, n=600, strategy="merge", refit=True)
    poor = LeastSquares(np.random.default_rng(0).normal(size=(4, 6)))
    fits = iter([poor])
    up.fitting = Fitting(
        fit=lambda old, new: next(fits, None) or FITTING.fit(old, new), load=FITTING.load
    )
    up.start()
    tried = next(up.journal.facts("refit")).body
    assert tried["after"] > tried["before"]
    assert fit_folder(tmp_path, up.journal).name != "fit-1"
    assert_reembedded(up.gallery, up.source)


def test_a_fit_that_is_not_better_is_not_kept(tmp_path, few_held_out):
    up = upgrade(tmp_path, n=600, strategy="merge", refit=True)
    fits = iter([None])
    poor = LeastSquares(np.random.default_rng(0).normal(size=(4, 6)))
    up.fitting = Fitting(
        fit=lambda old, new: next(fits, poor) or FITTING.fit(old, new), load=FITTING.load
    )
    up.start()
    tried = list(up.journal.facts("refit"))
    assert tried
    assert not any(fact.body["kept"] for fact in tried)
    assert fit_folder(tmp_path, up.journal).name == "fit-1"


def test_a_fit_that_fails_does_not_stop_the_backfill(tmp_path, few_held_out):
    up = upgrade(tmp_path, n=600, strategy="merge", refit=True)
    fits = iter([FITTING.fit])

    def fit(old, new):
        return next(fits, _fail)(old, new)

    up.fitting = Fitting(fit=fit, load=FITTING.load)
    assert up.start().phase is Phase.BACKFILLED
    assert "no good" in up.journal.last("refit").body["error"]


def _fail(old, new):
    raise InputError("no good")


def test_the_pairs_of_a_refit_are_old_and_new_vectors_of_the_same_items(tmp_path, few_held_out):
    up = upgrade(tmp_path, n=300)
    imputed = sorted(up.source)[:60]
    stay_imputed(up.gallery, imputed)
    up.start()
    with up.noting_origins() as noted:
        old, new = refit.moved_pairs(up.gallery, up.plan_in_force, 300, noted)
    assert len(old) == len(new) == 240
    rows = {tuple(row): i for i, row in enumerate(old.tolist())}
    for item_id in sorted(up.source)[60:]:
        key = tuple(up.gallery.vectors([item_id], OLD).vectors[0].tolist())
        direct = Projection(NEW)([up.source[item_id]])[0]
        np.testing.assert_allclose(new[rows[key]], direct, atol=1e-5)
