"""Builders of References: where anchors come from."""

from hotfill.losses.references.head import from_head
from hotfill.losses.references.means import from_means
from hotfill.losses.references.perturbed import perturbed
from hotfill.losses.references.radius import nearest_share, without_outliers
from hotfill.losses.references.refined import refined
from hotfill.losses.references.simplex import simplex
from hotfill.losses.references.synthesised import synthesised

__all__ = [
    "from_head",
    "from_means",
    "nearest_share",
    "perturbed",
    "refined",
    "simplex",
    "synthesised",
    "without_outliers",
]
