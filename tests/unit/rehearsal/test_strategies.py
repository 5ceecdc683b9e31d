"""What is measured on paper is what the scorer serves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hotfill.errors import ConfigError
from hotfill.ranking import Scorer, Side, compare, tail
from hotfill.rehearsal.fitting import fit_transform, pairs_of
from hotfill.rehearsal.mapped_gallery import MappedGallery
from hotfill.rehearsal.mixed_gallery import side_of_each
from hotfill.rehearsal.model_signs import NEIGHBOURS, model_signs
from hotfill.rehearsal.popularity import old_popularity
from hotfill.rehearsal.sample import cosines, draw_sample
from hotfill.rehearsal.strategies import (
    OWN_QUERY,
    fuse_ranks,
    interpolated,
    merge_down,
    merge_up,
    slerp,
    two_encoders,
    with_own_query,
)


@pytest.fixture(scope="module")
def sample():
    data = load_digits()
    return draw_sample(data.data[:900, :40], data.data[:900], fit=2000, seed=0)


@pytest.mark.parametrize("name", ["ridge down", "bridge", "kernel bridge"])
def test_a_merge_scores_as_the_scorer_does(sample, name) -> None:
    pairs = pairs_of(sample)
    fitted = fit_transform(name, sample, pairs)
    old, new = merge_down(sample, pairs, fitted, calibration="tail").sides(slice(3, 8))

    side = Side(sample.old.model, fitted.transform, tail(), pairs.old_reference)
    scorer = Scorer(sample.new.model, pairs.new_reference, [side])
    queries = sample.new.queries.read(slice(3, 8))
    prepared = scorer.prepare(queries)
    for row in range(5):
        if prepared.refined:
            refined = prepared.refined[sample.old.model]
            expected = refined(row, sample.old.gallery.read())
        else:
            searching = prepared.vectors[sample.old.model].rows[row : row + 1]
            raw = compare(searching, sample.old.gallery.read(), sample.old.model)[0]
            expected = prepared.calibrated[sample.old.model](row, raw)
        np.testing.assert_allclose(old[row], expected, atol=1e-4)
    np.testing.assert_allclose(new, queries @ sample.new.gallery.read().T, atol=1e-6)


def test_two_encoders_score_with_the_old_models_own_queries(sample) -> None:
    old, _ = two_encoders(sample, pairs_of(sample), calibration="none").sides(slice(0, 4))
    expected = sample.old.queries.read(slice(0, 4)) @ sample.old.gallery.read().T
    np.testing.assert_allclose(old, expected, atol=1e-6)


def test_an_own_query_beside_scores_as_the_scorer_does(sample) -> None:
    pairs = pairs_of(sample)
    fitted = fit_transform("kernel bridge", sample, pairs)
    merged = merge_down(sample, pairs, fitted, calibration="tail")
    both = with_own_query(merged, sample, pairs, share=0.3)
    assert (both.query_encodings, both.transform) == (2, OWN_QUERY)
    old, new = both.sides(slice(3, 8))

    side = Side(sample.old.model, fitted.transform, tail(), pairs.old_reference, 0.3)
    scorer = Scorer(sample.new.model, pairs.new_reference, [side])
    rows = slice(3, 8)
    own = {sample.old.model: sample.old.queries.read(rows)}
    prepared = scorer.prepare(sample.new.queries.read(rows), own)
    stored = sample.old.gallery.read()
    for row in range(5):
        expected = prepared.refined[sample.old.model](row, stored)
        np.testing.assert_allclose(old[row], expected, atol=1e-4)
    np.testing.assert_allclose(new, merged.sides(rows)[1])


def test_prefill_scores_what_the_new_index_would_hold(sample) -> None:
    pairs = pairs_of(sample)
    up = fit_transform("ridge up", sample, pairs)
    gallery = merge_up(sample, pairs, up, strategy="prefill", calibration="none")
    old, _ = gallery.sides(slice(0, 4))
    written = up.transform(sample.old.gallery.read())
    np.testing.assert_allclose(old, sample.new.queries.read(slice(0, 4)) @ written.T, atol=1e-5)
    assert gallery.vectors_rewritten == len(sample.gallery)


@pytest.mark.parametrize("calibration", ["none", "z_score", "isotonic", "tail"])
def test_no_calibration_changes_the_order_within_the_old_side(sample, calibration) -> None:
    pairs = pairs_of(sample)
    plain, _ = two_encoders(sample, pairs, calibration="none").sides(slice(0, 3))
    scaled, _ = two_encoders(sample, pairs, calibration=calibration).sides(slice(0, 3))
    for one, other in zip(plain, scaled, strict=True):
        order = np.argsort(-one)
        assert np.all(np.diff(other[order]) <= 1e-6)


def test_rank_fusion_looks_at_the_rank_within_each_side_only() -> None:
    old = np.array([[0.9, 0.1, 0.5, 0.3]])
    new = np.array([[0.2, 0.8, 0.4, 0.7]])
    fused = fuse_ranks(old, new, np.array([False, True, False, True]))
    assert fused.tolist() == [[1 / 61, 1 / 61, 1 / 62, 1 / 62]]


def test_each_item_is_scored_on_its_side() -> None:
    old, new = np.array([[1.0, 2.0]]), np.array([[10.0, 20.0]])
    assert side_of_each(old, new, np.array([True, False])).tolist() == [[10.0, 2.0]]


def test_unknown_names_are_refused(sample) -> None:
    with pytest.raises(ConfigError, match="kernel bridge"):
        fit_transform("magic", sample, pairs_of(sample))
    with pytest.raises(ConfigError, match="isotonic"):
        two_encoders(sample, pairs_of(sample), calibration="magic")


def test_blocks_and_whole_matrices_score_alike(sample, monkeypatch) -> None:
    whole = cosines(sample.new.queries.read(), sample.new.gallery)
    monkeypatch.setattr("hotfill.rehearsal.sample.BLOCK", 7)
    np.testing.assert_allclose(cosines(sample.new.queries.read(), sample.new.gallery), whole, 1e-5)


def test_the_signs_of_two_models_equal_their_loops() -> None:
    rng = np.random.default_rng(0)
    old, new = (rng.normal(size=(40, 5)).astype(np.float32) for _ in range(2))
    old /= np.linalg.norm(old, axis=1, keepdims=True)
    new /= np.linalg.norm(new, axis=1, keepdims=True)

    def near(vectors):
        order = [np.argsort(-row)[:NEIGHBOURS] for row in vectors @ vectors.T - 3 * np.eye(40)]
        return [{item, *found.tolist()} for item, found in enumerate(order)]

    def coherence(near):
        shares = [
            len(near[item] & near[other]) / (NEIGHBOURS + 1)
            for item in range(40)
            for other in near[item] - {item}
        ]
        return np.mean(shares)

    signs = model_signs(old, new, seed=0)
    both = zip(near(old), near(new), strict=True)
    agreement = np.mean([(len(one & other) - 1) / NEIGHBOURS for one, other in both])
    assert signs.agreement == pytest.approx(agreement)
    assert signs.old_coherence == pytest.approx(coherence(near(old)))
    assert signs.new_coherence == pytest.approx(coherence(near(new)))
    assert model_signs(old, old, seed=0).same


def test_popularity_counts_the_old_systems_first_ten(sample, monkeypatch) -> None:
    monkeypatch.setattr("hotfill.rehearsal.sample.BLOCK", 64)
    scores = sample.old.fit.read() @ sample.old.gallery.read().T
    expected = np.zeros(len(sample.gallery))
    for row in scores:
        expected[np.argsort(-row)[:10]] += 1
    np.testing.assert_array_equal(old_popularity(sample), expected)


def test_a_gallery_is_mapped_once_however_many_queries_come(sample, monkeypatch) -> None:
    monkeypatch.setattr("hotfill.rehearsal.sample.BLOCK", 100)
    mapped = []

    def doubled(block):
        mapped.append(len(block))
        return 2 * block[:, :7]

    gallery = MappedGallery(sample.old.gallery, doubled)
    queries = sample.new.queries.read()[:, :7]
    expected = queries @ (2 * sample.old.gallery.read()[:, :7]).T
    for rows in (slice(0, 5), slice(5, 9)):
        np.testing.assert_allclose(gallery.scores(queries[rows]), expected[rows], rtol=1e-5)
    assert sum(mapped) == len(sample.gallery)
    assert len(mapped) > 1


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_interpolation_goes_along_the_circle(share) -> None:
    first, second = np.array([[1.0, 0.0]]), np.array([[0.0, 3.0]])
    angle = share * np.pi / 2
    expected = [[np.cos(angle), np.sin(angle)]]
    np.testing.assert_allclose(interpolated(first, second, share), expected, atol=1e-5)


def test_a_slerp_query_is_compared_with_stored_old_vectors(sample) -> None:
    pairs = pairs_of(sample)
    rotation = fit_transform("procrustes down", sample, pairs)
    old, _ = slerp(sample, pairs, rotation, calibration="none").sides(slice(0, 4))
    own = sample.old.queries.read(slice(0, 4))
    between = interpolated(own, rotation.transform(sample.new.queries.read(slice(0, 4))), 0.5)
    np.testing.assert_allclose(old, between @ sample.old.gallery.read().T, atol=1e-5)
