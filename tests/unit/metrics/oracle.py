"""Slow and obvious: what the metrics are checked against."""

from __future__ import annotations

import math


def ranking(scores, left_out=-1):
    """Positions, best first; of equal scores the earlier position first."""
    positions = [position for position in range(len(scores)) if position != left_out]
    return sorted(positions, key=lambda position: (-scores[position], position))


def average_precision(found, relevant, k=None):
    cut = len(found) if k is None else k
    hits, total = 0, 0.0
    for rank, item in enumerate(found[:cut], start=1):
        if item in relevant:
            hits += 1
            total += hits / rank
    return total / (len(relevant) if k is None else min(len(relevant), k))


def hit_rate(found, relevant, k):
    return any(item in relevant for item in found[:k])


def recall(found, relevant, k):
    return sum(item in relevant for item in found[:k]) / len(relevant)


def ndcg(found, grades, k):
    def gain(values):
        return sum(value / math.log2(rank + 1) for rank, value in enumerate(values, start=1))

    return gain([grades.get(item, 0) for item in found[:k]]) / gain(
        sorted(grades.values(), reverse=True)[:k]
    )
