"""Runs upgrades one after the other, a fault in each of their steps."""

from __future__ import annotations

import shutil
import time

import numpy as np

from tests.acceptance.truth.faults import kinds
from tests.acceptance.truth.on_postgres import PostgresWorld
from tests.acceptance.truth.world import Outcome, World

STORES = ("index-files", "qdrant-edge", "lancedb", "postgres")
_BACK = 0.3  # how often an upgrade goes back where it could go on
_AT_ONCE = 0.4  # how often the next fault strikes before anybody has repaired anything


def campaign(store, faults, seed, folder, told=print, only=None) -> list[Outcome]:
    """Strike so many times; returns what came of each."""
    random = np.random.default_rng([seed, STORES.index(store)])
    outcomes: list[Outcome] = []
    number, left = 0, []
    while len(outcomes) < faults:
        make = PostgresWorld if store == "postgres" else World
        world = make(store, folder / f"{store}-{number}", random)
        number += 1
        while len(outcomes) < faults and (step := world.next_step()) is not None:
            if step == "complete" and random.random() < _BACK:
                step = "rollback"
            if step == "cutover" and random.random() < _BACK:
                step = "abort"
            if not left:  # each kind once, then again in another order
                known = [kind for kind in kinds(store) if only is None or kind in only]
                left = [known[i] for i in random.permutation(len(known))]
            outcome = _strike(world, left.pop(), step, repair=random.random() > _AT_ONCE)
            told(f"{len(outcomes)} {outcome}")
            outcomes.append(outcome)
        world.close()
        if all(outcome.faultless for outcome in outcomes):
            shutil.rmtree(world.folder)  # otherwise somebody wants to look
    return outcomes


def _strike(world: World, kind: str, step: str, *, repair: bool) -> Outcome:
    began = time.monotonic()
    outcome = world.begin(kind, step)
    kinds(world.store)[kind](world, step)
    outcome.phase = str(world.phase)
    world.look()  # nobody has repaired anything yet
    if repair:
        world.go_on(step)
    world.examine()
    world.back_up()
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome
