"""A cross test as an evaluator of sentence-transformers: how compatible is the model so far?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError, ShapeError
from hotfill.extras import need
from hotfill.metrics import average_precision, rank_scores, same_label
from hotfill.vectors import check_vectors, unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.types import Vectors


def cross_test_evaluator(
    queries: Sequence[str],
    items: Sequence[str],
    old_vectors: Vectors,
    *,
    query_labels: Sequence[Any],
    item_labels: Sequence[Any],
    name: str = "",
    batch_size: int = 32,
) -> Any:
    """Make an evaluator for `SentenceTransformerTrainer(evaluator=...)`.

    queries, items: texts. old_vectors: float32 (items, d), the items as the model in service sees
        them. query_labels, item_labels: relevant is the same label.
    It gives the mean average precision by cosine of "new_to_new_map" and, where the model's vectors
    are as long as the old ones, of "new_to_old_map": new queries against the old gallery, which
    then is the primary metric.
    Raises InputError, ShapeError, VectorError, MissingExtraError.
    """
    library: Any = need(
        "sentence_transformers.sentence_transformer.evaluation", "sentence-transformers"
    )
    old = unit(check_vectors(old_vectors, np.shape(old_vectors)[-1], what="old vectors"))
    if not len(old) == len(items) == len(item_labels) or len(queries) != len(query_labels):
        raise ShapeError(
            f"expected an old vector and a label for each of {len(items)} items and a label for "
            f"each of {len(queries)} queries, got {len(old)}, {len(item_labels)} and "
            f"{len(query_labels)}"
        )
    relevance = same_label(np.asarray(query_labels), np.asarray(item_labels))
    if not set(query_labels) & set(item_labels):
        raise InputError("no query has the label of any item, so nothing can be measured")

    class CrossTestEvaluator(library.SentenceEvaluator):  # type: ignore[misc]  # an extra: any type
        """Measures new queries against the new and the old gallery."""

        def __init__(self) -> None:
            super().__init__()
            self.primary_metric = "new_to_new_map"

        def __call__(
            self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
        ) -> dict[str, float]:
            def embed(texts: Sequence[str]) -> Vectors:
                made = model.encode(list(texts), batch_size=batch_size, show_progress_bar=False)
                return unit(np.asarray(made, dtype=np.float32))

            def mean_precision(gallery: Vectors) -> float:
                return float(average_precision(rank_scores(asked @ gallery.T, relevance)).mean())

            asked = embed(queries)
            found = {"new_to_new_map": mean_precision(embed(items))}
            if asked.shape[1] == old.shape[1]:
                found["new_to_old_map"] = mean_precision(old)
                self.primary_metric = "new_to_old_map"
            named: dict[str, float] = self.prefix_name_to_metrics(found, name)
            return named

    return CrossTestEvaluator()
