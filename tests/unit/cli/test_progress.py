"""How far a piece of work is, said on stderr."""

from __future__ import annotations

import time

from hotfill.cli import progress
from hotfill.cli.progress import counted


def said_by(capsys, monkeypatch, *, tell=None, **options):
    """What a short piece of work says."""
    monkeypatch.setattr(progress, "_SILENT_SECONDS", 0.0)
    with counted("helping", **options) as told:
        if tell is not None:
            told(tell)
        time.sleep(0.1)
    return capsys.readouterr().err


def test_work_that_cannot_be_counted_says_how_long_it_has_taken(capsys, monkeypatch):
    assert said_by(capsys, monkeypatch).startswith("helping 0.0 s so far")


def test_work_says_how_much_is_done_and_how_much_there_is(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.03)
    lines = said_by(capsys, monkeypatch, tell=1024, total=4000).splitlines()
    assert lines[-1].startswith("helping 1,024/4,000 ")
    assert "eta" in lines[-1]


def test_a_worker_says_what_it_has_done_although_it_calls_nobody(capsys, monkeypatch):
    assert said_by(capsys, monkeypatch, count=lambda: 1024).startswith("helping 1,024 ")
