"""How the sides of a half-upgraded gallery become one ranking."""

from hotfill.scoring.fusion import reciprocal_rank_fusion
from hotfill.scoring.rank_merge import RankedHits, SideHits, rank_merge

__all__ = ["RankedHits", "SideHits", "rank_merge", "reciprocal_rank_fusion"]
