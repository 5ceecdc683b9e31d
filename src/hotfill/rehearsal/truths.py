"""What counts as relevant in a rehearsal: labels, judgements, or the new model's own first ten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import InputError, ShapeError
from hotfill.metrics import Relevance, from_lists, from_qrels, same_label
from hotfill.rehearsal.backfill_evaluation import chunks
from hotfill.rehearsal.sample import cosines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.rehearsal.rehearsal import Truth
    from hotfill.rehearsal.sample import Sample

TOP = 10  # without labels, the new model's exact first ten are relevant


def truth_name(labels: Any, qrels: Any) -> Truth:
    """Name what counts as relevant."""
    if labels is not None:
        return "labels"
    return "judgements" if qrels is not None else "new model's top 10"


def given_relevance(
    sample: Sample,
    labels: Any,
    query_labels: Any,
    qrels: Mapping[str, Mapping[str, float]] | None,
    items: int,
) -> Relevance | None:
    """Turn labels or judgements into relevance for the sample; None where there are none.

    Raises InputError (labels without those of the queries and the like; nothing relevant for any
    query), ShapeError.
    """
    if labels is not None and qrels is not None:
        raise InputError("labels and judgements were both given; which of them is the truth?")
    if qrels is not None:
        names = [str(row) for row in sample.queries], [str(row) for row in sample.gallery]
        return _some(from_qrels(qrels, *names), "judgements")
    if labels is None:
        if query_labels is not None:
            raise InputError("query labels were given, but no labels of the items")
        return None
    item_labels = np.asarray(labels)
    if item_labels.shape != (items,):
        raise ShapeError(f"labels: expected one per item ({items}), got shape {item_labels.shape}")
    if sample.has_queries and query_labels is None:
        raise InputError("queries and labels were given, but no labels of the queries")
    if not sample.has_queries and query_labels is not None:
        raise InputError("query labels were given, but no queries")
    asked = np.asarray(query_labels) if sample.has_queries else item_labels
    if sample.has_queries and asked.shape != (sample.queries_given,):
        raise ShapeError(
            f"query labels: expected one per query ({sample.queries_given}), got shape "
            f"{asked.shape}"
        )
    return _some(same_label(asked[sample.queries], item_labels[sample.gallery]), "labels")


def new_models_top(sample: Sample, few: int | None = None) -> Relevance:
    """Take the new model's exact first ten of each query as relevant; of the first few queries."""
    rows = np.arange(len(sample.queries))[:few]
    found: list[NDArray[np.int64]] = []
    for chunk in chunks(len(rows), len(sample.gallery)):
        scores = cosines(sample.new.queries.read(chunk), sample.new.gallery)
        size = min(TOP, scores.shape[1])
        found.extend(np.argpartition(-scores, size - 1, axis=1)[:, :size])
    return from_lists(found, len(sample.gallery))


def _some(relevance: Relevance, what: str) -> Relevance:
    if not np.any(relevance.stops > relevance.starts):
        raise InputError(
            f"the {what} name no relevant gallery item for any of {len(relevance)} queries, so "
            "there is nothing to measure"
        )
    return relevance
