"""After the upgrade: is every item there, once, by exactly the new model's vector?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import hotfill
from demo.models import new
from hotfill.upgrade.order import pages_of

if TYPE_CHECKING:
    from pathlib import Path

    from demo.application import Application
    from hotfill.types import ModelId, Vectors

_ATOL = 1e-3  # stored as float32; the encoder's batches differ in the last digits


def check_gallery(
    folder: Path, application: Application, vectors: dict[ModelId, Vectors]
) -> dict[str, Any]:
    """Compare the gallery with the application's database, item by item."""
    model = new().model_id
    shown = application.shown()
    with hotfill.open(folder / "upgrade.toml") as up:
        gallery = up.gallery
        stored = [
            item_id
            for space in gallery.spaces
            for page in pages_of(gallery, space)
            for item_id in page.item_ids
        ]
        ids = sorted(shown)
        found = gallery.vectors(ids, model)
        direct = vectors[model][[shown[item_id] for item_id in found.item_ids]]
        differing = int(np.sum(np.abs(found.vectors - direct).max(axis=1) > _ATOL))
        reembedded = gallery.count(model, origin=model.fingerprint)
        phase = str(up.phase)
    return {
        "items": len(shown),
        "coverage": reembedded / len(shown),
        "lost": len(set(shown) - set(stored)),
        "duplicated": len(stored) - len(set(stored)),
        "left_over": len(set(stored) - set(shown)),
        "differing_from_direct_embedding": differing,
        "phase": phase,
    }
