"""The evaluator measures what plain arithmetic measures."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from hotfill.errors import InputError, ShapeError

if find_spec("sentence_transformers") is None:
    pytest.skip("sentence-transformers is not installed", allow_module_level=True)

pytestmark = [
    pytest.mark.slow,  # importing the library takes long
    pytest.mark.filterwarnings("default"),  # of its dependencies
]

ITEMS = ["a0", "a1", "b0", "b1", "b2"]
QUERIES = ["a9", "b9"]
LABELS = {"query_labels": ["a", "b"], "item_labels": ["a", "a", "b", "b", "b"]}


class Model:
    """Stands for a model: a fixed vector for each text."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension

    def encode(self, texts, **_):
        seeds = [int.from_bytes(text.encode(), "big") for text in texts]
        return np.stack([np.random.default_rng(s).normal(size=self.dimension) for s in seeds])


def mean_precision(queries, gallery) -> float:
    values = []
    for query, label in zip(queries, LABELS["query_labels"], strict=True):
        cosines = gallery @ query / np.linalg.norm(gallery, axis=1)
        right = [LABELS["item_labels"][row] == label for row in np.argsort(-cosines)]
        at = [sum(right[: i + 1]) / (i + 1) for i in range(len(right)) if right[i]]
        values.append(sum(at) / len(at))
    return float(np.mean(values))


def test_both_galleries_are_measured_and_the_old_one_counts() -> None:
    from hotfill.integrations.sentence_transformers import cross_test_evaluator

    old = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    evaluator = cross_test_evaluator(QUERIES, ITEMS, old, name="dev", **LABELS)
    model = Model(6)
    found = evaluator(model)
    asked = model.encode(QUERIES)
    assert found == {
        "dev_new_to_new_map": pytest.approx(mean_precision(asked, model.encode(ITEMS))),
        "dev_new_to_old_map": pytest.approx(mean_precision(asked, old)),
    }
    assert evaluator.primary_metric == "dev_new_to_old_map"


def test_vectors_of_another_length_are_measured_among_themselves_only() -> None:
    from hotfill.integrations.sentence_transformers import cross_test_evaluator

    evaluator = cross_test_evaluator(QUERIES, ITEMS, np.ones((5, 3), np.float32), **LABELS)
    assert set(evaluator(Model(6))) == {"new_to_new_map"}
    assert evaluator.primary_metric == "new_to_new_map"


def test_labels_that_cannot_be_measured_by_are_refused() -> None:
    from hotfill.integrations.sentence_transformers import cross_test_evaluator

    old = np.ones((5, 3), np.float32)
    with pytest.raises(ShapeError, match="a label for"):
        cross_test_evaluator(QUERIES, ITEMS, old[:4], **LABELS)
    with pytest.raises(InputError, match="nothing can be measured"):
        cross_test_evaluator(QUERIES, ITEMS, old, **{**LABELS, "query_labels": ["x", "y"]})
