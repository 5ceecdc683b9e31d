"""Which architectures to look at next: numpy only, and a function of the seed and the history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hotfill.errors import ConfigError, InputError
from hotfill.lab.architecture_search.budget import Budget
from hotfill.lab.architecture_search.flops import flops
from hotfill.lab.architecture_search.history import Candidate, History
from hotfill.lab.architecture_search.reward import Measured, RewardName, reward
from hotfill.lab.architecture_search.space import Architecture, Space

ATTEMPTS = (
    50  # that may be too costly or known already, before giving up on breeding, or on drawing
)


@dataclass(frozen=True, slots=True)
class Evolution:
    """How an evolutionary search goes; the numbers are the paper's.

    generations: with the first, which is drawn at random. population: candidates of the first
        generation; also the best so far that breed. crossover: children of every later generation.
    mutation: chance of each block of a child to be drawn anew. random_parent: chance that a parent
        is drawn from everything measured instead of from the best. (The paper gives both chances as
        0.1 and says no more; what they apply to is our reading, after its cited search code.)
    parents: how many of the best breed; 10 in that code.
    Raises ConfigError.
    """

    generations: int = 20
    population: int = 50
    crossover: int = 40
    mutation: float = 0.1
    random_parent: float = 0.1
    parents: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.generations, self.population, self.crossover, self.parents)
        chances = (self.mutation, self.random_parent)
        if min(counts) < 1 or not all(0 <= chance <= 1 for chance in chances):
            raise ConfigError(
                "evolution: expected generations, population, crossover and parents >= 1, chances "
                f"from 0 to 1; got {self}"
            )

    @property
    def candidates(self) -> int:
        """How many candidates the whole search measures, where the space has that many."""
        return self.population + (self.generations - 1) * self.crossover

    def random_search(self) -> Evolution:
        """As many candidates, all drawn at random."""
        return Evolution(1, self.candidates, seed=self.seed)


def evolve(
    budget: Budget,
    settings: Evolution,
    evaluate: Callable[[Architecture], Measured],
    *,
    reward_name: RewardName = "r3",
    path: Path | None = None,
    identity: dict[str, Any] | None = None,
    on_candidate: Callable[[Candidate], None] | None = None,
) -> History:
    """Search a budget's space for the highest reward.

    evaluate: measures an architecture; called once for each. path: the history, saved after every
    candidate; a history there of the same search is gone on with, to the same end.
    identity: plain values that tell this search from another, such as the models'.
    Raises InputError when the file at `path` is of another search.
    """
    facts = {
        "evolution": asdict(settings),
        "flops_at_most": budget.flops_at_most,
        "flops_at_least": budget.flops_at_least,
        "reward": reward_name,
        **(identity or {}),
    }
    history = History(budget.space, facts)
    if path is not None and path.exists():
        history = _same(History.read(path), history, path)
    known = {candidate.architecture for candidate in history.candidates}
    for generation in range(settings.generations):
        before = [each for each in history.candidates if each.generation < generation]
        for architecture in propose(before, generation, budget, settings):
            if architecture in known:
                continue
            measured = evaluate(architecture)
            candidate = Candidate(
                architecture,
                generation,
                flops(budget.space, architecture),
                measured,
                reward(reward_name, measured),
            )
            known.add(architecture)
            history = history.with_candidate(candidate)
            if path is not None:
                history.save(path)
            if on_candidate is not None:
                on_candidate(candidate)
    return history


def propose(
    before: list[Candidate], generation: int, budget: Budget, settings: Evolution
) -> list[Architecture]:
    """The candidates of one generation, all different and none measured before.

    before: the candidates of earlier generations. Fewer come where a small space is used up.
    """
    rng = np.random.default_rng([settings.seed, generation])
    known = {candidate.architecture for candidate in before}
    ranked = sorted(before, key=lambda c: (-c.reward, c.flops))[: settings.parents]
    breeding = bool(ranked)

    def draw() -> Architecture:
        return budget.sample(rng)

    def breed() -> Architecture:
        return _child(before, ranked, budget.space, settings, rng)

    found: list[Architecture] = []
    for _ in range(settings.crossover if breeding else settings.population):
        ways = (breed, draw) if breeding else (draw,)
        child = next((each for way in ways if (each := _new(way, known, budget))), None)
        if child is None:
            break  # the space is used up, or nearly
        known.add(child)
        found.append(child)
    return found


def _new(
    make: Callable[[], Architecture], known: set[Architecture], budget: Budget
) -> Architecture | None:
    """Make until one is within the budget and not known, but not for ever."""
    for _ in range(ATTEMPTS):
        made = make()
        if made not in known and budget.allows(made):
            return made
    return None


def _child(
    before: list[Candidate],
    best: list[Candidate],
    space: Space,
    settings: Evolution,
    rng: np.random.Generator,
) -> Architecture:
    """Each block from one of two parents, or anew."""
    mother, father = (
        _pick(before if rng.random() < settings.random_parent else best, rng) for _ in range(2)
    )
    choices = space.choices()
    blocks = []
    for one, other in zip(mother.blocks, father.blocks, strict=True):
        if rng.random() < settings.mutation:
            blocks.append(choices[int(rng.integers(len(choices)))])
        else:
            blocks.append(one if rng.random() < 0.5 else other)
    return Architecture(tuple(blocks))


def _pick(candidates: list[Candidate], rng: np.random.Generator) -> Architecture:
    return candidates[int(rng.integers(len(candidates)))].architecture


def _same(found: History, wanted: History, path: Path) -> History:
    differ = [
        f"{key} {found.identity.get(key)!r} there, {wanted.identity.get(key)!r} now"
        for key in sorted({*found.identity, *wanted.identity})
        if found.identity.get(key) != wanted.identity.get(key)
    ]
    if found.space != wanted.space:
        differ.append("the space")
    if differ:
        raise InputError(
            f"{path} is the history of another search ({'; '.join(differ)}); choose another "
            "folder, or repeat the same call to go on with it"
        )
    return found
