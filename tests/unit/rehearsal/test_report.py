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

from hotfill.rehearsal.picture import shown_curves, spread
from hotfill.rehearsal.rehearsal import Recommendation
from hotfill.rehearsal.rehearse import ORDERS, rehearse
from hotfill.rehearsal.report import summary, table, write_report
from hotfill.rehearsal.upgrade_settings import upgrade_settings
from hotfill.types import ModelId
from hotfill.upgrade.plan import Plan


@pytest.fixture(scope="module")
def rehearsal():
    data = load_digits()
    return rehearse(
        data.data[:500, :32], data.data[:500], labels=data.target[:500], points=3, use_labels=True
    )


def test_the_report_holds_table_picture_words_and_figures(rehearsal, tmp_path) -> None:
    folder = tmp_path / "made" / "report"
    write_report(rehearsal, folder)
    assert {path.name for path in folder.iterdir()} == {
        "index.html", "curves.png", "curves.svg", "rehearsal.json",
    }  # fmt: skip
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "curves.svg").read_text()
    assert json.loads((folder / "rehearsal.json").read_text()) == rehearsal.to_dict()
    page = (folder / "index.html").read_text()
    assert page.count("<tr") == 1 + len(rehearsal.curves)
    assert page.count('class="recommended"') == 1
    assert "curves.svg" in page


def test_the_table_has_one_row_per_curve_and_marks_one(rehearsal) -> None:
    text = StringIO()
    Console(file=text, width=200).print(table(rehearsal))
    for curve in rehearsal.curves:
        assert curve.name in text.getvalue()
    assert text.getvalue().count(" * ") == 2  # the row and the caption
    assert table(rehearsal).row_count == len(rehearsal.curves)


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


def test_labels_that_played_no_part_are_quoted_beside_the_recommendation() -> None:
    data = load_digits()
    found = rehearse(
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


def test_every_way_that_an_upgrade_offers_is_written_as_a_plan_that_is_accepted() -> None:
    old, new = ModelId("old", "1", 2), ModelId("new", "1", 2)
    offered = {
        ("merge", "bridge"): ("bridge", ""),
        ("merge", "kernel bridge"): ("kernel_bridge", ""),
        ("merge", "own query and kernel bridge"): ("kernel_bridge", ""),
        ("prefill", "ridge up"): ("bridge", ""),
        ("prefill", "kernel up"): ("kernel_bridge", ""),
        ("prefill", "procrustes up"): ("kernel_bridge", "up.safetensors"),
        ("compatible", "identity"): ("kernel_bridge", ""),
    }
    for (strategy, transform), written in offered.items():
        for order in ORDERS:
            way = Recommendation(strategy, transform, "tail", order, 0.9, True, "", False)
            section = tomllib.loads(upgrade_settings(way) or "")["upgrade"]
            plan = Plan(old_model=old, new_model=new, **section)
            assert (plan.strategy, plan.transform, plan.up) == (strategy, *written)
            assert plan.queries == "both" == transform.startswith("own query")
    for transform in ("two encoders", "slerp", "procrustes down"):
        way = Recommendation("merge", transform, "tail", "random", 0.9, True, "", False)
        assert upgrade_settings(way) is None


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
