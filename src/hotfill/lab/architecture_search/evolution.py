"""The search: what candidates are worth, what was looked at, what to look at next. numpy only."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, final, get_args

import numpy as np

from hotfill.errors import ConfigError, InputError
from hotfill.extras import need
from hotfill.lab.architecture_search.space import Architecture, Budget, SearchSpace, flops

RewardName: TypeAlias = Literal["r1", "r2", "r3"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Search quality on the held-out split, 0 to 1.

    query_to_query: M(q, q), queries and gallery by the query model.
    query_to_gallery: M(q, g), queries by the query model, gallery by the gallery model.
    """

    query_to_query: float
    query_to_gallery: float

    @property
    def keeps_the_rule(self) -> bool:
        """The compatibility rule M(q, g) > M(q, q): the large gallery model must pay."""
        return self.query_to_gallery > self.query_to_query


def reward(name: RewardName, measured: Measured) -> float:
    """R1 = M(q, q), R2 = M(q, g), R3 = R1 * R2 (CMP-NAS's choice).

    Raises ConfigError for another name or a quality outside 0 to 1.
    """
    values = (measured.query_to_query, measured.query_to_gallery)
    if not all(math.isfinite(value) and 0 <= value <= 1 for value in values):
        raise ConfigError(f"reward: expected qualities from 0 to 1, got {measured}")
    rewards = {"r1": values[0], "r2": values[1], "r3": values[0] * values[1]}
    if name not in rewards:
        raise ConfigError(
            f"reward: expected one of {', '.join(get_args(RewardName))}, got {name!r}"
        )
    return rewards[name]


# Everything that a search has looked at.


@dataclass(frozen=True, slots=True)
class Candidate:
    """One architecture and what was found.

    generation: from 0. flops: multiply-adds. reward: higher is better.
    """

    architecture: Architecture
    generation: int
    flops: int
    measured: Measured
    reward: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            **self.architecture.to_dict(),
            "generation": self.generation,
            "flops": self.flops,
            **asdict(self.measured),
            "reward": self.reward,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Candidate:
        """Build from plain values."""
        measured = Measured(values["query_to_query"], values["query_to_gallery"])
        return cls(
            Architecture.from_dict(values),
            values["generation"],
            values["flops"],
            measured,
            values["reward"],
        )


@final
@dataclass(frozen=True, slots=True)
class History:
    """The candidates of one search, in the order in which they were measured.

    identity: what else makes two searches the same: settings, budget, reward, models.
    """

    space: SearchSpace
    identity: dict[str, Any]
    candidates: tuple[Candidate, ...] = ()

    def with_candidate(self, candidate: Candidate) -> History:
        """One candidate more."""
        return History(self.space, self.identity, (*self.candidates, candidate))

    def best(self, count: int = 1) -> tuple[Candidate, ...]:
        """The highest rewards first; of equal ones the cheaper, then the earlier."""
        ranked = sorted(self.candidates, key=lambda c: (-c.reward, c.flops))
        return tuple(ranked[:count])

    def front(self) -> tuple[Candidate, ...]:
        """The Pareto front of M(q, g) against FLOPs, cheapest first.

        Each has a higher M(q, g) than everything that costs as much or less.
        """

        def quality(candidate: Candidate) -> float:
            return candidate.measured.query_to_gallery

        found: list[Candidate] = []
        for candidate in sorted(self.candidates, key=lambda c: (c.flops, -quality(c))):
            if not found or quality(candidate) > quality(found[-1]):
                found.append(candidate)
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "space": self.space.to_dict(),
            "identity": self.identity,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
        }

    def save(self, path: Path) -> None:
        """Write next to `path`, then put it in its place: a crash leaves the file before, whole."""
        draft = path.with_name(f"{path.name}.draft-{os.getpid()}")
        draft.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> History:
        """Read what `save` wrote. Raises InputError when it is something else."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                SearchSpace.from_dict(values["space"]),
                values["identity"],
                tuple(Candidate.from_dict(each) for each in values["candidates"]),
            )
        except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
            raise InputError(f"{path}: expected the history of a search ({error!r})") from error


# Which architectures to look at next: numpy only, and a function of the seed and the history.

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
    space: SearchSpace,
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


# A search as a picture: quality against FLOPs, and the Pareto front.

FRONT = "#D55E00"  # of Okabe and Ito's palette
DOTS_PER_INCH = 150


def search_picture(history: History, path: Path) -> None:
    """Draw M(q, g) of every candidate against its FLOPs, coloured by generation.

    The line is the Pareto front of M(q, g); the star marks the highest reward. path: .png or .svg.
    Needs matplotlib (extra `plot`). Raises InputError for a history without candidates.
    """
    if not history.candidates:
        raise InputError("the history has no candidate yet; there is nothing to draw")
    need("matplotlib", "plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    points = axes.scatter(
        [candidate.flops / 1e6 for candidate in history.candidates],
        [candidate.measured.query_to_gallery for candidate in history.candidates],
        c=[candidate.generation for candidate in history.candidates],
        cmap="viridis_r",
        s=16,
        label="candidate",
    )
    if history.candidates[-1].generation:
        figure.colorbar(points, label="generation")
    front = history.front()
    axes.step(
        [candidate.flops / 1e6 for candidate in front],
        [candidate.measured.query_to_gallery for candidate in front],
        where="post",
        color=FRONT,
        label="Pareto front",
    )
    (best,) = history.best()
    axes.plot(
        [best.flops / 1e6],
        [best.measured.query_to_gallery],
        marker="*",
        markersize=14,
        linestyle="",
        color=FRONT,
        label=f"highest reward ({history.identity.get('reward', '')})",
    )
    axes.set_xlabel("query model, million multiply-adds")
    axes.set_ylabel("mAP, small queries on the large gallery")
    axes.set_title("Candidates with the super-network's weights")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=DOTS_PER_INCH)
