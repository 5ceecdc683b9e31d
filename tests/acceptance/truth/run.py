"""Runs upgrades one after the other, a fault in each of their steps."""

from __future__ import annotations

import time

import numpy as np

from tests.acceptance.truth.faults import KINDS, kinds
from tests.acceptance.truth.world import Outcome, World

STORES = ("index-files", "qdrant-edge", "lancedb")
_AGAIN = 0.3  # how often an upgrade goes back where it could be completed


def campaign(store, faults, seed, folder, told=print, only=None) -> list[Outcome]:
    """Strike so many times; returns what came of each."""
    random = np.random.default_rng([seed, STORES.index(store)])
    outcomes: list[Outcome] = []
    number, left = 0, []
    while len(outcomes) < faults:
        world = World(store, folder / f"{store}-{number}", random)
        number += 1
        while len(outcomes) < faults and (step := world.next_step()) is not None:
            if step == "complete" and random.random() < _AGAIN:
                step = "rollback"
            if step == "cutover" and random.random() < _AGAIN:
                step = "abort"
            if not left:  # each kind once, then again in another order
                known = only or kinds()
                left = [known[i] for i in random.permutation(len(known))]
            outcome = _strike(world, left.pop(), step)
            told(f"{len(outcomes)} {outcome}")
            outcomes.append(outcome)
    return outcomes


def _strike(world: World, kind: str, step: str) -> Outcome:
    began = time.monotonic()
    outcome = world.begin(kind, step)
    KINDS[kind](world, step)
    outcome.phase = str(world.phase)
    world.look()  # nobody has repaired anything yet
    world.go_on(step)
    world.examine()
    world.back_up()
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome
