"""What was fitted between two models; its files are only worth something together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotfill import scoring, transforms
from hotfill.errors import ConfigError
from hotfill.transforms.agreement import neighbours_kept

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from hotfill.scoring import Prepared, Scorer
    from hotfill.scoring.fit import FitTransform
    from hotfill.transforms import Transform
    from hotfill.types import ModelId, Vectors
    from hotfill.upgrade.plan import TransformName

FITS: dict[TransformName, FitTransform] = {
    "kernel_bridge": transforms.fit_kernel_bridge,
    "bridge": transforms.fit_bridge,
}
"""How new queries meet old vectors, by the plan's word for it."""


@dataclass(frozen=True, slots=True)
class ModelFit:
    """The `up` map and the scorer built around it."""

    up: Transform
    scorer: Scorer

    def uncertainty(self, old_vectors: Vectors) -> NDArray[np.floating]:
        """Say how doubtful the old side's scores are, (n,), highest first.

        Raises ConfigError for compatible models: nothing is mapped, so nothing is in doubt.
        """
        doubtful = self.scorer.sides[0].transform
        if doubtful is None:
            raise ConfigError("queries are embedded by both models, so there is no map to doubt")
        return transforms.uncertainty(doubtful, old_vectors)

    def agreement(self, old_vectors: Vectors, new_vectors: Vectors) -> float:
        """Compare rankings of held-out old vectors with the new model's own, 0 to 1."""
        side = self.scorer.sides[0]
        if isinstance(side.transform, scoring.Bridge):
            features = side.transform.query_features(new_vectors)
            scores = features @ side.transform.gallery_features(old_vectors).T
        elif side.transform is not None:
            scores = scoring.compare(side.transform(new_vectors), old_vectors, side.model)
        else:
            raise ConfigError("queries are embedded by both models, so there is no map to compare")
        return neighbours_kept(new_vectors, scores)

    def prepare(
        self, queries: Vectors, own_queries: Mapping[ModelId, Vectors] | None = None
    ) -> Prepared:
        """Make queries of the new model ready to search all sides, as searches do."""
        return self.scorer.prepare(queries, own_queries)

    def save(self, folder: Path) -> None:
        """Write to a folder that exists."""
        self.up.save(folder / "up.safetensors")
        scoring.save(self.scorer, folder / "scorer")


def load_fit(folder: Path) -> ModelFit:
    """Read what `ModelFit.save` wrote. Raises InputError when it is damaged."""
    return ModelFit(transforms.load(folder / "up.safetensors"), load_scorer(folder))


def load_scorer(folder: Path) -> Scorer:
    """Read the scorer alone: all that searches need."""
    return scoring.load(folder / "scorer", load_transform=transforms.load)
