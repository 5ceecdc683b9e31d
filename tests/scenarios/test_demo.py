"""`python -m demo` does what its report says, on the drawings that the repository carries."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lifetime import end_with_parent

httpx = pytest.importorskip("httpx", reason="httpx is not installed")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Run the demo in a folder of its own, once."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "python -m demo.page" in " ".join((done.stdout + done.stderr).split())
    produced = folder / "demo-report"
    for name in ("curves.png", "curves.svg", "index.html", "report.json"):
        assert (produced / name).stat().st_size > 1000, name
    assert "A live gallery, upgraded" in done.stdout  # the table
    return {**json.loads((produced / "report.json").read_text()), "folder": folder}


def test_nothing_was_lost_doubled_or_found_wrongly_over_a_kill(report):
    assert report["kills"] == 1
    assert report["phase"] == "completed"
    assert report["coverage"] == 1.0
    for name in ("lost", "duplicated", "left_over", "differing_from_direct_embedding"):
        assert report[name] == 0, name
    for name in ("failed_searches", "wrong_searches", "failed_writes"):
        assert report[name] == 0, (name, report["faults"])


def test_it_was_searched_and_written_to_all_the_time(report):
    assert report["items"] > 8000
    assert report["searches"] > 20
    assert min(report["upserts"], report["edits"], report["deletes"]) > 0
    assert report["latency_milliseconds"]["backfilling"]["searches"] > 0


def test_the_new_model_is_better_and_the_curves_end_at_it(report):
    assert report["new"]["map"] > report["old"]["map"]
    for name in ("naive_merge", "calibrated_merge", "prefill"):
        curve = report["curves"][name]
        assert {"points", "auc", "gain", "floor", "dips"} <= set(curve)
        shares = [point["share"] for point in curve["points"]]
        assert (shares[0], shares[-1]) == (0.0, 1.0)
        assert shares == sorted(shares)
        assert curve["points"][-1]["map"] == pytest.approx(report["new"]["map"], abs=1e-6)


def test_calibrated_merge_never_falls_below_the_old_model_and_beats_the_naive_merge(report):
    calibrated, naive = report["curves"]["calibrated_merge"], report["curves"]["naive_merge"]
    assert calibrated["floor"] >= 0
    assert min(point["map"] for point in calibrated["points"]) >= report["old"]["map"]
    assert calibrated["gain"] > naive["gain"]


def test_a_query_can_be_tried_on_the_gallery_as_the_kill_left_it(report):
    command = [sys.executable, "-c", "from demo.page import main; main(port=0)"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        cwd=report["folder"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_parent,
    ) as page:
        try:
            said = page.stdout.readline()
            address = said.split()[1].removesuffix("/#try")
            with httpx.Client(base_url=address, timeout=60) as client:
                picks = client.post("/try/items").raise_for_status().text
                assert picks.count("data:image/png") == 24
                name = picks.split('data-like="')[1].partition('"')[0]
                found = client.post("/try", json={"like": name}).raise_for_status().text
        finally:
            page.terminate()
            page.wait(60)
    # Old vectors are imputed by then: all items are on the new side.
    assert re.findall('aria-label="([^"]+)"', found) == ["Now", "New side"]
    assert found.count("data:image/png") == 16  # 8 hits of each
    assert f"<code>{name}</code>" in found
