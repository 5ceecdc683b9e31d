"""Why an upgrade may not move: a list beside the phase, several at once.

Nothing forces past a hold; what causes it must end. Each says what was measured and what is
required, so that an operator need not look elsewhere.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

HoldKind: TypeAlias = Literal[
    "paused", "throttled", "postponed", "gate", "stale_verification", "error"
]


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason not to move.

    kind: what sort of reason. about: the probe, metric, person or error concerned.
    measured, required: the figures, where there are any; their unit is part of `about`.
    since: seconds since the epoch.
    """

    kind: HoldKind
    about: str
    since: float
    measured: float | None = None
    required: float | None = None

    def __str__(self) -> str:
        if self.measured is None:
            return f"{self.kind} ({self.about})"
        if self.required is None:
            return f"{self.kind} {self.about}={self.measured:g}"
        sign = ">" if self.measured > self.required else "<"
        return f"{self.kind} {self.about}={self.measured:g} {sign} {self.required:g}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def hold_of_error(error: Exception, now: float) -> Hold:
    """Return the hold that says what stopped the work."""
    return Hold("error", f"{type(error).__name__}: {error}", now)


def throttles(
    measurements: Mapping[str, float], limits: Mapping[str, float], now: float
) -> tuple[Hold, ...]:
    """Compare measurements with limits: one hold for each that is above its limit.

    measurements, limits: by probe name, the unit in the name ("search_p99_milliseconds"). A limit
    whose probe has not measured yet does not hold. Pure: no clock, no I/O.
    """
    return tuple(
        Hold("throttled", name, now, measured=measurements[name], required=limit)
        for name, limit in sorted(limits.items())
        if name in measurements and measurements[name] > limit
    )
