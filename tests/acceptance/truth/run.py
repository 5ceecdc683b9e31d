"""Runs upgrades one after the other, a fault in each of their steps."""

from __future__ import annotations

import shutil
import time

import numpy as np

from tests.acceptance.campaign.small_disk import small_disk
from tests.acceptance.truth.faults import kinds
from tests.acceptance.truth.on_milvus import MilvusGenerationsWorld, MilvusWorld
from tests.acceptance.truth.on_postgres import (
    PooledWorld,
    PostgresGenerationsWorld,
    PostgresWorld,
)
from tests.acceptance.truth.on_redis import RedisGenerationsWorld, RedisWorld
from tests.acceptance.truth.world import (
    GENERATIONS,
    ChainWorld,
    CodesWorld,
    GenerationsWorld,
    Outcome,
    World,
)

_EMBEDDED = ("index-files", "qdrant-edge", "lancedb", "chroma")

WORLDS = {
    "index-files": World,
    "qdrant-edge": World,
    "lancedb": World,
    "postgres": PostgresWorld,
    "chroma": World,
    "qdrant-edge, chain": ChainWorld,
    "qdrant-edge, codes": CodesWorld,
    "postgres, pgbouncer": PooledWorld,
    **{store + GENERATIONS: GenerationsWorld for store in _EMBEDDED},
    "postgres" + GENERATIONS: PostgresGenerationsWorld,
    "redis": RedisWorld,
    "redis" + GENERATIONS: RedisGenerationsWorld,
    "qdrant": World,  # the client's own engine, in a folder
    "qdrant" + GENERATIONS: GenerationsWorld,
    "milvus": MilvusWorld,
    "milvus" + GENERATIONS: MilvusGenerationsWorld,
}
STORES = tuple(WORLDS)
_DISK_MEGABYTES = 2000
_BACK = 0.3  # how often an upgrade goes back where it could go on
_AT_ONCE = 0.4  # how often the next fault strikes before anybody has repaired anything


def campaign(store, faults, seed, folder, told=print, only=None) -> list[Outcome]:
    """Strike that often; returns what came of each.

    told: hears of each at once. only: kinds to choose from; by default all that this machine
    allows.
    """
    random = np.random.default_rng([seed, STORES.index(store)])
    outcomes: list[Outcome] = []
    number, left = 0, []
    with small_disk(_DISK_MEGABYTES) as small:
        while len(outcomes) < faults:
            world = WORLDS[store](store, folder / f"{store}-{number}", random, small)
            number += 1
            try:
                while len(outcomes) < faults and (step := world.next_step()) is not None:
                    if step == "complete" and random.random() < _BACK:
                        step = "rollback"
                    if step == "cutover" and random.random() < _BACK:
                        step = "abort"
                    if not left:  # each kind once, then again in another order
                        known = [kind for kind in kinds(world) if only is None or kind in only]
                        left = [known[i] for i in random.permutation(len(known))]
                    outcome = _strike(world, left.pop(), step, repair=random.random() > _AT_ONCE)
                    outcomes.append(outcome)
                    told(outcome)
            finally:
                world.close()
            if all(outcome.faultless for outcome in outcomes):
                shutil.rmtree(world.folder)  # otherwise somebody wants to look
    return outcomes


def _strike(world: World, kind: str, step: str, *, repair: bool) -> Outcome:
    began = time.monotonic()
    outcome = world.begin(kind, step)
    kinds(world)[kind](world, step)
    outcome.phase = str(world.phase)
    world.look()  # nobody has repaired anything yet
    if repair:
        world.go_on(step)
    world.examine()
    world.back_up()
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome
