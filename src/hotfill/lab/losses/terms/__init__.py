"""Terms: one published idea of a loss per file."""

from hotfill.lab.losses.terms.adversarial import Adversarial
from hotfill.lab.losses.terms.anchor_alignment import AnchorAlignment
from hotfill.lab.losses.terms.anchor_softmax import AnchorSoftmax
from hotfill.lab.losses.terms.asymmetric_contrast import AsymmetricContrast
from hotfill.lab.losses.terms.class_contrast import ClassContrast
from hotfill.lab.losses.terms.contextual_similarity import ContextualSimilarity
from hotfill.lab.losses.terms.cosine_boundary import CosineBoundary
from hotfill.lab.losses.terms.differential_similarity import DifferentialSimilarity
from hotfill.lab.losses.terms.elastic_boundary import ElasticBoundary
from hotfill.lab.losses.terms.item_contrast import ItemContrast
from hotfill.lab.losses.terms.metric_loss import MetricLoss
from hotfill.lab.losses.terms.mixed_softmax import MixedSoftmax
from hotfill.lab.losses.terms.regression import Regression
from hotfill.lab.losses.terms.relational_regression import RelationalRegression
from hotfill.lab.losses.terms.stationary_contrast import StationaryContrast
from hotfill.lab.losses.terms.structure_similarity import StructureSimilarity

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
