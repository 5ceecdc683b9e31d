"""Runs a campaign: one upgrade after the other, each struck until little of it is left."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing

import numpy as np
import psycopg

from tests import redis_server
from tests.acceptance.campaign.cutting_proxy import CuttingProxy
from tests.acceptance.campaign.embedded import ChromaServerWorld, ChromaWorld, EmbeddedWorld
from tests.acceptance.campaign.on_postgres import PostgresWorld
from tests.acceptance.campaign.outcome import Outcome
from tests.acceptance.campaign.small_disk import small_disk
from tests.acceptance.campaign.world import BATCH, ITEMS
from tests.postgres import Server

STORES = ("qdrant-edge", "postgres", "redis", "chroma", "chroma-server")
_ENOUGH = 0.7  # of an upgrade; the rest is left to end in peace
_DISK_MEGABYTES = 400
_MORE_BATCHES = (1, 8)  # between a recovery and the next fault


def campaign(store, faults, seed, folder, told=print, only=None):
    """Strike so many times; yields what came of each. Raises AssertionError on what must not be.

    only: kinds to choose from; by default all that this machine allows.
    """
    random = np.random.default_rng([seed, STORES.index(store)])
    with ExitStack() as stack:
        begin = _beginning(store, folder, random, stack)
        left, number, kinds = faults, 0, []
        while left:
            with begin(number) as world:
                number += 1
                while left and world.moved() < _ENOUGH * ITEMS:
                    if not kinds:  # each kind once, then again in another order
                        known = [kind for kind in world.kinds if only is None or kind in only]
                        kinds = [known[i] for i in random.permutation(len(known))]
                    outcome = _strike(world, kinds.pop(), random, told)
                    told(outcome)
                    yield outcome
                    left -= 1
                _end(world)


def _strike(world, kind, random, told) -> Outcome:
    command, strike = world.kinds[kind]
    world.lead(command)
    world.go_on(command, BATCH * int(random.integers(*_MORE_BATCHES)))
    world.lead(command)
    _assert_faultless(world.searched())
    began = time.monotonic()
    strike()
    found = world.examine()
    world.go_on(command, 1)
    seconds = time.monotonic() - began
    world.go_on(command, 3 * BATCH)  # searches that come later count, too
    searched = world.searched()
    for failure in searched.failures:
        told(failure)
    return Outcome(
        world.store,
        kind,
        lost=found.lost + searched.lost,
        doubled=found.doubled + searched.doubled,
        wrong=found.wrong,
        searches=searched.answers,
        search_errors=len(searched.failures),
        recovered=True,  # else `go_on` had raised
        seconds=seconds,
    )


def _end(world) -> None:
    """The upgrade ends like any other, and every item is as if embedded directly."""
    world.to_the_end("start")
    world.cut_over()
    found = world.examine_final()
    assert (found.lost, found.doubled, found.wrong) == (0, 0, 0), found
    _assert_faultless(world.searched())


def _assert_faultless(searched) -> None:
    assert searched.faultless, searched


def _beginning(store, folder, random, stack):
    disk = stack.enter_context(small_disk(_DISK_MEGABYTES))

    def place(number):
        made = folder / f"{store}-{number}"
        made.mkdir()
        return made

    if store == "redis":
        from tests.acceptance.campaign.on_redis import RedisWorld  # an extra

        kept = redis_server.Server(within=disk and disk.folder)
        stack.callback(kept.remove)
        return lambda number: RedisWorld(place(number), random, kept, disk)
    if store == "chroma-server":
        return lambda number: ChromaServerWorld(place(number), random)
    if store != "postgres":
        world = {"qdrant-edge": EmbeddedWorld, "chroma": ChromaWorld}[store]
        return lambda number: world(place(number), random, disk)
    server = Server(within=disk and disk.folder)
    stack.callback(server.remove)
    with closing(psycopg.connect(server.dsn, autocommit=True)) as connection:
        connection.execute("CREATE EXTENSION vector")
    proxy = stack.enter_context(closing(CuttingProxy(server.folder)))
    return lambda number: PostgresWorld(place(number), random, server, proxy, disk)
