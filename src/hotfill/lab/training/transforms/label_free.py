"""The trained maps that need no labels, by name: more maps for a rehearsal to try.

Each is fitted from old vectors, new vectors, old model and new model, by its direction: "down"
carries new queries to the old space, "up" carries old vectors to the new one.
"""

from __future__ import annotations

from types import MappingProxyType

from hotfill.lab.training.transforms.gallery_maps import train_forward
from hotfill.lab.training.transforms.loop import MapSettings
from hotfill.lab.training.transforms.positives import Neighbours
from hotfill.lab.training.transforms.query_maps import (
    train_metric_compatible,
    train_residual_mlp,
    train_reverse_query_transform,
)
from hotfill.rehearsal.maps import Maps
from hotfill.types import ModelId, Transform, Vectors

SETTINGS = MapSettings(epochs=80, batch=256, learning_rate=1e-3)
"""For a few thousand pairs; those of `benchmarks/mixed_toy`."""

NEIGHBOURS = 20
HIDDEN_MOST = 1024  # four times the dimension is the rule; beyond this it only costs minutes


def _reverse(old: Vectors, new: Vectors, old_model: ModelId, new_model: ModelId) -> Transform:
    return train_reverse_query_transform(
        old,
        new,
        old_model=old_model,
        new_model=new_model,
        hidden=_hidden(old_model, new_model),
        settings=SETTINGS,
    )


def _contrast(old: Vectors, new: Vectors, old_model: ModelId, new_model: ModelId) -> Transform:
    psi, _ = train_metric_compatible(
        old,
        new,
        Neighbours(new, count=min(NEIGHBOURS, len(new) // 4)),
        old_model=old_model,
        new_model=new_model,
        hidden=_hidden(old_model, new_model),
        settings=SETTINGS,
    )
    return psi


def _residual_down(old: Vectors, new: Vectors, old_model: ModelId, new_model: ModelId) -> Transform:
    return train_residual_mlp(new, old, source=new_model, target=old_model, settings=SETTINGS)


def _residual_up(old: Vectors, new: Vectors, old_model: ModelId, new_model: ModelId) -> Transform:
    return train_residual_mlp(old, new, source=old_model, target=new_model, settings=SETTINGS)


def _forward(old: Vectors, new: Vectors, old_model: ModelId, new_model: ModelId) -> Transform:
    return train_forward(
        old,
        new,
        old_model=old_model,
        new_model=new_model,
        hidden=_hidden(old_model, new_model),
        settings=SETTINGS,
    )


def _hidden(old_model: ModelId, new_model: ModelId) -> int:
    return min(4 * max(old_model.dimension, new_model.dimension), HIDDEN_MOST)


LABEL_FREE: Maps = MappingProxyType(
    {
        "reverse_query": {"down": _reverse},
        "neighbour_contrast": {"down": _contrast},
        "residual_mlp": {"down": _residual_down, "up": _residual_up},
        "forward_map": {"up": _forward},
    }
)
"""SEO's psi; SEO's joint contrast with each item's nearest neighbours as positives; Drift-Adapter's
residual MLP both ways; FCT's h."""
