"""Scorers in folders: one safetensors file with a stamp, and one file per transform. No pickle."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError, ModelMismatchError
from hotfill.ranking.calibration import Calibration, Isotonic, Tail, Uncalibrated, ZScore
from hotfill.ranking.scorer import Scorer, Side
from hotfill.types import ModelId

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.types import Transform

_STAMP = "hotfill.scorer"
_FORMAT = 1
_FILE = "scorer.safetensors"

KINDS: dict[str, type[Calibration]] = {
    kind.kind: kind for kind in (Uncalibrated, ZScore, Isotonic, Tail)
}
"""Which class a file's calibration stands for. A new calibration is one entry here."""


def save_scorer(scorer: Scorer, folder: str | Path) -> None:
    """Write a scorer into a folder, which is made if missing; `scorer.safetensors` comes last."""
    from safetensors.numpy import save as to_bytes

    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {"new/reference": scorer.new_reference}
    sides = []
    for number, side in enumerate(scorer.sides):
        arrays[f"{number}/reference"] = side.reference
        for name, array in side.calibration.arrays.items():
            arrays[f"{number}/calibration/{name}"] = array
        if side.transform is not None:
            side.transform.save(place / f"transform_{number}.safetensors")  # type: ignore[attr-defined]
        sides.append(
            {
                "model": side.model.to_dict(),
                "calibration": side.calibration.kind,
                "transform": None if side.transform is None else side.transform.fingerprint,
                "old_query_weight": side.old_query_weight,
            }
        )
    stamp = {"format": _FORMAT, "new_model": scorer.new_model.to_dict(), "sides": sides}
    content = to_bytes(arrays, metadata={_STAMP: json.dumps(stamp)})
    unfinished = place / f".{_FILE}.{os.getpid()}"
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(place / _FILE)


def load_scorer(
    folder: str | Path,
    *,
    load_transform: Callable[[Path], Transform],
    new_model: ModelId | None = None,
) -> Scorer:
    """Read a scorer.

    load_transform: reads a transform's file; `hotfill.ranking.load`.
    new_model: what the scorer must lead to; None accepts any.
    Raises InputError (damaged, not a scorer, a transform of another version), ModelMismatchError,
    FileNotFoundError.
    """
    place = Path(folder)
    stamp, arrays = _read(place / _FILE)
    try:
        found_model = ModelId.from_dict(stamp["new_model"])
        sides = [
            _side(entry, number, arrays, place, load_transform)
            for number, entry in enumerate(stamp["sides"])
        ]
        scorer = Scorer(found_model, arrays["new/reference"], sides)
    except (KeyError, TypeError) as error:
        raise InputError(f"{place}: its stamp and its arrays do not fit: {error!r}") from error
    if new_model is not None and new_model != found_model:
        raise ModelMismatchError(f"the scorer in {place}", new_model, found_model)
    return scorer


def _side(
    entry: dict[str, Any],
    number: int,
    arrays: dict[str, np.ndarray],
    place: Path,
    load_transform: Callable[[Path], Transform],
) -> Side:
    prefix = f"{number}/calibration/"
    parameters = {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    if entry["calibration"] not in KINDS:
        raise InputError(
            f"{place}: unknown calibration {entry['calibration']!r}; expected one of "
            f"{', '.join(sorted(KINDS))}; was it written by a newer hotfill?"
        )
    transform = None
    if entry["transform"] is not None:
        transform = load_transform(place / f"transform_{number}.safetensors")
        if transform.fingerprint != entry["transform"]:
            raise InputError(
                f"{place}: transform {number} has fingerprint {transform.fingerprint}, the scorer "
                f"was saved with {entry['transform']}; the folder mixes two versions"
            )
    return Side(
        ModelId.from_dict(entry["model"]),
        transform,
        KINDS[entry["calibration"]](**parameters),
        arrays[f"{number}/reference"],
        float(entry.get("old_query_weight", 0.0)),
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"there is no scorer file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        stamp = json.loads(metadata[_STAMP])
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path} is not a readable scorer: {error}") from error
    except KeyError as error:
        raise InputError(f"{path} is a safetensors file, but not a scorer of hotfill") from error
    if not isinstance(stamp, dict) or stamp.get("format") != _FORMAT:
        raise InputError(f"{path}: expected format {_FORMAT}; written by another hotfill version?")
    return stamp, arrays
