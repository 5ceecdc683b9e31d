"""Quality of rankings, numpy only.

First say what is relevant (`same_label`, `from_matrix`, `from_lists`, `from_qrels`), then turn
scores or search results into the ranks of the relevant items (`rank_scores`, `rank_lists`); every
ranking metric reads those and returns one value per judged query. Its mean is the figure.
"""

from hotfill.metrics.backfill_curve import BackfillCurve, harm_beyond_noise
from hotfill.metrics.compatibility import (
    AdvBCTScores,
    advbct_scores,
    average_compatibility,
    average_metric,
    backward_compatibility,
    forward_compatibility,
    update_gain,
)
from hotfill.metrics.figures import (
    Difference,
    ann_recall,
    average_precision,
    hit_rate,
    ndcg,
    negative_flips,
    paired_difference,
    recall,
)
from hotfill.metrics.ranks import RelevantRanks, rank_lists, rank_scores
from hotfill.metrics.relevance import Relevance, from_lists, from_matrix, from_qrels, same_label

__all__ = [
    "AdvBCTScores",
    "BackfillCurve",
    "Difference",
    "Relevance",
    "RelevantRanks",
    "advbct_scores",
    "ann_recall",
    "average_compatibility",
    "average_metric",
    "average_precision",
    "backward_compatibility",
    "forward_compatibility",
    "from_lists",
    "from_matrix",
    "from_qrels",
    "harm_beyond_noise",
    "hit_rate",
    "ndcg",
    "negative_flips",
    "paired_difference",
    "rank_lists",
    "rank_scores",
    "recall",
    "same_label",
    "update_gain",
]
