"""Two models of drawings, as a service would have them: they read the bytes of a picture file."""

from dataclasses import dataclass

import numpy as np

from demo.omniglot import encoders
from hotfill import ModelId
from hotfill.embedders.pictures import as_picture
from hotfill.errors import EmbedError, InputError


@dataclass(frozen=True)
class PictureEmbedder:
    """An encoder of the demo, for PNG files of 28 x 28 pixels with white ink."""

    encoder: encoders.Encoder

    @property
    def model_id(self) -> ModelId:
        """The space of the encoder's vectors."""
        return ModelId(self.encoder.name, self.encoder.revision, self.encoder.dimension)

    def __call__(self, contents):
        """Embed files: bytes to float32 (n, dimension)."""
        images, broken = [], []
        for row, content in enumerate(contents):
            try:
                images.append(np.asarray(as_picture(content).convert("L")) > 127)
            except InputError:
                broken.append(row)
        if broken:
            raise EmbedError(f"{len(broken)} broken pictures", rows=broken, retryable=False)
        return self.encoder(np.stack(images))


def old() -> PictureEmbedder:
    """The model in service."""
    return PictureEmbedder(encoders.old())


def new() -> PictureEmbedder:
    """The model to be put in service."""
    return PictureEmbedder(encoders.new())
