"""Transforms and scorers from and to safetensors files with a stamp. No pickle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotfill.errors import HotfillError, InputError, ModelMismatchError
from hotfill.files import load_stamped, save_stamped
from hotfill.ranking.bridge import Bridge
from hotfill.ranking.calibration import Calibration, Isotonic, Tail, Uncalibrated, ZScore
from hotfill.ranking.finish import Finish
from hotfill.ranking.impute import Imputation
from hotfill.ranking.kernel import KernelBridge, KernelMap
from hotfill.ranking.networks import ForwardMap, MlpMap, ResidualMap, ResidualMlp
from hotfill.ranking.scorer import OldSide, Scorer
from hotfill.ranking.transform import STAMP, Affine, Identity, StampedTransform
from hotfill.types import ModelId

if TYPE_CHECKING:
    import numpy as np

TRANSFORMS: dict[str, type[StampedTransform]] = {
    kind.kind: kind
    for kind in (
        Affine,
        Bridge,
        Finish,
        ForwardMap,
        Identity,
        Imputation,
        KernelBridge,
        KernelMap,
        MlpMap,
        ResidualMap,
        ResidualMlp,
    )
}
"""Which class a file's kind stands for. A new transform is one entry here."""

CALIBRATIONS: dict[str, type[Calibration]] = {
    kind.kind: kind for kind in (Uncalibrated, ZScore, Isotonic, Tail)
}
"""The same for the calibration of a scorer's side."""


def load_transform(
    path: str | Path, *, source: ModelId | None = None, target: ModelId | None = None
) -> StampedTransform:
    """Read what `StampedTransform.save` wrote and make sure that it belongs where it is wanted.

    source, target: the spaces it must join; None accepts whatever the file says.
    Raises ModelMismatchError (stamped with other models), InputError (damaged, or not a transform
    of ours), FileNotFoundError.
    """
    stamp, arrays = load_stamped(path, STAMP, "transform")
    try:
        kind = TRANSFORMS[stamp["kind"]]
        found = kind(
            ModelId.from_dict(stamp["source"]),
            ModelId.from_dict(stamp["target"]),
            arrays,
            stamp["facts"],
        )
        expected = stamp["fingerprint"]
    except KeyError as error:
        raise InputError(
            f"{path}: expected a transform of kind {', '.join(sorted(TRANSFORMS))}; its stamp "
            f"lacks or does not know {error}; was it written by a newer hotfill?"
        ) from error
    except (HotfillError, TypeError) as error:
        raise InputError(f"{path}: its stamp and its weights do not fit: {error}") from error
    if found.fingerprint != expected:
        raise InputError(
            f"{path}: fingerprint {found.fingerprint} differs from the stamped {expected}; "
            "the file is damaged: fit the transform again"
        )
    for what, wanted, got in (("source", source, found.source), ("target", target, found.target)):
        if wanted is not None and wanted != got:
            raise ModelMismatchError(f"the {what} of the transform in {path}", wanted, got)
    return found


_SCORER = "hotfill.scorer"
_FILE = "scorer.safetensors"


def save_scorer(scorer: Scorer, folder: str | Path) -> None:
    """Write a scorer and its transforms into a folder, which is made if missing.

    `scorer.safetensors` comes last, and names the transforms' fingerprints.
    Raises InputError where a transform is not one that files can hold.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {"new/reference": scorer.new_reference}
    sides = []
    for number, side in enumerate(scorer.sides):
        arrays[f"{number}/reference"] = side.reference
        for name, array in side.calibration.arrays.items():
            arrays[f"{number}/calibration/{name}"] = array
        if side.transform is not None:
            if not isinstance(side.transform, StampedTransform):
                raise InputError(f"{type(side.transform).__name__} cannot be kept in a file")
            side.transform.save(place / _transform_file(number))
        sides.append(
            {
                "model": side.model.to_dict(),
                "calibration": side.calibration.kind,
                "transform": None if side.transform is None else side.transform.fingerprint,
                "old_query_weight": side.old_query_weight,
            }
        )
    stamp = {"new_model": scorer.new_model.to_dict(), "sides": sides}
    save_stamped(place / _FILE, _SCORER, stamp, arrays)


def load_scorer(folder: str | Path, *, new_model: ModelId | None = None) -> Scorer:
    """Read what `save_scorer` wrote.

    new_model: what the scorer must lead to; None accepts any.
    Raises InputError (damaged, not a scorer, a transform of another version), ModelMismatchError,
    FileNotFoundError.
    """
    place = Path(folder)
    stamp, arrays = load_stamped(place / _FILE, _SCORER, "scorer")
    try:
        found_model = ModelId.from_dict(stamp["new_model"])
        sides = [_side(entry, number, arrays, place) for number, entry in enumerate(stamp["sides"])]
        scorer = Scorer(found_model, arrays["new/reference"], sides)
    except (KeyError, TypeError) as error:
        raise InputError(f"{place}: its stamp and its arrays do not fit: {error!r}") from error
    if new_model is not None and new_model != found_model:
        raise ModelMismatchError(f"the scorer in {place}", new_model, found_model)
    return scorer


def _side(
    entry: dict[str, Any], number: int, arrays: dict[str, np.ndarray], place: Path
) -> OldSide:
    prefix = f"{number}/calibration/"
    parameters = {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    if entry["calibration"] not in CALIBRATIONS:
        raise InputError(
            f"{place}: unknown calibration {entry['calibration']!r}; expected one of "
            f"{', '.join(sorted(CALIBRATIONS))}; was it written by a newer hotfill?"
        )
    transform = None
    if entry["transform"] is not None:
        transform = load_transform(place / _transform_file(number))
        if transform.fingerprint != entry["transform"]:
            raise InputError(
                f"{place}: transform {number} has fingerprint {transform.fingerprint}, the scorer "
                f"was saved with {entry['transform']}; the folder mixes two versions"
            )
    return OldSide(
        ModelId.from_dict(entry["model"]),
        transform,
        CALIBRATIONS[entry["calibration"]](**parameters),
        arrays[f"{number}/reference"],
        float(entry["old_query_weight"]),
    )


def _transform_file(number: int) -> str:
    return f"transform_{number}.safetensors"
