"""What a rehearsal fits between two models, from paired vectors alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from hotfill.errors import ConfigError
from hotfill.ranking import (
    BridgeForm,
    Uncalibrated,
    fit_bridge,
    fit_isotonic,
    fit_kernel,
    fit_kernel_bridge,
    fit_low_rank,
    fit_procrustes,
    fit_ridge,
    fit_z_score,
    tail,
)
from hotfill.types import ModelId, Transform, Vectors

if TYPE_CHECKING:
    from hotfill.ranking import Calibration
    from hotfill.rehearsal.sample import Sample

REFERENCE = 500  # items that calibrate, held out from the fit of the transform
REFERENCE_SHARE = 4  # ... but at most one pair in this many

CALIBRATIONS = ("none", "z_score", "isotonic", "tail")

Direction: TypeAlias = Literal["down", "up"]
"""down: new queries to the old space. up: old vectors to the new space."""

Fit: TypeAlias = Callable[[Vectors, Vectors, ModelId, ModelId], Transform]
"""Fits a transform from old vectors, new vectors (row i of both the same item) and both models."""

Maps: TypeAlias = Mapping[str, Mapping[Direction, Fit]]
"""Ways to fit a transform, by name and by the direction it goes."""


def _down(fit: Callable[..., Transform]) -> Fit:
    def fitted(old: Vectors, new: Vectors, old_model: ModelId, new_model: ModelId) -> Transform:
        return fit(new, old, source=new_model, target=old_model)

    return fitted


def _up(fit: Callable[..., Transform]) -> Fit:
    def fitted(old: Vectors, new: Vectors, old_model: ModelId, new_model: ModelId) -> Transform:
        return fit(old, new, source=old_model, target=new_model)

    return fitted


def _bridge(fit: Callable[..., Transform], **settings: Any) -> Fit:
    def fitted(old: Vectors, new: Vectors, old_model: ModelId, new_model: ModelId) -> Transform:
        return fit(new, old, new_model=new_model, old_model=old_model, **settings)

    return fitted


def _kernel(old: Vectors, new: Vectors, old_model: ModelId, new_model: ModelId) -> Transform:
    return fit_kernel(old, new, old_model=old_model, new_model=new_model)


MAPS: Maps = MappingProxyType(
    {
        "kernel_bridge": {"down": _bridge(fit_kernel_bridge), "up": _kernel},
        "bridge": {"down": _bridge(fit_bridge), "up": _up(fit_ridge)},
        "plain_bridge": {"down": _bridge(fit_bridge, form=BridgeForm(whitening=0.0))},
        "ridge": {"down": _down(fit_ridge)},
        "low_rank": {"down": _down(fit_low_rank), "up": _up(fit_low_rank)},
        "procrustes": {"down": _down(fit_procrustes), "up": _up(fit_procrustes)},
    }
)
"""Fitted in closed form, without labels. The first two are those of a `Plan`, which fits the linear
one as a bridge for `merge` and as ridge for `prefill`. A plain bridge is one without whitening.
Trained maps are in `hotfill.lab.training.transforms.label_free`."""


@dataclass(frozen=True, slots=True, eq=False)
class SplitPairs:
    """Paired vectors in two parts: to fit a transform, and to calibrate (held out).

    Each field is float32 (n, dimension), rows of unit length; row i of old and new is one item.
    """

    old_fit: Vectors
    new_fit: Vectors
    old_reference: Vectors
    new_reference: Vectors


def pairs_of(sample: Sample) -> SplitPairs:
    """Split the sample's pairs."""
    old, new = sample.old.fit.read(), sample.new.fit.read()
    held = min(REFERENCE, len(old) // REFERENCE_SHARE)
    return SplitPairs(old[held:], new[held:], old[:held], new[:held])


@dataclass(frozen=True, slots=True)
class Fitted:
    """A transform, its name, and how long fitting it took."""

    name: str
    transform: Transform
    seconds: float


def fit_transform(
    name: str, direction: Direction, sample: Sample, pairs: SplitPairs, maps: Maps = MAPS
) -> Fitted:
    """Fit one of the maps. Raises ConfigError for another name, or one that goes another way."""
    if direction not in maps.get(name, {}):
        there = ", ".join(known for known in maps if direction in maps[known])
        raise ConfigError(f"expected a map that goes {direction}: {there}; got {name!r}")
    began = perf_counter()
    fit = maps[name][direction]
    transform = fit(pairs.old_fit, pairs.new_fit, sample.old.model, sample.new.model)
    return Fitted(name, transform, perf_counter() - began)


def fit_calibration(name: str, old_scores: Vectors, new_scores: Vectors) -> Calibration:
    """Fit one of `CALIBRATIONS` from the scores (r, r) of the reference items with one another."""
    if name == "none":
        return Uncalibrated()
    if name == "tail":
        return tail()
    others = ~np.eye(len(old_scores), dtype=np.bool_)
    shape = len(old_scores), len(old_scores) - 1
    old, new = old_scores[others].reshape(shape), new_scores[others].reshape(shape)
    if name == "z_score":
        return fit_z_score(old, new)
    if name == "isotonic":
        return fit_isotonic(old, new)
    raise ConfigError(f"expected one of {', '.join(CALIBRATIONS)}; got {name!r}")
