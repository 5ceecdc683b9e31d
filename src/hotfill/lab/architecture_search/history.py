"""Everything that a search has looked at."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from hotfill.errors import ConfigError, InputError
from hotfill.lab.architecture_search.reward import Measured
from hotfill.lab.architecture_search.space import Architecture, Space


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

    space: Space
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
                Space.from_dict(values["space"]),
                values["identity"],
                tuple(Candidate.from_dict(each) for each in values["candidates"]),
            )
        except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
            raise InputError(f"{path}: expected the history of a search ({error!r})") from error
