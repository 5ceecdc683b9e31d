"""One process at a time: who has a gallery, who may take it, who has lost it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hotfill.errors import InputError, StoreBusyError, StoreError
from hotfill.stores import holder
from hotfill.stores.milvus import MilvusGallery, claim
from hotfill.stores.milvus.server import Server
from tests.unit.stores.milvus.models import NAMES, OLD, ROWS


def test_a_gallery_that_a_live_process_has_is_refused(location):
    with MilvusGallery.create(location, OLD) as gallery:
        with pytest.raises(StoreBusyError, match="open in another process") as caught:
            MilvusGallery.open(location)
        assert caught.value.retryable
        gallery.upsert(NAMES, ROWS, space=OLD)  # its own claim is untouched
    MilvusGallery.open(location).close()


def test_an_upgrade_keeps_its_gallery_from_one_process_to_the_next(location):
    with MilvusGallery.create(location, OLD) as gallery:
        gallery.claim("journal-1")
    with MilvusGallery.open(location) as gallery:
        gallery.claim("journal-1")
        with pytest.raises(StoreBusyError, match="upgraded by journal-1, not by journal-2"):
            gallery.claim("journal-2")
        gallery.release("journal-2")
        with pytest.raises(StoreBusyError):
            gallery.claim("journal-2")
        gallery.release("journal-1")
        gallery.claim("journal-2")


def test_a_holder_of_this_machine_that_died_gives_way_at_once(location, monkeypatch):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    gallery = MilvusGallery.create(location, OLD)
    with monkeypatch.context() as patched:
        patched.setattr(holder.os, "getpid", lambda: dead.pid)
        token = holder.new_holder()
    rename(gallery, token)
    with MilvusGallery.open(location) as second:
        assert second._claim.torn
    gallery._server.close()


def test_a_holder_of_another_machine_gives_way_when_it_was_silent_for_long(location, monkeypatch):
    gallery = MilvusGallery.create(location, OLD)
    monkeypatch.setattr(holder, "_machine", lambda: "00000000")
    with pytest.raises(StoreBusyError, match="last sign of life"):
        MilvusGallery.open(location)
    monkeypatch.setattr(claim, "GONE_AFTER_SECONDS", -1.0)  # all time is long
    with MilvusGallery.open(location) as second:
        assert second._claim.torn
        with pytest.raises(StoreBusyError, match="taken by another process"):
            gallery._claim.beat()
        with pytest.raises(StoreBusyError, match="taken by another process"):
            gallery.upsert(NAMES, ROWS, space=OLD)
        second.upsert(NAMES, ROWS, space=OLD)
    gallery.close()
    MilvusGallery.open(location).close()  # the one that lost it freed nothing


def test_of_two_that_take_a_gallery_at_once_one_gets_it(location, monkeypatch):
    MilvusGallery.create(location, OLD).close()
    second = []
    look = claim._last_beat
    monkeypatch.setattr(
        claim, "_last_beat", once(look, lambda: MilvusGallery.open(location), second)
    )
    with pytest.raises(StoreBusyError, match="taken by another process just now"):
        MilvusGallery.open(location)
    second[0].close()


def once(look, act, done):
    """Let somebody act, the first time that a holder's last sign of life is looked at."""

    def looked(server, name, holder):
        beat = look(server, name, holder)
        if not done:
            done.append(None)
            done[0] = act()
        return beat

    return looked


def test_a_reused_process_number_is_not_taken_for_the_holder(location, monkeypatch):
    token = holder.new_holder()
    pid, started, *rest = token.split("_")
    assert not claim._gone(token, 0.0)
    assert claim._gone("_".join([pid, str(int(started) + 1), *rest]), 0.0)


def test_galleries_of_one_server_do_not_know_each_other(location):
    with (
        MilvusGallery.create(location, OLD, collection="pets") as one,
        MilvusGallery.create(location, OLD, collection="pets_2") as other,
    ):
        one.upsert(NAMES, ROWS, space=OLD)
        assert (len(one), len(other)) == (4, 0)
    with MilvusGallery.open(location, collection="pets") as one:
        assert len(one) == 4
    with pytest.raises(StoreError, match="there is a gallery 'pets' already"):
        MilvusGallery.create(location, OLD, collection="pets")
    with pytest.raises(InputError, match="letters, digits and underscores"):
        MilvusGallery.open(location, collection="pets; --")


def rename(gallery, token):
    name = claim._named("items", token)
    gallery._claim._ended.set()
    gallery._server.call("rename", lambda c: c.rename_collection(gallery._claim._name, name))


def test_a_closed_gallery_says_so(location):
    gallery = MilvusGallery.create(location, OLD)
    gallery.close()
    with pytest.raises(StoreError, match="closed"):
        gallery.search({OLD: ROWS[:1]}, 1)


def test_a_server_that_is_away_is_named():
    with pytest.raises(StoreError, match=r"could not open http://127\.0\.0\.1:9"):
        Server("http://127.0.0.1:9", token="", database="", timeout_seconds=1, ef=None)
