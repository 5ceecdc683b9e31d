"""A made-up query log: some classes are asked for far more often than others.

None of the data sets comes with a log, and where all classes are asked for alike, popularity says
nothing. So the classes get Zipf weights, 1 / rank, in an order drawn from the seed. The log is
2,000 of the pairs' own items, drawn by the weight of their class; how often the old system found
an item among its first ten is the item's popularity. The queries measured are weighed likewise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.mixed_quality.pairs import Pair
from hotfill.rehearsal.orders import old_popularity
from hotfill.rehearsal.sample import Sample, SampleSide

LOGGED = 2000


def log_popularity(pair: Pair, sample: Sample, seed: int) -> np.ndarray:
    """Count how often each gallery item was found by the log's queries: float64 (n,)."""
    assert pair.fit_labels is not None
    weights = _weights(pair, pair.fit_labels, seed)
    drawn = np.random.default_rng([seed, 1]).choice(len(weights), LOGGED, p=weights)
    asked = SampleSide(pair.old["fit"], drawn, sample.old.model)
    return old_popularity(replace(sample, old=replace(sample.old, fit=asked)))


def query_weights(pair: Pair, seed: int) -> np.ndarray | None:
    """The weight of each measured query, sum 1; None where there are no classes."""
    if pair.query_labels is None:
        return None
    return _weights(pair, pair.query_labels, seed)


def _weights(pair: Pair, labels: np.ndarray, seed: int) -> np.ndarray:
    classes = np.union1d(pair.fit_labels, pair.query_labels)
    rank = np.random.default_rng([seed, 0]).permutation(len(classes)) + 1.0
    weights = 1.0 / rank[np.searchsorted(classes, labels)]
    return weights / weights.sum()
