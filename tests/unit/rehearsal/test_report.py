from __future__ import annotations

import json
import tomllib
from io import StringIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sklearn.datasets import load_digits

from hotfill.rehearsal.budget import BUDGETS, Cost
from hotfill.rehearsal.orders import ORDERS
from hotfill.rehearsal.report import (
    budget_table,
    shown_curves,
    spread,
    summary,
    table,
    write_report,
)
from hotfill.rehearsal.results import Recommendation
from hotfill.types import ModelId
from hotfill.upgrade.plan import Plan
from tests.unit.rehearsal.short import rehearsed


@pytest.fixture(scope="module")
def rehearsal():
    data = load_digits()
    return rehearsed(
        data.data[:500, :32],
        data.data[:500],
        labels=data.target[:500],
        points=3,
        use_labels=True,
        cost=Cost(90_000, 0.04, 0.001),
    )


def test_the_report_holds_table_picture_words_and_figures(rehearsal, tmp_path) -> None:
    folder = tmp_path / "made" / "report"
    write_report(rehearsal, folder)
    assert {path.name for path in folder.iterdir()} == {
        "index.html", "curves.png", "curves.svg", "budget.png", "budget.svg", "rehearsal.json",
    }  # fmt: skip
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "curves.svg").read_text()
    assert json.loads((folder / "rehearsal.json").read_text()) == rehearsal.to_dict()
    page = (folder / "index.html").read_text()
    assert page.count("<tr") == 1 + len(rehearsal.curves) + 1 + len(BUDGETS)
    assert page.count('class="recommended"') == 1
    assert "curves.svg" in page
    assert "Does everything have to be embedded again?" in page
    assert "18,000 items, 12 min 0 s, a price of 18.00" in page
    assert (folder / "budget.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "budget.svg").read_text()
    budgets = json.loads((folder / "rehearsal.json").read_text())["budget"]["curves"]["random"]
    assert [point["budget"] for point in budgets] == list(BUDGETS)


def test_the_table_has_one_row_per_curve_and_marks_one(rehearsal) -> None:
    text = StringIO()
    Console(file=text, width=200).print(table(rehearsal))
    for curve in rehearsal.curves:
        assert curve.name in text.getvalue()
    assert text.getvalue().count(" * ") == 2  # the row and the caption
    assert table(rehearsal).row_count == len(rehearsal.curves)
    assert budget_table(rehearsal.budget).row_count == len(BUDGETS)


def test_the_summary_says_how_it_was_measured(rehearsal) -> None:
    words = summary(rehearsal)
    for part in (
        f"{rehearsal.queries} queries",
        f"a gallery of {rehearsal.items} items",
        f"map {rehearsal.old.map:.3f}",
        f"fitted on {rehearsal.fit_pairs} other items",
        rehearsal.recommendation.why,
    ):
        assert part in words


def test_labels_that_played_no_part_are_quoted_with_the_recommendation() -> None:
    data = load_digits()
    found = rehearsed(
        data.data[:500, :32], data.data[:500], labels=data.target[:500], points=2,
        strategies=["merge"], orders=["random"],
    )  # fmt: skip
    words = summary(found)
    assert "without looking at any labels" in words
    gain = found.recommended_curve().gain
    assert (
        f"which played no part in this, the new model is better (map {found.old.map:.3f}" in words
    )
    assert f"this way has gain {gain:.2f}" in words


def way(strategy, transform, queries="new", order="random"):
    return Recommendation(strategy, transform, queries, "tail", order, 0.9, True, "", False)


def test_every_way_that_an_upgrade_offers_is_written_as_a_plan_that_is_accepted() -> None:
    old, new = ModelId("old", "1", 2), ModelId("new", "1", 2)
    offered = {
        ("merge", "bridge", "new"): ("bridge", ""),
        ("merge", "kernel_bridge", "new"): ("kernel_bridge", ""),
        ("merge", "kernel_bridge", "both"): ("kernel_bridge", ""),
        ("prefill", "bridge", "new"): ("bridge", ""),
        ("prefill", "kernel_bridge", "new"): ("kernel_bridge", ""),
        ("prefill", "kernel_bridge", "both"): ("kernel_bridge", ""),
        ("prefill", "procrustes", "new"): ("kernel_bridge", "up.safetensors"),
        ("compatible", "identity", "new"): ("kernel_bridge", ""),
    }
    for (strategy, transform, queries), written in offered.items():
        for order in ORDERS:
            section = tomllib.loads(way(strategy, transform, queries, order).to_toml() or "")
            plan = Plan(old_model=old, new_model=new, **section["upgrade"])
            assert (plan.strategy, plan.transform, plan.up) == (strategy, *written)
            assert plan.queries == queries
    for strategy, transform in (("naive_merge", "none"), ("merge", "procrustes")):
        assert way(strategy, transform).to_toml() is None


def test_the_picture_shows_the_recommended_curve_first(rehearsal) -> None:
    shown = shown_curves(rehearsal)
    assert shown[0] == rehearsal.recommended_curve()
    assert {curve.order for curve in shown} == {rehearsal.recommendation.order}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_labels_keep_their_order_and_distance(values) -> None:
    heights = spread(values, 0.05)
    order = np.argsort(values, kind="stable")
    gaps = np.diff(np.array(heights)[order])
    assert np.all(gaps >= 0.049)
