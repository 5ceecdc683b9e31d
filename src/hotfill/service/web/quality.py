"""Quality while the gallery is mixed: what the canaries showed, and what a rehearsal promised."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import ConfigError
from hotfill.upgrade.phases import OLD_ONLY

if TYPE_CHECKING:
    from pathlib import Path

    from hotfill.service.snapshot import UpgradeSnapshot

CANARY_WORDS = {
    "agreement": "Agreement with the new model",
    "old_overlap": "Overlap with the old model's hits",
    "first_kept": "Old first hit still found",
    "flips": "Answers lost",
}
"""What the canaries measure, in words."""

_AT_MOST = frozenset({"flips"})  # the others must be at least what is required


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the canaries. required: by the gate, None where it asks nothing of it."""

    name: str
    words: str
    value: float
    required: float | None
    sign: str
    accepted: bool


def figures(seen: UpgradeSnapshot) -> list[Figure]:
    """List what the newest measurement found; nothing before the first."""
    if not seen.quality:
        return []
    status, newest = seen.status, seen.quality[-1].body
    return [
        Figure(
            name,
            said,
            float(newest[name]),
            status.gate.get(name),
            "\N{LESS-THAN OR EQUAL TO}" if name in _AT_MOST else "\N{GREATER-THAN OR EQUAL TO}",
            name in status.gate_accepted,
        )
        for name, said in CANARY_WORDS.items()
        if newest[name] is not None
    ]


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


def expected_now(rehearsed: Rehearsed, seen: UpgradeSnapshot) -> float:
    """Say what was rehearsed for this moment: of the old model alone while only it searches."""
    if seen.status.phase in OLD_ONLY:
        return rehearsed.old
    return rehearsed.expected(seen.coverage)
