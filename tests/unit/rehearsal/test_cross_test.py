from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hotfill.errors import InputError, ShapeError
from hotfill.metrics import average_compatibility, average_precision, rank_scores, same_label
from hotfill.rehearsal.cross_test import (
    EmbeddedBy,
    compatibility_matrix,
    cross_test,
    is_compatible,
    self_test,
)


@pytest.fixture(scope="module")
def models():
    """Three models of one space (pixels, noisier and noisier back in time), one of another."""
    digits = load_digits()
    rng = np.random.default_rng(0)
    clean = digits.data[:200]

    def made(noise, columns=64):
        vectors = (clean + rng.normal(scale=noise, size=clean.shape))[:, :columns]
        return EmbeddedBy(queries=vectors[150:], gallery=vectors[:150])

    labels = digits.target[:200]
    models = {"a": made(12.0), "b": made(6.0), "c": made(0.1), "half": made(0.1, columns=32)}
    return models, same_label(labels[150:], labels[:150])


def test_the_sides_of_a_cross_test_are_named(models) -> None:
    by_name, relevance = models
    quality = cross_test(query_model=by_name["c"], gallery_model=by_name["a"], relevance=relevance)
    queries, gallery = by_name["c"].queries, by_name["a"].gallery
    cosines = (queries / np.linalg.norm(queries, axis=1)[:, None]) @ (
        gallery / np.linalg.norm(gallery, axis=1)[:, None]
    ).T
    expected = average_precision(rank_scores(cosines, relevance)).mean()
    assert quality.map == pytest.approx(expected, abs=1e-4)
    with pytest.raises(TypeError):
        cross_test(by_name["c"], by_name["a"], relevance)


def test_the_matrix_holds_every_pair_and_nan_where_dimensions_differ(models) -> None:
    by_name, relevance = models
    matrix = compatibility_matrix(by_name, relevance)
    assert matrix.models == ("a", "b", "c", "half")
    for query in by_name:
        for gallery in by_name:
            cell = matrix.at(query_model=query, gallery_model=gallery)
            if (query == "half") != (gallery == "half"):
                assert np.isnan(cell)
            else:
                assert (
                    cell
                    == cross_test(
                        query_model=by_name[query],
                        gallery_model=by_name[gallery],
                        relevance=relevance,
                    ).map
                )
    assert matrix.at(query_model="b", gallery_model="b") == (
        self_test(model=by_name["b"], relevance=relevance).map
    )


def test_less_noise_in_the_same_space_is_compatible(models) -> None:
    by_name, relevance = models
    chain = {name: by_name[name] for name in ("a", "b", "c")}
    matrix = compatibility_matrix(chain, relevance, figure="ndcg@10")
    assert matrix.compatible(query_model="c", gallery_model="a")
    assert not matrix.compatible(query_model="a", gallery_model="c")
    assert average_compatibility(matrix.values) == 1


def test_the_criterion_is_strict() -> None:
    assert is_compatible(new_to_old=0.51, old=0.5)
    assert not is_compatible(new_to_old=0.5, old=0.5)


def test_bad_input_is_refused(models) -> None:
    by_name, relevance = models
    with pytest.raises(ShapeError, match="one dimension"):
        cross_test(query_model=by_name["c"], gallery_model=by_name["half"], relevance=relevance)
    with pytest.raises(InputError, match="figure must be one of"):
        compatibility_matrix(by_name, relevance, figure="acc")
    with pytest.raises(InputError, match="expected one of a, b"):
        compatibility_matrix({name: by_name[name] for name in ("a", "b")}, relevance).at(
            query_model="z", gallery_model="a"
        )
