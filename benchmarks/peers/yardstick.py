"""What every tool is measured by: lists of ten, whoever made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hotfill.metrics import average_precision, hit_rate, ndcg, paired_difference, rank_lists

K = 10
WITHOUT_SHARES = ("isotrieve",)
"""It re-embeds nothing: a state before its end, and its end, which its user has at every share."""


def point_at(tool: str, quality: dict[str, Any], share: float) -> dict[str, Any] | None:
    """What a tool's user has when that share is re-embedded, as measured; None where it is not."""
    points: list[dict[str, Any]] = quality.get("points", [])
    if tool in WITHOUT_SHARES:
        return points[-1] if points else None
    return next((point for point in points if point["asked"] == share), None)


class Yardstick:
    """Judges lists of ten by the labels, and beside the exact lists of the old and new model."""

    def __init__(self, world: Path, queries: int) -> None:
        labels = np.load(world / "labels.npz")
        asked = labels["queries"][:queries]
        self.relevant = [np.flatnonzero(labels["gallery"] == label).tolist() for label in asked]
        items = len(labels["gallery"])
        self.exact = {}
        for side in ("old", "new"):
            vectors = np.load(world / f"{side}.npy")
            scores = vectors[items : items + len(asked)] @ vectors[:items].T
            self.exact[side] = np.argsort(-scores, axis=1, kind="stable")[:, :K].tolist()

    def per_query(self, found: list[list[int]]) -> dict[str, np.ndarray]:
        once = [[*dict.fromkeys(items)] for items in found]  # an item found twice counts once
        ranks = rank_lists(once, self.relevant)
        return {
            "map@10": average_precision(ranks, K),
            "ndcg@10": ndcg(ranks, K),
            "hit_rate@1": hit_rate(ranks, 1).astype(np.float64),
        }

    def figures(self, found: list[list[int]]) -> dict[str, Any]:
        """Means, and of each its difference from both models' exact search with 95 % intervals."""
        mine = self.per_query(found)
        said: dict[str, Any] = {name: round(float(each.mean()), 4) for name, each in mine.items()}
        for side, lists in self.exact.items():
            other = self.per_query(lists)
            apart = {name: paired_difference(mine[name], other[name]) for name in mine}
            said[f"over_{side}"] = {
                name: [round(each.value, 4), round(each.low, 4), round(each.high, 4)]
                for name, each in apart.items()
            }
        said["short"] = sum(len(items) < K for items in found)
        said["twice"] = sum(len(set(items)) < len(items) for items in found)
        return said
