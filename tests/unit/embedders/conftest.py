from __future__ import annotations

import pytest

from tests.unit.embedders.server import Endpoint, serving


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(Endpoint()) as running:
        yield running
