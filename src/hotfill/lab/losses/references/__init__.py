"""Builders of References: where anchors come from."""

from hotfill.lab.losses.references.head import from_head
from hotfill.lab.losses.references.means import from_means
from hotfill.lab.losses.references.perturbed import perturbed
from hotfill.lab.losses.references.radius import nearest_share, without_outliers
from hotfill.lab.losses.references.refined import refined
from hotfill.lab.losses.references.simplex import simplex
from hotfill.lab.losses.references.synthesised import synthesised, with_alternatives

__all__ = [
    "from_head",
    "from_means",
    "nearest_share",
    "perturbed",
    "refined",
    "simplex",
    "synthesised",
    "with_alternatives",
    "without_outliers",
]
