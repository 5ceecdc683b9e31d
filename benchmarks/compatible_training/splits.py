"""Which part of the data each model sees: the allocation kinds of the literature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OLD_SHARE = 0.3

KINDS = ("extended-data", "extended-class", "open-data", "open-class", "extended-backbone")


@dataclass(frozen=True, eq=False)
class Split:
    """old, new: (n,) bool, the training items of each model. larger: a larger new backbone."""

    kind: str
    old: NDArray[np.bool_]
    new: NDArray[np.bool_]
    larger: bool


def split(kind: str, labels: NDArray[np.int64], seed: int) -> Split:
    """Give 30 % of the classes, or of each class's items, to the old model.

    extended: the new model sees everything. open: it sees the other 70 % only.
    extended-backbone: as extended-class, with a larger new network.
    """
    rng = np.random.default_rng([seed, 30])
    if kind.endswith("-data"):
        old = np.zeros(len(labels), dtype=bool)
        for label in np.unique(labels):
            rows = rng.permutation(np.flatnonzero(labels == label))
            old[rows[: round(OLD_SHARE * len(rows))]] = True
    else:
        classes = rng.permutation(np.unique(labels))
        old = np.isin(labels, classes[: round(OLD_SHARE * len(classes))])
    new = ~old if kind.startswith("open") else np.ones(len(labels), dtype=bool)
    return Split(kind, old, new, larger=kind == "extended-backbone")
