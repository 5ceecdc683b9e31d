"""What is measured on paper is what the scorer serves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hotfill.errors import ConfigError
from hotfill.ranking import OldSide, Scorer, compare, fit_one_space, tail
from hotfill.ranking.one_space import IMPUTED_BY, old_query_weight
from hotfill.rehearsal.maps import fit_transform, pairs_of
from hotfill.rehearsal.mixed_gallery import side_of_each
from hotfill.rehearsal.orders import old_popularity
from hotfill.rehearsal.recommendation import NEIGHBOURS, model_signs
from hotfill.rehearsal.sample import EmbeddedBy, cosines, draw_sample
from hotfill.rehearsal.strategies import (
    QUERIES,
    ImputedGallery,
    MappedGallery,
    imputed,
    merge_down,
    merge_up,
    naive_merge,
    old_side_alone,
    paired,
    with_old_queries,
)


@pytest.fixture(scope="module")
def sample():
    data = load_digits()
    return draw_sample(
        EmbeddedBy(data.data[:900, :40]), EmbeddedBy(data.data[:900]), fit=2000, seed=0
    )


@pytest.mark.parametrize("name", ["ridge", "bridge", "kernel_bridge"])
def test_a_merge_scores_as_the_scorer_does(sample, name) -> None:
    pairs = pairs_of(sample)
    fitted = fit_transform(name, "down", sample, pairs)
    old, new = merge_down(sample, pairs, fitted, calibration="tail").sides(slice(3, 8))

    side = OldSide(sample.old.model, fitted.transform, tail(), pairs.old_reference)
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


def test_a_naive_merge_scores_with_the_queries_of_each_model(sample) -> None:
    old, _ = naive_merge(sample).sides(slice(0, 4))
    expected = sample.old.queries.read(slice(0, 4)) @ sample.old.gallery.read().T
    np.testing.assert_allclose(old, expected, atol=1e-6)


def test_queries_of_both_models_score_as_the_scorer_does(sample) -> None:
    pairs = pairs_of(sample)
    fitted = fit_transform("kernel_bridge", "down", sample, pairs)
    merged = merge_down(sample, pairs, fitted, calibration="tail")
    both = with_old_queries(merged, sample, pairs, weight=0.3)
    assert (both.queries, both.transform) == ("both", "kernel_bridge")
    old, new = both.sides(slice(3, 8))

    side = OldSide(sample.old.model, fitted.transform, tail(), pairs.old_reference, 0.3)
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
    up = fit_transform("bridge", "up", sample, pairs)
    gallery = merge_up(sample, pairs, up, strategy="prefill", calibration="none")
    old, _ = gallery.sides(slice(0, 4))
    written = up.transform(sample.old.gallery.read())
    np.testing.assert_allclose(old, sample.new.queries.read(slice(0, 4)) @ written.T, atol=1e-5)
    assert gallery.vectors_rewritten == len(sample.gallery)


@pytest.mark.parametrize("name", ["bridge", "kernel_bridge"])
def test_prefill_is_measured_as_start_places_and_ranks_it(sample, name) -> None:
    pairs = pairs_of(sample)
    raw, calibrated = imputed(sample, ImputedGallery(sample, pairs, name))
    assert [each.calibration for each in (raw, calibrated)] == ["none", "tail"]
    one = fit_one_space(
        np.vstack([pairs.old_reference, pairs.old_fit]),
        np.vstack([pairs.new_reference, pairs.new_fit]),
        sample.old.model,
        sample.new.model,
        map=IMPUTED_BY[name],
    )
    rows = slice(0, 4)
    queries = sample.new.queries.read(rows)
    plain = queries @ one.impute(sample.old.gallery.read()).T
    np.testing.assert_allclose(raw.sides(rows)[0], plain, atol=1e-5)
    background = one.scale.prepare(queries)
    for row, scores in enumerate(calibrated.sides(rows)[0]):
        expected = background.scores(row, plain[row], [one.origin] * len(plain[row]))
        np.testing.assert_allclose(scores, expected, atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_an_index_is_judged_by_both_queries_as_it_is_served(sample, share) -> None:
    pairs = pairs_of(sample)
    (both,) = imputed(sample, ImputedGallery(sample, pairs, "bridge"), ["both"])
    assert (both.queries, both.calibration) == ("both", "tail")
    rows, count = slice(0, 3), len(sample.gallery)
    moved = np.arange(count) < share * count
    found = both.merge(*both.sides(rows), moved)

    one = fit_one_space(*paired(pairs), sample.old.model, sample.new.model, map="ridge")
    queries, asked = sample.new.queries.read(rows), sample.old.queries.read(rows)
    raw = (
        queries
        @ np.where(
            moved[:, None], sample.new.gallery.read(), one.impute(sample.old.gallery.read())
        ).T
    )
    origins = np.where(moved, one.index_model.fingerprint, one.origin).tolist()
    background = one.scale.prepare(queries)
    blending = one.old_query_scores(
        queries, asked, moved=float(moved.mean()), weight=old_query_weight(one.rho)
    )
    for row in range(3):
        expected = blending.blend(
            row,
            background.scores(row, raw[row], origins),
            asked[row] @ sample.old.gallery.read().T,
            moved.tolist(),
        )
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_an_index_is_judged_by_both_queries_where_rho_may_not_be_enough(sample) -> None:
    pairs = pairs_of(sample)
    assert [
        each.queries for each in imputed(sample, ImputedGallery(sample, pairs, "bridge"), QUERIES)
    ] == ["new", "new"]
    rng = np.random.default_rng(0)
    apart = draw_sample(
        EmbeddedBy(rng.normal(size=(600, 8))),
        EmbeddedBy(rng.normal(size=(600, 8))),
        fit=200,
        seed=0,
    )
    asked = [
        each.queries
        for each in imputed(apart, ImputedGallery(apart, pairs_of(apart), "bridge"), QUERIES)
    ]
    assert asked == ["new", "new", "both"]


@pytest.mark.parametrize("calibration", ["none", "z_score", "isotonic", "tail"])
def test_no_calibration_changes_the_order_within_the_old_side(sample, calibration) -> None:
    pairs = pairs_of(sample)
    plain, _ = naive_merge(sample).sides(slice(0, 3))
    scaled = old_side_alone(sample, pairs, calibration)(slice(0, 3))
    for one, other in zip(plain, scaled, strict=True):
        order = np.argsort(-one)
        assert np.all(np.diff(other[order]) <= 1e-6)


def test_each_item_is_scored_on_its_side() -> None:
    old, new = np.array([[1.0, 2.0]]), np.array([[10.0, 20.0]])
    assert side_of_each(old, new, np.array([True, False])).tolist() == [[10.0, 2.0]]


def test_unknown_names_are_refused(sample) -> None:
    with pytest.raises(ConfigError, match="kernel_bridge"):
        fit_transform("magic", "down", sample, pairs_of(sample))
    with pytest.raises(ConfigError, match="goes up: kernel_bridge, bridge, low_rank, procrustes"):
        fit_transform("plain_bridge", "up", sample, pairs_of(sample))
    with pytest.raises(ConfigError, match="isotonic"):
        old_side_alone(sample, pairs_of(sample), "magic")


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
