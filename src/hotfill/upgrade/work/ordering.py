"""From a plan's word for an order to the order itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hotfill.upgrade.work.order import (
    PopularOrder,
    PopularUncertainOrder,
    PriorityOrder,
    RandomOrder,
    UncertainOrder,
    read_query_log,
)
from hotfill.upgrade.work.sample import sample_ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hotfill.stores.base import Gallery
    from hotfill.types import Vectors
    from hotfill.upgrade.plan import Plan
    from hotfill.upgrade.work.order import Order

_REFERENCE_ITEMS = 1000  # enough to tell whether an item is among the more doubtful


def order_of(
    plan: Plan, gallery: Gallery, uncertainty: Callable[[Vectors], NDArray[np.floating]]
) -> Order:
    """Return the order that a plan names. Raises ConfigError when its query log cannot be read.

    uncertainty: see `UncertainOrder`.
    """
    match plan.order:
        case "random":
            return RandomOrder(plan.seed)
        case "priority":
            return PriorityOrder(plan.priority_key)
        case "popular":
            return PopularOrder(read_query_log(Path(plan.query_log)))
    uncertain = UncertainOrder(plan.old_model, uncertainty)
    if plan.order == "uncertain":
        return uncertain
    ids = sample_ids(gallery, [plan.old_model], _REFERENCE_ITEMS, plan.seed)
    doubts = uncertainty(gallery.vectors(ids, plan.old_model).vectors)
    popular = PopularOrder(read_query_log(Path(plan.query_log)))
    return PopularUncertainOrder(popular, uncertain, np.sort(doubts))
