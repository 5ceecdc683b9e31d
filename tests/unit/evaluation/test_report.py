from __future__ import annotations

import json
from io import StringIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sklearn.datasets import load_digits

from hotfill.evaluation.picture import shown_curves, spread
from hotfill.evaluation.rehearse import rehearse
from hotfill.evaluation.report import summary, table, write_report


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
