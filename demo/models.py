"""The two encoders as hotfill sees them; `upgrade.toml` names these functions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demo.application import Application
from demo.omniglot import encoders
from hotfill import ModelId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from demo.omniglot.encoders import Encoder
    from hotfill.types import Vectors


@dataclass(frozen=True)
class DrawingEmbedder:
    """An encoder with the id of its space."""

    encoder: Encoder

    @property
    def model_id(self) -> ModelId:
        """The space of the encoder's embeddings."""
        encoder = self.encoder
        return ModelId(
            encoder.name, encoder.revision, encoder.dimension, preprocessing="28x28, ink is 1"
        )

    def __call__(self, contents: Sequence[Any]) -> Vectors:
        """Embed drawings, each (28, 28) bool."""
        return self.encoder(np.asarray(contents))


def old() -> DrawingEmbedder:
    """The model in service."""
    return DrawingEmbedder(encoders.old())


def new() -> DrawingEmbedder:
    """The model to be put in service."""
    return DrawingEmbedder(encoders.new())


def application(path: str) -> Application:
    """The source of contents."""
    return Application(Path(path))
