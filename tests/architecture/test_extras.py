"""The suite can be collected with any of the extras: what needs another one is skipped."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.architecture.test_layers import ROOT
from tests.conftest import EXTRAS

REPOSITORY = ROOT.parent.parent


def collected(*hidden: str) -> int:
    """Collect the suite where packages are not installed; return how many tests there are."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--collect-only", "-q", "tests"),
            *("-p", "tests.architecture.hidden", "-p", "pytest_timeout"),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env=os.environ | {"HIDDEN": ",".join(hidden), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    last = done.stdout.splitlines()[-1]
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return int(re.match(r"(\d+) tests collected", last)[1])


@pytest.mark.parametrize(
    "hidden",
    [
        pytest.param(sorted(EXTRAS), id="all"),
        pytest.param(
            ["torch", "psycopg", "qdrant_edge", "pymilvus", "chromadb", "lancedb"],
            id="some",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_without_an_extra_the_rest_of_the_suite_is_collected(hidden):
    assert collected(*hidden) > 1000
