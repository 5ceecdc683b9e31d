"""What a rehearsal fits between two models, from paired vectors alone."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import ConfigError
from hotfill.scoring import Uncalibrated, fit_isotonic, fit_z_score, tail
from hotfill.transforms import (
    BridgeForm,
    fit_bridge,
    fit_kernel,
    fit_kernel_bridge,
    fit_procrustes,
    fit_ridge,
    identity,
)

if TYPE_CHECKING:
    from hotfill.evaluation.sample import Sample
    from hotfill.scoring import Calibration
    from hotfill.transforms import Transform
    from hotfill.types import ModelId, Vectors

REFERENCE = 500  # items that calibrate, held out from the fit of the transform
REFERENCE_SHARE = 4  # ... but at most one pair in this many

CALIBRATIONS = ("none", "z_score", "isotonic", "tail")
TRANSFORMS = (
    "bridge",
    "plain bridge",
    "kernel bridge",
    "kernel up",
    "ridge down",
    "ridge up",
    "procrustes down",
    "procrustes up",
    "identity",
)
"""What can be fitted: "up" and "identity" carry old vectors to the new space, the others new
queries to the old one. A plain bridge is one without whitening."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Paired vectors in two parts: to fit a transform, and to calibrate (held out).

    Each field is float32 (n, dimension), rows of unit length; row i of old and new is one item.
    """

    old_fit: Vectors
    new_fit: Vectors
    old_reference: Vectors
    new_reference: Vectors


def pairs_of(sample: Sample) -> Pairs:
    """Split the sample's pairs."""
    old, new = sample.old.fit.read(), sample.new.fit.read()
    held = min(REFERENCE, len(old) // REFERENCE_SHARE)
    return Pairs(old[held:], new[held:], old[:held], new[:held])


@dataclass(frozen=True, slots=True)
class Fitted:
    """A transform, its name, and how long fitting it took."""

    name: str
    transform: Transform
    seconds: float


def fit_transform(name: str, sample: Sample, pairs: Pairs) -> Fitted:
    """Fit one of `TRANSFORMS`. Raises ConfigError for another name."""
    began = perf_counter()
    transform = _fit(name, pairs.old_fit, pairs.new_fit, sample.old.model, sample.new.model)
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


def _fit(
    name: str, old: Vectors, new: Vectors, old_model: ModelId, new_model: ModelId
) -> Transform:
    match name:
        case "bridge":
            return fit_bridge(new, old, new_model=new_model, old_model=old_model)
        case "plain bridge":
            form = BridgeForm(whitening=0.0)
            return fit_bridge(new, old, new_model=new_model, old_model=old_model, form=form)
        case "kernel bridge":
            return fit_kernel_bridge(new, old, new_model=new_model, old_model=old_model)
        case "kernel up":
            return fit_kernel(old, new, old_model=old_model, new_model=new_model)
        case "ridge down":
            return fit_ridge(new, old, source=new_model, target=old_model)
        case "ridge up":
            return fit_ridge(old, new, source=old_model, target=new_model)
        case "procrustes down":
            return fit_procrustes(new, old, source=new_model, target=old_model)
        case "procrustes up":
            return fit_procrustes(old, new, source=old_model, target=new_model)
        case "identity":
            return identity(old_model, new_model)
        case _:
            raise ConfigError(f"expected one of {', '.join(TRANSFORMS)}; got {name!r}")
