"""What may succeed later is asked again."""

from __future__ import annotations

import pytest

from hotfill import retry as retrying
from hotfill.errors import EmbedError, SourceError, StoreError
from hotfill.retry import retry


def test_a_call_is_made_again_only_while_that_may_help(monkeypatch):
    monkeypatch.setattr(retrying, "RETRY_SECONDS", (0.0, 0.0))
    calls = []

    def call(error):
        calls.append(error)
        raise error

    for error, times in [
        (EmbedError("x"), 3),
        (StoreError("x", retryable=True), 3),
        (SourceError("x", retryable=True), 3),
        (EmbedError("x", retryable=False), 1),
        (SourceError("x"), 1),
        (StoreError("x"), 1),
        (KeyError("x"), 1),
    ]:
        calls.clear()
        with pytest.raises(type(error)):
            retry(call, error)
        assert len(calls) == times


def test_without_waits_a_call_is_made_once(monkeypatch):
    monkeypatch.setattr(retrying, "RETRY_SECONDS", ())
    calls = []

    def call():
        calls.append(1)
        raise EmbedError("busy")

    with pytest.raises(EmbedError):
        retry(call)
    assert calls == [1]
