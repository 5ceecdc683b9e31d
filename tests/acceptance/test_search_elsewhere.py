"""An application searches while another process takes the upgrade to and fro: it misses nothing."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import hotfill
from hotfill.stores.base import Capabilities
from hotfill.upgrade import pace as notice
from tests.acceptance.campaign.outages import Outages
from tests.acceptance.campaign.searches import Searches
from tests.acceptance.postgres_project import make_project
from tests.unit.cli.models import WIDTH, contents

ITEMS = 600
QUERY = np.random.default_rng(5).normal(size=WIDTH).astype(np.float32)


def taken_to_and_fro(path):
    """The leading process: nothing here knows of the searches."""
    for step in ("start", "verify", "cutover", "rollback"):
        with hotfill.open(path) as up:
            getattr(up, step)()


def searched_meanwhile(path):
    with hotfill.open(path) as up:

        def ask():
            return list(up.search(QUERY, ITEMS).item_ids)

        with Searches(ask, contents(ITEMS), [Outages()]).going_on() as searches:
            thread = threading.Thread(target=taken_to_and_fro, args=(path,))
            thread.start()
            thread.join()
        assert str(up.phase) == "rolled_back"
        return searches.taken()


@pytest.fixture
def path(tmp_path):
    options = {"batch_size": 20, "fit_items": 110, "verify_items": 20}
    return make_project(tmp_path, ITEMS, seconds_per_call=0.02, upgrade=options)


def test_a_search_in_another_process_misses_nothing_when_a_phase_begins(path):
    found = searched_meanwhile(path)
    assert found.answers > 10
    assert (found.lost, found.doubled, found.failures) == (0, 0, [])


def test_notice_is_given_where_others_may_search_and_nowhere_else(monkeypatch):
    waited = []

    class Stop:
        def wait(self, seconds):
            waited.append(seconds)

    class Of:
        def __init__(self, many):
            self.capabilities = Capabilities(True, True, many)

    notice.give_notice(Of(False), Stop())
    assert waited == []
    notice.give_notice(Of(True), Stop())
    assert waited == [notice.NOTICE_SECONDS]
