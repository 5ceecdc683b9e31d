"""The orders that a gallery is backfilled in, by their names in the table."""

from __future__ import annotations

import numpy as np

from benchmarks.mixed_quality import trained
from benchmarks.mixed_quality.query_log import log_popularity
from benchmarks.mixed_quality.workbench import Workbench
from hotfill.ranking import uncertainty
from hotfill.rehearsal.orders import highest_first, random_order
from hotfill.upgrade.order import popularity_times_uncertainty


def backfill_order(bench: Workbench, name: str) -> np.ndarray:
    """A backfill order by its name in the table."""
    if name == "random":
        return random_order(len(bench.sample.gallery), seed=bench.seed)
    if name == "sigma":
        return highest_first(trained.sigma(bench), seed=bench.seed)
    bridge = bench.transform("kernel_bridge", "down").transform
    doubt = uncertainty(bridge, bench.old("gallery"))
    if name == "uncertainty":
        return highest_first(doubt, seed=bench.seed)
    if name == "oracle":
        mapped = bridge.gallery_features(bench.old("gallery"))
        true = bridge.query_features(bench.new("gallery"))
        return highest_first(-np.einsum("ij,ij->i", mapped, true), seed=bench.seed)
    asked = log_popularity(bench.pair, bench.sample, bench.seed)
    if name == "popularity":
        return highest_first(asked, seed=bench.seed)
    urgency = popularity_times_uncertainty(asked, doubt, np.sort(doubt))
    return highest_first(urgency, seed=bench.seed)
