"""How the sides of a half-upgraded gallery become one ranking."""

from hotfill.scoring.calibration import Calibrated, Calibration, Uncalibrated
from hotfill.scoring.compare import compare
from hotfill.scoring.files import load, save
from hotfill.scoring.fit import FitTransform, fit_scorer
from hotfill.scoring.fusion import reciprocal_rank_fusion
from hotfill.scoring.isotonic import Isotonic, fit_isotonic
from hotfill.scoring.rank_merge import RankedHits, SideHits, rank_merge
from hotfill.scoring.scorer import Prepared, Scorer
from hotfill.scoring.side import Bridge, Side
from hotfill.scoring.tail import Tail, tail
from hotfill.scoring.z_score import ZScore, fit_z_score

__all__ = [
    "Bridge",
    "Calibrated",
    "Calibration",
    "FitTransform",
    "Isotonic",
    "Prepared",
    "RankedHits",
    "Scorer",
    "Side",
    "SideHits",
    "Tail",
    "Uncalibrated",
    "ZScore",
    "compare",
    "fit_isotonic",
    "fit_scorer",
    "fit_z_score",
    "load",
    "rank_merge",
    "reciprocal_rank_fusion",
    "save",
    "tail",
]
