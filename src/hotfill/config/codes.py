"""What a configuration file says of codes: the encoders it names, and the gallery around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotfill.binary import GridCodec, load_encoder
from hotfill.stores.coded import CodedGallery

if TYPE_CHECKING:
    from pathlib import Path

    from hotfill.binary import BinaryEncoder
    from hotfill.config.settings import Settings
    from hotfill.stores.base import Gallery


def encoder_named(name: str, folder: Path) -> BinaryEncoder:
    """Read an encoder's file. Raises InputError."""
    return load_encoder(folder / name)


def opened_with_codes(settings: Settings, folder: Path) -> Gallery:
    """Open the store; vectors of models with an encoder are kept as codes. folder: of the file."""
    names = [name for name in (settings.old.encoder, settings.new.encoder) if name is not None]
    codecs = [GridCodec(encoder_named(name, folder)) for name in names]
    gallery = settings.store.open(folder)
    return CodedGallery(gallery, folder / settings.codes, codecs) if codecs else gallery
