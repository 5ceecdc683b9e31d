"""What a recommendation looks like in the `[upgrade]` section of a configuration file."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.evaluation.rehearsal import Recommendation

ORDERS: Mapping[str, str] = MappingProxyType(
    {
        "random": "random",
        "uncertainty": "uncertain",
        "popularity": "popular",
        "popularity_uncertainty": "popular_uncertain",
    }
)
TRANSFORMS: Mapping[str, str] = MappingProxyType(
    {"bridge": "bridge", "kernel bridge": "kernel_bridge"}
)
PREFILL = "ridge up"
"""What an upgrade by prefill fits by itself; any other map is given to it as a file."""


def upgrade_settings(recommendation: Recommendation) -> str | None:
    """Write the section, TOML; None for a way that an upgrade does not offer.

    Merging by two encoders, and by maps other than the two bridges, are measured for comparison.
    """
    lines = ["[upgrade]", f'strategy = "{recommendation.strategy}"']
    match recommendation.strategy:
        case "merge" if recommendation.transform in TRANSFORMS:
            lines.append(f'transform = "{TRANSFORMS[recommendation.transform]}"')
        case "prefill" if recommendation.transform != PREFILL:
            lines.append(f'up = "up.safetensors"  # {recommendation.transform}: fit and save it')
        case "prefill" | "compatible":
            pass
        case _:
            return None
    lines.append(f'order = "{_order(recommendation)}"')
    if recommendation.order.startswith("popularity"):
        lines.append('query_log = "returned.txt"  # one item id per line and returned hit')
    return "\n".join(lines)


def _order(recommendation: Recommendation) -> str:
    """Name the order; an upgrade between compatible models fits no map whose doubt could count."""
    if recommendation.strategy == "compatible":
        return "popular" if recommendation.order.startswith("popularity") else "random"
    return ORDERS[recommendation.order]
