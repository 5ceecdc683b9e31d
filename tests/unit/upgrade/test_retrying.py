"""What may succeed later is asked again."""

from __future__ import annotations

import pytest

from hotfill.errors import EmbedError, StoreError
from hotfill.upgrade import backfill as retrying
from hotfill.upgrade.backfill import tried


def test_a_call_is_made_again_only_while_that_may_help(monkeypatch):
    monkeypatch.setattr(retrying, "RETRY_SECONDS", (0.0, 0.0))
    calls = []

    def call(error):
        calls.append(error)
        raise error

    for error, times in [
        (EmbedError("x"), 3),
        (StoreError("x", retryable=True), 3),
        (EmbedError("x", retryable=False), 1),
        (StoreError("x"), 1),
        (KeyError("x"), 1),
    ]:
        calls.clear()
        with pytest.raises(type(error)):
            tried(call, error)
        assert len(calls) == times
