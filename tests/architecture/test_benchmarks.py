"""`make bench` runs in a fresh clone: its extras have what benchmarks import, and each imports."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib

import pytest

from tests.architecture.test_layers import ROOT
from tests.conftest import EXTRAS

REPOSITORY = ROOT.parent.parent
RUNS = sorted((REPOSITORY / "benchmarks").glob("*/run.py"))
NAMED_OTHERWISE = {"scikit-learn": "sklearn", "pillow": "PIL", "faiss-cpu": "faiss"}
NAMED_OTHERWISE |= {"qdrant-edge-py": "qdrant_edge", "psycopg[binary]": "psycopg"}
_IMPORT_EACH = """
import json, os, runpy, sys
lacking = {}
for run in sys.argv[1:]:
    kept = list(sys.path), set(sys.modules)
    sys.path.insert(0, os.path.dirname(run))  # as where it is run
    try:
        runpy.run_path(run, run_name="imported")
    except ModuleNotFoundError as error:
        lacking[run] = error.name.partition(".")[0]
    sys.path[:] = kept[0]
    for name in {"data", "experiment", "table", "plans"} & set(sys.modules) - kept[1]:
        del sys.modules[name]  # the next one has its own
print(json.dumps(lacking))
"""


def installed_by_make_bench() -> set[str]:
    """Module names of all packages in the extras that the Makefile installs."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    makefile = (REPOSITORY / "Makefile").read_text()
    extras = re.search(r"^EXTRAS := (.*)$", makefile, re.MULTILINE)[1].split(",")
    assert "bench" in extras
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    names = {re.match(r"[\w.-]+(\[\w+\])?", each)[0] for each in wanted}
    return {NAMED_OTHERWISE.get(name, name.replace("-", "_")) for name in names}


def imported_at_once(text: str) -> set[str]:
    """Modules that a file imports when it is imported itself, not later in a function."""
    found = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def test_what_benchmarks_import_is_installed_by_make_bench():
    known = installed_by_make_bench() | set(sys.stdlib_module_names)
    known |= {"hotfill", "benchmarks", "tests", "demo"}
    for path in sorted((REPOSITORY / "benchmarks").rglob("*.py")):
        beside = {each.stem for each in path.parent.glob("*.py")}
        unknown = imported_at_once(path.read_text()) - known - beside
        assert not unknown, f"{path}: {unknown} is in no extra that `make bench` installs"


def test_every_benchmark_can_be_imported():
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_EACH, *map(str, RUNS)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lacking = json.loads(done.stdout.splitlines()[-1])
    assert set(lacking.values()) <= EXTRAS, lacking
    if lacking:
        pytest.skip(f"not installed: {', '.join(sorted(set(lacking.values())))}")
