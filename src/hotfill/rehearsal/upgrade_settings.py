"""What a recommendation looks like in the `[upgrade]` section of a configuration file."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from hotfill.rehearsal.strategies import OWN_QUERY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.rehearsal.rehearsal import Recommendation

ORDERS: Mapping[str, str] = MappingProxyType(
    {
        "random": "random",
        "uncertainty": "uncertainty",
        "popularity": "popularity",
        "popularity_uncertainty": "popularity_uncertainty",
    }
)
TRANSFORMS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("merge", "bridge"): "bridge",
        ("merge", "kernel bridge"): "kernel_bridge",
        ("merge", OWN_QUERY): "kernel_bridge",
        ("prefill", "ridge up"): "bridge",
        ("prefill", "kernel up"): "kernel_bridge",
    }
)
"""What an upgrade fits by itself; any other map for prefill is given to it as a file."""


def upgrade_settings(recommendation: Recommendation) -> str | None:
    """Write the section, TOML; None for a way that an upgrade does not offer.

    Merging by two encoders alone, and by maps other than the bridges, are measured for comparison.
    """
    lines = ["[upgrade]", f'strategy = "{recommendation.strategy}"']
    fitted = TRANSFORMS.get((recommendation.strategy, recommendation.transform))
    if fitted is not None:
        lines.append(f'transform = "{fitted}"')
        if recommendation.transform == OWN_QUERY:
            lines.append("queries = "both"")
    elif recommendation.strategy == "prefill":
        lines.append(f'up = "up.safetensors"  # {recommendation.transform}: fit and save it')
    elif recommendation.strategy != "compatible":
        return None
    lines.append(f'order = "{_order(recommendation)}"')
    if recommendation.order.startswith("popularity"):
        lines.append('query_log = "returned.txt"  # one item id per line and returned hit')
    return "\n".join(lines)


def _order(recommendation: Recommendation) -> str:
    """Name the order; an upgrade between compatible models fits no map whose doubt could count."""
    if recommendation.strategy == "compatible":
        return "popularity" if recommendation.order.startswith("popularity") else "random"
    return ORDERS[recommendation.order]
