"""Every pair of phase and step, against the drawing at the top of the file."""

from __future__ import annotations

import itertools

import pytest

from hotfill.errors import PhaseError
from hotfill.upgrade import phases
from hotfill.upgrade.phases import ENDED, WAY_BACK_OPEN, Phase, Step, advance, next_steps

P, S = Phase, Step
FORWARD = [
    (P.PLANNED, S.START, P.PREPARED),
    (P.PREPARED, S.BEGIN_BACKFILL, P.BACKFILLING),
    (P.BACKFILLING, S.FINISH_BACKFILL, P.BACKFILLED),
    (P.BACKFILLED, S.CUTOVER, P.CUT_OVER),
    (P.CUT_OVER, S.COMPLETE, P.COMPLETED),
]
BACK = [
    (P.PREPARED, S.ABORT, P.ABORTING),
    (P.BACKFILLING, S.ABORT, P.ABORTING),
    (P.BACKFILLED, S.ABORT, P.ABORTING),
    (P.ABORTING, S.FINISH_REVERT, P.ABORTED),
    (P.CUT_OVER, S.ROLLBACK, P.ROLLING_BACK),
    (P.ROLLING_BACK, S.FINISH_REVERT, P.ROLLED_BACK),
]
MORE = [  # what the drawing leaves out
    (P.PLANNED, S.FIND_ENDED, P.COMPLETED),
    (P.ABORTING, S.FIND_ENDED, P.COMPLETED),
    (P.ROLLING_BACK, S.FIND_ENDED, P.COMPLETED),
    (P.BACKFILLED, S.FIND_MORE, P.BACKFILLING),
    (P.PREPARED, S.SUPERSEDE, P.SUPERSEDED),
    (P.BACKFILLING, S.SUPERSEDE, P.SUPERSEDED),
    (P.BACKFILLED, S.SUPERSEDE, P.SUPERSEDED),
    (P.SUPERSEDED, S.START, P.PREPARED),
]
MOVES = {(here, step): there for here, step, there in (*FORWARD, *BACK, *MORE)}
# A command given again where it has led already, or where it is still being carried out.
AGAIN = {
    (P.PREPARED, S.START),
    (P.BACKFILLING, S.START),
    (P.BACKFILLED, S.START),
    (P.ABORTING, S.ABORT),
    (P.ABORTED, S.ABORT),
    (P.ROLLING_BACK, S.ROLLBACK),
    (P.ROLLED_BACK, S.ROLLBACK),
    (P.SUPERSEDED, S.SUPERSEDE),
    (P.CUT_OVER, S.CUTOVER),
    (P.COMPLETED, S.COMPLETE),
    (P.BACKFILLED, S.VERIFY),
    (P.CUT_OVER, S.VERIFY),
}


def arrows(line: str) -> list[tuple[str, str]]:
    """Read "a ─step→ b → c" as pairs of neighbours."""
    names = [word for word in line.replace("─", " ").replace("→", " ").split() if word in set(P)]
    return list(itertools.pairwise(names))


def test_the_table_here_is_the_drawing_in_the_file():
    drawing = phases.__doc__.splitlines()[2:7]
    assert arrows(drawing[0]) == [(here, there) for here, _, there in FORWARD]
    words = drawing[4].split()
    assert words == ["aborting", "→", "aborted", "rolling_back", "→", "rolled_back"]
    # The arms of the drawing hang under the phases that they leave.
    for phase in (P.PREPARED, P.BACKFILLING, P.BACKFILLED, P.CUT_OVER):
        assert drawing[1][drawing[0].index(f" {phase}") + 1 :].lstrip()[0] == "│"
    assert "abort" in drawing[2]
    assert "rollback" in drawing[2]


@pytest.mark.parametrize(("phase", "step"), list(itertools.product(Phase, Step)))
def test_a_step_leads_where_the_drawing_says_or_is_refused(phase, step):
    if (phase, step) in MOVES:
        assert advance(phase, step) is MOVES[phase, step]
    elif (phase, step) in AGAIN:
        assert advance(phase, step) is phase
    else:
        with pytest.raises(PhaseError) as caught:
            advance(phase, step)
        assert (caught.value.step, caught.value.phase) == (step, phase)
        assert caught.value.allowed == next_steps(phase)


@pytest.mark.parametrize(
    ("phase", "steps"),
    [
        (P.PLANNED, ("start",)),
        (P.PREPARED, ("start", "pause", "abort")),
        (P.BACKFILLING, ("start", "pause", "abort")),
        (P.BACKFILLED, ("verify", "cutover", "abort")),
        (P.CUT_OVER, ("rollback", "complete")),
        (P.ABORTING, ("abort",)),
        (P.ROLLING_BACK, ("rollback",)),
        (P.SUPERSEDED, ("start",)),
        (P.COMPLETED, ()),
        (P.ABORTED, ()),
        (P.ROLLED_BACK, ()),
    ],
)
def test_an_operator_is_told_what_may_come_next(phase, steps):
    assert next_steps(phase) == steps


@pytest.mark.parametrize("phase", list(Phase))
def test_what_an_operator_is_told_is_possible(phase):
    for step in next_steps(phase):
        if step != "pause":  # a hold, not a step
            advance(phase, Step(step))


def test_the_end_is_where_nothing_leads_on():
    assert {phase for phase in Phase if all(here is not phase for here, _ in MOVES)} == ENDED


def test_the_way_back_is_open_exactly_where_a_step_goes_back():
    leaving = {here for here, step in MOVES if step in (S.ABORT, S.ROLLBACK)}
    # One that was superseded can go on when the other was aborted, and back then.
    assert leaving | {P.SUPERSEDED} == WAY_BACK_OPEN


def test_every_phase_can_be_reached_and_every_way_ends():
    reached = {P.PLANNED}
    for _ in Phase:
        reached |= {there for (here, _), there in MOVES.items() if here in reached}
    assert reached == set(Phase)
    ending = set(ENDED)
    for _ in Phase:
        ending |= {here for (here, _), there in MOVES.items() if there in ending}
    assert ending == set(Phase)
