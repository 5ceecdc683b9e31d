"""What a plan requires of the quality, and whether it is met. Pure: no clock, no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from hotfill.errors import ConfigError
from hotfill.upgrade.holds import Hold

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

GatedMetric: TypeAlias = Literal["agreement", "old_overlap", "first_kept", "flips"]
"""Figures of `Quality` that a gate may be set on."""

AT_MOST = frozenset({"flips"})
"""Of these less is better; of all others more."""


def check_gate(gate: Mapping[str, float]) -> None:
    """Raise ConfigError unless every metric is known and every required value from 0 to 1."""
    for name, required in gate.items():
        if name not in get_args(GatedMetric):
            raise ConfigError(
                f"[gate] {name}: unknown; a gate may be set on {', '.join(get_args(GatedMetric))}"
            )
        if isinstance(required, bool) or not isinstance(required, int | float):
            raise ConfigError(f"[gate] {name} must be a number, got {required!r}")
        if not 0 <= required <= 1:
            raise ConfigError(f"[gate] {name} must be from 0 to 1, got {required}")


def is_met(name: str, measured: float, required: float) -> bool:
    """Tell whether a measured value is as good as required."""
    return measured <= required if name in AT_MOST else measured >= required


def violations(
    measured: Mapping[str, Any], gate: Mapping[str, float], accepted: Collection[str], now: float
) -> tuple[Hold, ...]:
    """Compare a measurement with the gate: one hold for each value that is not met.

    measured: the fields of `Quality`; a value that is None could not be measured and does not hold.
    accepted: metrics that somebody let pass.
    """
    return tuple(
        Hold("gate", name, now, measured=measured[name], required=required)
        for name, required in sorted(gate.items())
        if measured[name] is not None
        and name not in accepted
        and not is_met(name, measured[name], required)
    )


def judged_again(holds: Iterable[Hold], gate: Mapping[str, float]) -> tuple[Hold, ...]:
    """Return which holds of the gate stay when it is set otherwise, by what was measured then."""
    return tuple(
        Hold("gate", hold.about, hold.since, measured=hold.measured, required=gate[hold.about])
        for hold in holds
        if hold.kind == "gate"
        and hold.about in gate
        and hold.measured is not None
        and not is_met(hold.about, hold.measured, gate[hold.about])
    )
