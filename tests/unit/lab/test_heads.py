"""Heads over frozen features, and the benchmark that compares recipes on them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.compatible_heads.data import Features, Task
from benchmarks.compatible_heads.experiment import OLD_HEAD_ONLY, SEEN, SYNTHESISED
from benchmarks.compatible_heads.run import aims, differences, run_plan
from hotfill.errors import ConfigError, ShapeError
from hotfill.lab.heads import FeaturePreparation, HeadPlan, OldSpace, train_head
from hotfill.lab.training import TrainingSettings

CLASSES = 6
SMALL = HeadPlan(dimension=4, hidden=8, settings=TrainingSettings(epochs=3, batch=20))
LONGER = replace(SMALL, settings=TrainingSettings(epochs=30, batch=20))


def features(items: int, dimension: int, seed: int) -> np.ndarray:
    """Clouds around one centre a class, `items` of each."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(dimension).normal(size=(CLASSES, 1, dimension))
    noisy = centres + 0.3 * rng.normal(size=(CLASSES, items, dimension))
    return noisy.reshape(-1, dimension).astype(np.float32)


def labels(items: int) -> np.ndarray:
    return np.repeat(np.arange(CLASSES), items)


def test_features_are_of_unit_length_before_they_are_centred_and_cut() -> None:
    some = features(10, 12, 0)
    prepare = FeaturePreparation(some, 5)
    found = prepare(some)
    assert found.shape == (60, 5)
    assert found.std() == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(prepare(7 * some), found, atol=1e-5)
    assert FeaturePreparation(some)(some).shape == (60, 12)


def test_a_head_learns_and_its_embeddings_have_unit_length() -> None:
    prepare = FeaturePreparation(features(20, 12, 0))
    head = train_head("independent", prepare(features(20, 12, 0)), labels(20), LONGER, seed=0)
    found = head(prepare(features(5, 12, 1)))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    anchors = head.classifier.vectors.detach().numpy()
    anchors /= np.linalg.norm(anchors, axis=1, keepdims=True)
    assert ((found @ anchors.T).argmax(axis=1) == labels(5)).mean() > 0.8


def test_an_old_head_says_which_of_its_classes_answers_for_which_new_one() -> None:
    prepared, named = FeaturePreparation(features(20, 12, 0))(features(20, 12, 0)), labels(20)
    seen = np.isin(named, [1, 4])
    old = train_head("independent", prepared[seen], named[seen], SMALL, seed=0)
    new = named > 0
    space = old.old_space(prepared[new], named[new], prepared[seen], named[seen])
    assert space.head.rows.tolist() == [0, -1, -1, 1, -1]  # of the classes 1 to 5
    assert space.training.rows.tolist() == [0, -1, -1, 1, -1]
    means = [old(prepared[named == label]).mean(axis=0) for label in (1, 4)]
    np.testing.assert_allclose(space.training.vectors.numpy(), means, rtol=1e-4, atol=1e-5)
    with pytest.raises(ShapeError, match="an old vector for each of 120 items"):
        train_head("bct", prepared, named, SMALL, seed=0, old=space)


def test_bct_of_the_old_head_only_says_when_there_is_nothing_to_learn_from() -> None:
    some, named = features(5, 8, 0), labels(5)
    space = OldSpace(some[:, :4])
    options = {"old_head_only": True}
    with pytest.raises(ConfigError, match="got no old head; leave the option out"):
        train_head("bct", some, named, SMALL, seed=0, old=space, options=options)


def test_the_benchmark_runs_what_is_missing_and_nothing_twice(tmp_path) -> None:
    roles = {"old": 8, "new": 10, "larger": 12}
    models = {
        role: Features(features(10, wide, 0), features(3, wide, 1), features(5, wide, 2))
        for role, wide in roles.items()
    }
    task = Task(models, labels(10), labels(3), labels(5))
    recipes = {title: SEEN.recipes[title] for title in ("independent", SYNTHESISED, "bict", "hoc")}
    plan = replace(
        SEEN, recipes=recipes, splits=("open-class", "extended-backbone"), head=SMALL, old_epochs=2
    )
    path = tmp_path / "results.json"
    rows = run_plan(plan, task, [0], path)
    assert [(row["split"], row["recipe"]) for row in rows] == [
        (kind, title) for kind in plan.splits for title in recipes
    ]
    assert [row["gallery_upgraded"] for row in rows] == [False, False, True, False] * 2
    more = replace(plan, recipes=recipes | {OLD_HEAD_ONLY: SEEN.recipes[OLD_HEAD_ONLY]})
    again = run_plan(more, task, [0], path)
    assert again[:-1] == rows
    # In open-class no new class is in the old head: there is nothing to run.
    assert (again[-1]["split"], again[-1]["recipe"]) == ("extended-backbone", OLD_HEAD_ONLY)
    assert json.loads(path.read_text())["rows"] == again
    with pytest.raises(SystemExit, match="another plan"):
        run_plan(replace(more, items=3), task, [0], path)


def test_classes_that_are_searched_unseen_are_trained_on_by_nobody() -> None:
    models = {"old": Features(features(4, 8, 0), features(3, 8, 1), features(5, 8, 2))}
    task = Task(models, labels(4), labels(3), labels(5)).unseen(0, share=1 / 3)
    assert len(np.unique(task.train_labels)) == 4
    assert set(task.query_labels) == set(task.gallery_labels)
    assert not set(task.query_labels) & set(task.train_labels)
    assert [len(part) for part in (task.models["old"].train, task.models["old"].gallery)] == [
        16,
        10,
    ]


def test_differences_are_paired_by_seed_and_leave_out_what_is_undefined() -> None:
    def row(seed, recipe, p_1):
        return {"split": "open-data", "seed": seed, "recipe": recipe, "p_1": p_1}

    rows = [row(0, "advbct", 55.0), row(1, "advbct", 50.0), row(2, "advbct", None)]
    rows += [row(1, OLD_HEAD_ONLY, 52.0), row(0, OLD_HEAD_ONLY, 50.0), row(2, OLD_HEAD_ONLY, 9.0)]
    assert differences(rows, "advbct", OLD_HEAD_ONLY, "open-data") == [5.0, -2.0]
    found = aims("seen", rows)
    assert found == {
        "seen: P_1 of advbct - bct, old head only, open-data": {
            "value": 1.5,
            "aim": 0.0,
            "met": True,
        }
    }
