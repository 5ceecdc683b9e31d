"""Terms: one published idea of a loss per file."""

from hotfill.losses.terms.adversarial import Adversarial
from hotfill.losses.terms.anchor_alignment import AnchorAlignment
from hotfill.losses.terms.anchor_softmax import AnchorSoftmax
from hotfill.losses.terms.asymmetric_contrast import AsymmetricContrast
from hotfill.losses.terms.class_contrast import ClassContrast
from hotfill.losses.terms.contextual_similarity import ContextualSimilarity
from hotfill.losses.terms.cosine_boundary import CosineBoundary
from hotfill.losses.terms.differential_similarity import DifferentialSimilarity
from hotfill.losses.terms.elastic_boundary import ElasticBoundary
from hotfill.losses.terms.item_contrast import ItemContrast
from hotfill.losses.terms.metric_loss import MetricLoss
from hotfill.losses.terms.mixed_softmax import MixedSoftmax
from hotfill.losses.terms.regression import Regression
from hotfill.losses.terms.relational_regression import RelationalRegression
from hotfill.losses.terms.stationary_contrast import StationaryContrast
from hotfill.losses.terms.structure_similarity import StructureSimilarity

__all__ = [
    "Adversarial",
    "AnchorAlignment",
    "AnchorSoftmax",
    "AsymmetricContrast",
    "ClassContrast",
    "ContextualSimilarity",
    "CosineBoundary",
    "DifferentialSimilarity",
    "ElasticBoundary",
    "ItemContrast",
    "MetricLoss",
    "MixedSoftmax",
    "Regression",
    "RelationalRegression",
    "StationaryContrast",
    "StructureSimilarity",
]
