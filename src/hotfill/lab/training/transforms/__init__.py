"""Trained maps between two frozen models' spaces; torch trains them, numpy applies them.

    merge     `train_reverse_query_transform`, `train_metric_compatible` (SEO)
    prefill   `train_forward` (FCT), `train_fastfill`, `train_lambda_orthogonal`
    either    `train_residual_mlp` (Drift-Adapter)

All give ordinary transforms. Nothing here trains a model: see `hotfill.lab.training` for that.
"""

from hotfill.lab.training.transforms.gallery_maps import (
    Classifier,
    fit_classifier,
    train_fastfill,
    train_forward,
    train_lambda_orthogonal,
)
from hotfill.lab.training.transforms.loop import MapSettings, Progress
from hotfill.lab.training.transforms.losses import CONTRASTS, Contrast
from hotfill.lab.training.transforms.positives import Neighbours, Positives, Related, SameLabel
from hotfill.lab.training.transforms.query_maps import (
    train_metric_compatible,
    train_residual_mlp,
    train_reverse_query_transform,
)

__all__ = [
    "CONTRASTS",
    "Classifier",
    "Contrast",
    "MapSettings",
    "Neighbours",
    "Positives",
    "Progress",
    "Related",
    "SameLabel",
    "fit_classifier",
    "train_fastfill",
    "train_forward",
    "train_lambda_orthogonal",
    "train_metric_compatible",
    "train_residual_mlp",
    "train_reverse_query_transform",
]
