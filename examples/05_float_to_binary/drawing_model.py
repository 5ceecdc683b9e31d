"""A model of drawings and where the drawings come from; real code would read files."""

from dataclasses import dataclass

import numpy as np

from demo.omniglot import drawings, encoders
from hotfill import ModelId


@dataclass(frozen=True)
class DrawingModel:
    """An encoder of the demo as an embedder: (28, 28) drawings to 128 floats."""

    encoder: encoders.Encoder

    @property
    def model_id(self) -> ModelId:
        """The space of the encoder's vectors."""
        return ModelId(self.encoder.name, self.encoder.revision, self.encoder.dimension)

    def __call__(self, contents):
        """Embed drawings: bool (28, 28) each to float32 (n, dimension)."""
        return self.encoder(np.stack(contents))


def model() -> DrawingModel:
    """The model in service. It stays; only what is kept of its vectors changes."""
    return DrawingModel(encoders.new())


def source():
    """Read drawings by id."""
    shown = drawings.load("evaluation")
    row_of = {item_id: row for row, item_id in enumerate(shown.item_ids)}
    return lambda item_ids: {name: shown.images[row_of[name]] for name in item_ids}
