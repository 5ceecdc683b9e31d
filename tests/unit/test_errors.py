"""The error tree is as drawn, and what programs want to know stands in attributes."""

from __future__ import annotations

import importlib
import inspect
import pickle
import re

import pytest

from hotfill import errors
from hotfill.extras import need
from hotfill.types import ModelId

CLASSES = {
    name: each
    for name, each in vars(errors).items()
    if inspect.isclass(each) and issubclass(each, Exception)
}


def drawn() -> dict[str, str | None]:
    """Read the drawing at the top of the file: each class with the one it hangs on.

    What is defined elsewhere, as the drawing says, is looked up there.
    """
    parents: dict[str, str | None] = {}
    trail: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines()[2:]:
        if not line:
            break
        name = line.lstrip("│├└─ ").split()[0]
        depth = line.index(name)
        while trail and trail[-1][0] >= depth:
            trail.pop()
        parents[name] = trail[-1][1] if trail else None
        if elsewhere := re.search(r"\(defined in `(.+)`\)", line):
            CLASSES[name] = getattr(importlib.import_module(elsewhere[1]), name)
        trail.append((depth, name))
    return parents


def test_the_tree_is_the_one_drawn_at_the_top_of_the_file():
    tree = drawn()
    real = {
        name: next((base.__name__ for base in each.__bases__ if base.__name__ in CLASSES), None)
        for name, each in CLASSES.items()
    }
    assert tree == real


def test_every_error_is_caught_as_a_hotfill_error():
    assert all(issubclass(each, errors.HotfillError) for each in CLASSES.values())


def test_bad_input_is_a_value_error_and_a_missing_extra_an_import_error():
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.MissingExtraError, ImportError)


def test_many_duplicates_are_counted_and_the_first_few_named():
    names = [f"item-{i}" for i in range(8)]
    error = errors.DuplicateItemError(names)
    assert error.item_ids == tuple(names)
    assert "'item-4' and 3 more" in str(error)
    assert "item-5" not in str(error)


def test_a_model_mismatch_says_which_fields_differ():
    old, new = ModelId("m", "1", 4), ModelId("m", "2", 8)
    error = errors.ModelMismatchError("the query", old, new)
    assert (error.expected, error.received) == (old, new)
    assert "revision '1' != '2', dimension 4 != 8" in str(error)


def test_a_missing_package_names_the_extra_and_how_to_install_it():
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'hotfill\[moon\]'") as caught:
        need("no_such_package.inside", "moon")
    assert caught.value.extra == "moon"


def test_a_package_that_is_there_but_broken_inside_says_what_it_lacks(tmp_path, monkeypatch):
    package = tmp_path / "broken_inside"
    package.mkdir()
    (package / "__init__.py").write_text("import something_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_that_is_not_there") as caught:
        need("broken_inside", "moon")
    assert not isinstance(caught.value, errors.MissingExtraError)


def test_an_embed_error_may_be_tried_again_unless_it_says_otherwise():
    error = errors.EmbedError("no answer", rows=[2], item_ids=["c"])
    assert (error.rows, error.item_ids, error.retryable) == ((2,), ("c",), True)
    assert not errors.StoreError("refused").retryable


def test_a_step_out_of_turn_names_the_steps_that_are_possible():
    error = errors.PhaseError("complete", "planned", ["start"])
    assert (error.step, error.phase, error.allowed) == ("complete", "planned", ("start",))
    assert str(error) == "cannot complete while planned; possible now: start"
    assert "the upgrade has ended" in str(errors.PhaseError("start", "completed", []))


def test_holds_and_blockers_are_listed_one_by_one():
    held = errors.HeldError("cut over", ["paused (anna)", "throttled x=2 > 1"])
    assert held.holds == ("paused (anna)", "throttled x=2 > 1")
    assert str(held) == "cannot cut over while held: paused (anna); throttled x=2 > 1"
    assert errors.PlanError(["a", "b"]).blockers == ("a", "b")


@pytest.mark.parametrize(
    "error",
    [
        errors.ShapeError("x"),
        errors.VectorError("x", ["a"]),
        errors.EmbedError("x", rows=[1], retryable=False),
        errors.StoreFullError("x", retryable=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel_between_processes_whole(error):
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))
