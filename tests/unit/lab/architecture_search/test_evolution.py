"""The search itself: pure, seeded, resumable."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hotfill.errors import ConfigError, InputError
from hotfill.lab.architecture_search.evolution import (
    Candidate,
    Evolution,
    History,
    Measured,
    evolve,
    propose,
    reward,
)
from hotfill.lab.architecture_search.space import (
    Architecture,
    Block,
    Budget,
    SearchSpace,
    Stage,
    flops,
    small_space,
)

SPACE = small_space(side=28, channels=1, dimension=16)
BUDGET = Budget(SPACE, 220_000)
SETTINGS = Evolution(generations=5, population=12, crossover=8, parents=4, seed=3)


def like_xception(architecture: Architecture) -> Measured:
    """A made-up landscape: the more Xception blocks the better, narrow ones best."""
    score = sum(b.operation == "xception" for b in architecture.blocks) / 6
    narrow = sum(2 - b.width for b in architecture.blocks) / 12
    return Measured(0.5 * score, 0.4 * score + 0.2 * narrow)


def test_the_rewards_are_the_papers() -> None:
    measured = Measured(0.5, 0.6)
    assert [reward(name, measured) for name in ("r1", "r2", "r3")] == [0.5, 0.6, 0.3]
    assert measured.keeps_the_rule
    assert not Measured(0.5, 0.5).keeps_the_rule


@pytest.mark.parametrize(
    ("name", "measured"),
    [("r4", Measured(0.1, 0.1)), ("r1", Measured(1.2, 0.1)), ("r3", Measured(0.1, float("nan")))],
)
def test_rewards_that_make_no_sense_are_refused(name, measured) -> None:
    with pytest.raises(ConfigError, match="reward"):
        reward(name, measured)


def test_a_least_keeps_children_near_the_budget_too() -> None:
    """The landscape pulls to narrow blocks, that is away from the budget."""
    history = evolve(Budget(SPACE, 220_000, 180_000), SETTINGS, like_xception)
    assert len(history.candidates) == SETTINGS.candidates
    assert all(180_000 <= each.flops <= 220_000 for each in history.candidates)


def test_every_candidate_keeps_the_budget_and_none_comes_twice() -> None:
    history = evolve(BUDGET, SETTINGS, like_xception)
    assert len(history.candidates) == SETTINGS.candidates == 44
    assert len({each.architecture for each in history.candidates}) == 44
    for candidate in history.candidates:
        assert candidate.flops == flops(SPACE, candidate.architecture) <= 220_000
        assert candidate.measured == like_xception(candidate.architecture)
        assert candidate.reward == reward("r3", candidate.measured)


def test_evolution_climbs_where_random_search_stays() -> None:
    evolved, drawn = [], []
    for seed in range(5):
        settings = replace(SETTINGS, seed=seed, generations=10)
        evolved.append(evolve(BUDGET, settings, like_xception).best()[0].reward)
        random = settings.random_search()
        assert random.candidates == settings.candidates
        drawn.append(evolve(BUDGET, random, like_xception).best()[0].reward)
    assert sum(evolved) > 1.2 * sum(drawn)


def test_the_same_seed_gives_the_same_search_and_another_seed_another() -> None:
    first = evolve(BUDGET, SETTINGS, like_xception)
    assert evolve(BUDGET, SETTINGS, like_xception) == first
    assert evolve(BUDGET, replace(SETTINGS, seed=4), like_xception) != first


@pytest.mark.parametrize("stop_after", [1, 11, 12, 13, 30])
def test_a_search_that_was_stopped_goes_on_to_the_same_end(tmp_path, stop_after) -> None:
    path = tmp_path / "history.json"
    calls = 0

    def dying(architecture: Architecture) -> Measured:
        nonlocal calls
        if calls == stop_after:
            raise KeyboardInterrupt
        calls += 1
        return like_xception(architecture)

    with pytest.raises(KeyboardInterrupt):
        evolve(BUDGET, SETTINGS, dying, path=path)
    assert len(History.read(path).candidates) == stop_after
    measured = []
    history = evolve(BUDGET, SETTINGS, like_xception, path=path, on_candidate=measured.append)
    assert history == evolve(BUDGET, SETTINGS, like_xception)
    assert len(measured) == 44 - stop_after
    assert History.read(path) == history


def test_the_history_of_another_search_is_refused(tmp_path) -> None:
    path = tmp_path / "history.json"
    one = Evolution(generations=1, population=2)
    evolve(BUDGET, one, like_xception, path=path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"another search.*reward 'r3' there, 'r1' now"):
        evolve(BUDGET, one, like_xception, path=path, reward_name="r1")
    other = Budget(small_space(side=32, channels=1, dimension=16), 10**9)
    with pytest.raises(InputError, match="the space"):
        evolve(other, one, like_xception, path=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["", "{}", '{"space": 1, "identity": {}, "candidates": []}'])
def test_what_is_no_history_is_refused(tmp_path, content) -> None:
    path = tmp_path / "history.json"
    path.write_text(content)
    with pytest.raises(InputError, match="expected the history of a search"):
        History.read(path)


def test_a_space_that_is_used_up_ends_the_search() -> None:
    tiny = SearchSpace("tiny", 8, 1, 2, 1, (Stage(1, 4),), 4, 3, widths=(0.5, 1.0))
    history = evolve(Budget(tiny, 10**9), SETTINGS, lambda _: Measured(0.5, 0.5))
    assert 6 <= len(history.candidates) <= 8


def test_without_mutation_or_strangers_children_are_made_of_the_best() -> None:
    one, other = (Architecture((Block(name, 0.4),) * 6) for name in ("shuffle3", "shuffle5"))
    third = Architecture((Block("xception", 0.4),) * 6)
    before = [
        Candidate(each, 0, 1, Measured(value, value), value)
        for each, value in ((one, 0.9), (other, 0.8), (third, 0.1))
    ]
    settings = replace(SETTINGS, parents=2, mutation=0.0, random_parent=0.0)
    children = propose(before, 1, Budget(SPACE, 10**9), settings)
    assert len(children) == 8
    assert {b.operation for child in children for b in child.blocks} == {"shuffle3", "shuffle5"}


def test_the_front_holds_what_nothing_cheaper_beats() -> None:
    def candidate(cost: int, quality: float) -> Candidate:
        block = Block("shuffle3", float(cost))
        return Candidate(Architecture((block,)), 0, cost, Measured(0.1, quality), quality / 10)

    points = [(5, 0.5), (3, 0.2), (3, 0.3), (4, 0.3), (9, 0.9), (8, 0.5), (9, 0.8)]
    history = History(SPACE, {}, tuple(candidate(*point) for point in points))
    found = [(each.flops, each.measured.query_to_gallery) for each in history.front()]
    assert found == [(3, 0.3), (5, 0.5), (9, 0.9)]
    assert history.best(2)[0].flops == 9


@pytest.mark.parametrize("change", [{"population": 0}, {"mutation": 1.5}, {"parents": 0}])
def test_settings_that_make_no_sense_are_refused(change) -> None:
    with pytest.raises(ConfigError, match="evolution: expected"):
        replace(SETTINGS, **change)
