"""What a rehearsal promised, read from the file that `hotfill rehearse --json` wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The curve of the recommended way.

    way: strategy, transform, calibration and order, in words. points: share of the items done, 0
    to 1, rising, with the map there. old, new: map of both models alone. truth: what counted as
    relevant. whole: everything in the file.
    """

    way: str
    points: tuple[tuple[float, float], ...]
    old: float
    new: float
    truth: str
    whole: dict[str, Any]

    def expected(self, share: float) -> float:
        """The map at a share of the items done."""
        shares, maps = zip(*self.points, strict=True)
        return float(np.interp(share, shares, maps))


def read_rehearsed(path: Path) -> Rehearsed:
    """Read the file. Raises ConfigError when it is missing or is something else."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"[service] rehearsal = {path.name!r} cannot be read: {error}") from error
    try:
        wanted = whole["recommendation"]
        parts = [wanted[name] for name in ("strategy", "transform", "calibration", "order")]
        curve = next(
            curve
            for curve in whole["curves"]
            if [curve[name] for name in ("strategy", "transform", "calibration", "order")] == parts
        )
        points = tuple((float(each["share"]), float(each["map"])) for each in curve["points"])
        return Rehearsed(
            way=", ".join(part for part in parts if part != "none") + " order",
            points=tuple(sorted(points)),
            old=float(whole["old"]["map"]),
            new=float(whole["new"]["map"]),
            truth=str(whole["truth"]),
            whole=whole,
        )
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise ConfigError(
            f"[service] rehearsal = {path.name!r} is not what `hotfill rehearse --json` writes: "
            f"{type(error).__name__} {error}"
        ) from error
