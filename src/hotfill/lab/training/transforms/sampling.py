"""How an epoch is cut into batches: functions of the seed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.extras import need

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Rows = NDArray[np.int64]


def shuffled(items: int, batch: int, seed: int) -> list[Rows]:
    """Every item once; a last short batch is left out unless it is the only one."""
    order = np.random.default_rng(seed).permutation(items)
    whole = max(1, items // batch)
    return [order[place * batch : (place + 1) * batch] for place in range(whole)]


def class_balanced(labels: Rows, batch: int, per_class: int, seed: int) -> list[Rows]:
    """Batches of `per_class` items of each of as many classes as fit; about one epoch of them.

    More items of each class where there are too few classes to fill the batch. The sampler is
    pytorch-metric-learning's; a class with fewer items than that gives some of them twice.
    """
    common: Any = need("pytorch_metric_learning.utils.common_functions", "train")
    samplers = need("pytorch_metric_learning.samplers", "train")
    classes = int(labels.max()) + 1
    wanted = min(batch, len(labels))
    each = max(per_class, -(-wanted // classes))
    size = max(1, wanted // each) * each
    before = common.NUMPY_RANDOM
    common.NUMPY_RANDOM = np.random.RandomState(seed % 2**32)  # the library's own way to seed it
    try:
        sampler = samplers.MPerClassSampler(
            labels, each, batch_size=size, length_before_new_iter=max(len(labels), size)
        )
        rows = np.fromiter(sampler, dtype=np.int64)
    finally:
        common.NUMPY_RANDOM = before
    return list(rows.reshape(-1, size))


def grouped(relation: csr_array, anchors: Rows, batch: int, group: int, seed: int) -> list[Rows]:
    """Batches of anchors, each with up to `group` - 1 of those it is related to; no item twice.

    An epoch is as many batches as hold all items once, so each anchor has its turn in some.
    Batches are of `batch` items or fewer, where partners are few or shared.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(anchors)
    partners_of_one = min(group - 1, relation.nnz // len(anchors))  # one, of most queries
    at_once = max(2, batch // (1 + max(1, partners_of_one)))
    found = []
    for start in range(0, max(1, len(order) // batch) * at_once, at_once):
        drawn = order[start : start + at_once]
        partners = _some_of_each(relation[drawn], group - 1, random)
        found.append(np.unique(np.concatenate([drawn, partners])).astype(np.int64))
    return found


def _some_of_each(relation: csr_array, most: int, random: np.random.Generator) -> Rows:
    """Draw at most this many of the columns of each row, without replacement."""
    counts = np.diff(relation.indptr)
    rows = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((random.random(len(rows)), rows))  # each row's columns, shuffled
    place = np.arange(len(rows)) - np.repeat(relation.indptr[:-1], counts)
    return np.asarray(relation.indices[order[place < most]])
