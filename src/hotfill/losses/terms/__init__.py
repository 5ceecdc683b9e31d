"""Terms: one published idea of a loss per file."""

from hotfill.losses.terms.adversarial import Adversarial
from hotfill.losses.terms.anchor_alignment import AnchorAlignment
from hotfill.losses.terms.anchor_softmax import AnchorSoftmax
from hotfill.losses.terms.class_contrast import ClassContrast
from hotfill.losses.terms.cosine_boundary import CosineBoundary
from hotfill.losses.terms.elastic_boundary import ElasticBoundary
from hotfill.losses.terms.item_contrast import ItemContrast
from hotfill.losses.terms.metric_loss import MetricLoss
from hotfill.losses.terms.mixed_softmax import MixedSoftmax
from hotfill.losses.terms.regression import Regression
from hotfill.losses.terms.stationary_contrast import StationaryContrast

__all__ = [
    "Adversarial",
    "AnchorAlignment",
    "AnchorSoftmax",
    "ClassContrast",
    "CosineBoundary",
    "ElasticBoundary",
    "ItemContrast",
    "MetricLoss",
    "MixedSoftmax",
    "Regression",
    "StationaryContrast",
]
