"""Every drawing embedded by both models, once: what the demo measures and checks against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from demo import models

if TYPE_CHECKING:
    from pathlib import Path

    from demo.application import Application
    from hotfill.types import ModelId, Vectors


def write_embeddings(folder: Path, application: Application) -> dict[ModelId, Vectors]:
    """Embed all evaluation drawings by both models and keep the result in a folder."""
    images = application.drawings.images
    old, new = models.old(), models.new()
    made = {old.model_id: old([*images]), new.model_id: new([*images])}
    np.savez(folder / "embeddings.npz", old=made[old.model_id], new=made[new.model_id])
    return made


def read_embeddings(folder: Path) -> dict[ModelId, Vectors]:
    """Read what `write_embeddings` wrote."""
    with np.load(folder / "embeddings.npz") as kept:
        return {
            models.old().model_id: kept["old"],
            models.new().model_id: kept["new"],
        }
