"""What one process learns of an embedding server, every process of the upgrade knows."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import hotfill
from hotfill.embedders import CachedEmbedder, HttpEmbedder, VectorCache
from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.request_limits import limits_noted, note_of_limit, share_limit, tell_limit
from tests.unit.embedders.server import Endpoint, serving
from tests.unit.upgrade.limit_child import MODEL

CHILD = Path(__file__).with_name("limit_child.py")
LIMIT = 16


class SmallRequests(Endpoint):
    """Refuses requests of more than LIMIT texts."""

    def respond(self, body, headers):
        status, said, sent = super().respond(body, headers)
        if len(body["input"]) > LIMIT:
            return 400, {}, b'{"error": {"message": "batch size is invalid"}}'
        return status, said, sent

    def refused(self):
        """Count the refusals since the last time."""
        sizes = [len(texts) for texts in self.requests]
        self.requests.clear()
        return sum(size > LIMIT for size in sizes)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(SmallRequests()) as running:
        yield running


def other_process(journal, server, batch_size=64):
    """Let another process embed 100 texts; return how many it sends at once by then."""
    words = [sys.executable, str(CHILD), str(journal), server.url, str(batch_size)]
    done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ), timeout=60)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_limit_is_learned_once_for_all_processes_until_the_settings_change(tmp_path, server):
    path = tmp_path / "journal.sqlite"
    with closing(SqliteJournal(path)) as journal:
        mine = HttpEmbedder(server.url, MODEL, batch_size=64, tries=1)
        share_limit(mine, journal)
        assert other_process(path, server) == LIMIT
        assert server.refused() > 0
        mine([f"mine {n}" for n in range(100)])  # a process that was there before
        assert server.refused() == 0
        assert other_process(path, server) == LIMIT  # and one that comes after
        assert server.refused() == 0
        (note,) = limits_noted(journal)
        assert f"takes {LIMIT} texts in a request, not batch_size = 64" in note

        assert other_process(path, server, batch_size=48) == 12
        assert server.refused() > 0
        (note,) = limits_noted(journal)
        assert "takes 12 texts in a request, not batch_size = 48" in note
        assert other_process(path, server, batch_size=8) == 8
        assert limits_noted(journal) == ()
        mine.close()


def test_what_was_learned_before_it_was_shared_is_told(tmp_path, server):
    with closing(SqliteJournal(tmp_path / "journal.sqlite")) as journal:
        first = HttpEmbedder(server.url, MODEL, batch_size=64, tries=1)
        first([f"text {n}" for n in range(100)])
        with closing(VectorCache(tmp_path / "cache")) as cache:
            share_limit(CachedEmbedder(first, cache), journal)
        share_limit(first, journal)
        assert len(list(journal.facts("request_limit"))) == 1
        second = HttpEmbedder(server.url, MODEL, batch_size=64, tries=1)
        tell_limit(second, journal)
        assert note_of_limit(second) == first.note != ""
        other = HttpEmbedder(server.url, ModelId("other", "1", 8), batch_size=64, tries=1)
        tell_limit(other, journal)
        assert note_of_limit(other) == ""
        share_limit(None, journal)
        for each in (first, second, other):
            each.close()


def test_plan_and_status_say_what_was_learned(tmp_path, server):
    old = ModelId("old", "1", 4)
    names = [f"item {n}" for n in range(120)]
    gallery = MemoryGallery(old)
    gallery.upsert(names, [[1, n, n % 7, 1] for n in range(120)], space=old)
    made = [HttpEmbedder(server.url, MODEL, batch_size=64, tries=1) for _ in range(2)]
    settings = {"fit_items": 100, "batch_size": 40, "allow_below_old": True}

    def upgrade(embedder):
        return hotfill.Upgrade(
            gallery,
            old=old,
            new=embedder,
            source=lambda item_ids: {item_id: item_id for item_id in item_ids},
            folder=tmp_path / "upgrade",
            **settings,
        )

    with upgrade(made[0]) as up:
        up.start()
        said = made[0].note
        assert said in up.status().warnings
        assert said in up.status().to_dict()["warnings"]
    server.refused()
    with upgrade(made[1]) as up:
        assert said in up.status().warnings
        up.plan()
        assert made[1].note == said
    assert server.refused() == 0
    for each in made:
        each.close()
