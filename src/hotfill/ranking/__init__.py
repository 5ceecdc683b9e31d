"""How two sides become one ranking: maps between spaces, scorers built on them, and their fitting.

Reading order: `transform` (what a map is), `linear`, `kernel`, `networks`, `bridge` (the maps),
`calibration`, `scorer`, `rank_merge` (one list from several sides), `fit` (all of it fitted for an
upgrade), `files`; then `one_space`: old vectors imputed into the index of the new ones. Applying a
map needs numpy alone.
"""

from hotfill.ranking.bridge import Bridge, BridgeForm, bridge_of, fit_bridge
from hotfill.ranking.calibration import (
    Calibrated,
    Calibration,
    Isotonic,
    Tail,
    Uncalibrated,
    ZScore,
    fit_isotonic,
    fit_z_score,
    tail,
)
from hotfill.ranking.common_scale import Background, CommonScale, ReferenceItems
from hotfill.ranking.files import load_scorer, load_transform, save_scorer
from hotfill.ranking.finish import Finish, FinishedEmbedder
from hotfill.ranking.fit import Fit, fit_chain, fit_compatible, fit_models, uncertainty
from hotfill.ranking.impute import Imputation, lengthened
from hotfill.ranking.kernel import KernelBridge, KernelMap, fit_kernel, fit_kernel_bridge
from hotfill.ranking.linear import (
    Moments,
    fit_low_rank,
    fit_procrustes,
    fit_ridge,
    fit_ridge_batches,
)
from hotfill.ranking.networks import ForwardMap, MlpMap, ResidualMap, ResidualMlp, join, joint_model
from hotfill.ranking.one_space import OneSpace, fit_one_space, old_query_weight, scale_of
from hotfill.ranking.rank_merge import RankedHits, SideHits, rank_merge, reciprocal_rank_fusion
from hotfill.ranking.scorer import OldSide, Prepared, Scorer, compare
from hotfill.ranking.transform import Affine, Identity, StampedTransform, identity

__all__ = [
    "Affine",
    "Background",
    "Bridge",
    "BridgeForm",
    "Calibrated",
    "Calibration",
    "CommonScale",
    "Finish",
    "FinishedEmbedder",
    "Fit",
    "ForwardMap",
    "Identity",
    "Imputation",
    "Isotonic",
    "KernelBridge",
    "KernelMap",
    "MlpMap",
    "Moments",
    "OldSide",
    "OneSpace",
    "Prepared",
    "RankedHits",
    "ReferenceItems",
    "ResidualMap",
    "ResidualMlp",
    "Scorer",
    "SideHits",
    "StampedTransform",
    "Tail",
    "Uncalibrated",
    "ZScore",
    "bridge_of",
    "compare",
    "fit_bridge",
    "fit_chain",
    "fit_compatible",
    "fit_isotonic",
    "fit_kernel",
    "fit_kernel_bridge",
    "fit_low_rank",
    "fit_models",
    "fit_one_space",
    "fit_procrustes",
    "fit_ridge",
    "fit_ridge_batches",
    "fit_z_score",
    "identity",
    "join",
    "joint_model",
    "lengthened",
    "load_scorer",
    "load_transform",
    "old_query_weight",
    "rank_merge",
    "reciprocal_rank_fusion",
    "save_scorer",
    "scale_of",
    "tail",
    "uncertainty",
]
