"""One pair with everything fitted on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from benchmarks.mixed_quality.pairs import Pair
from hotfill.rehearsal.maps import Direction, Fitted, SplitPairs, fit_transform, pairs_of
from hotfill.rehearsal.sample import ModelSample, Sample, SampleSide
from hotfill.types import ModelId


class Workbench:
    """One pair with everything fitted on it, each thing once."""

    def __init__(self, pair: Pair, seed: int = 0) -> None:
        self.pair = pair
        self.seed = seed
        self.sample = sample_of(pair)
        self.pairs: SplitPairs = pairs_of(self.sample)
        self.transform: Callable[[str, Direction], Fitted] = cache(
            lambda name, direction: fit_transform(name, direction, self.sample, self.pairs)
        )
        self._made: dict[str, Fitted] = {}

    def once(self, name: str, fit: Callable[[], Fitted]) -> Fitted:
        """Fit what several methods or orders need."""
        if name not in self._made:
            self._made[name] = fit()
        return self._made[name]

    @property
    def spaces(self) -> dict[str, ModelId]:
        """Both models under the names that trainings take."""
        return {"old_model": self.sample.old.model, "new_model": self.sample.new.model}

    @property
    def labels(self) -> np.ndarray | None:
        """Classes of all pairs to fit on, 0 .. c - 1; None where there are only judgements."""
        if self.pair.fit_labels is None:
            return None
        return np.unique(self.pair.fit_labels, return_inverse=True)[1]

    @property
    def old_pairs(self) -> np.ndarray:
        """Old vectors of all pairs, for methods that calibrate nothing."""
        return self.pair.old["fit"]

    @property
    def new_pairs(self) -> np.ndarray:
        """New vectors of the same."""
        return self.pair.new["fit"]

    def old(self, part: str) -> np.ndarray:
        """Old vectors of "gallery" or "queries"."""
        return self.pair.old[part]

    def new(self, part: str) -> np.ndarray:
        """New vectors of the same."""
        return self.pair.new[part]


def sample_of(pair: Pair) -> Sample:
    sides = []
    for name, vectors in (("old", pair.old), ("new", pair.new)):
        model = ModelId(name, pair.name, vectors["gallery"].shape[1])
        parts = [
            SampleSide(vectors[part], np.arange(len(vectors[part])), model)
            for part in ("fit", "gallery", "queries")
        ]
        sides.append(ModelSample(*parts))
    rows = [np.arange(len(pair.old[part])) for part in ("fit", "gallery", "queries")]
    return Sample(*sides, *rows, len(pair.old["queries"]))
