"""The demo checks searches in every phase, and says so when it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("qdrant_edge")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).parents[2]


def test_the_demo_loses_nothing_and_checks_searches_while_it_backfills(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "demo-report" / "report.json").read_text())
    assert report["broken_threads"] == report["wrong_searches"] == 0, report["faults"]
    assert report["latency_milliseconds"]["backfilling"]["searches"] >= 3
