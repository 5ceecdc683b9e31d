"""How each phase is searched and written: the table at the top of the file, row by row."""

from __future__ import annotations

import pytest

from hotfill.types import ModelId
from hotfill.upgrade import view
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.view import Before, view_of
from tests.unit.upgrade.small import NEW, OLD

SCORER = object()


def rows():
    """Read the table: phase to (query, searched, write)."""
    for line in view.__doc__.splitlines():
        if line.startswith("| ") and not line.startswith("| phase"):
            phases, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            for phase in phases.split(", "):
                yield pytest.param(Phase(phase), *cells, id=phase)


def test_the_table_has_every_phase():
    assert sorted(row.id for row in rows()) == sorted(Phase)


@pytest.mark.parametrize(("phase", "query", "searched", "write"), list(rows()))
def test_a_view_is_what_the_table_says(phase, query, searched, write):
    asked = []

    def load():
        asked.append(1)
        return SCORER

    found = view_of(phase, OLD, NEW, load)
    assert found.phase is phase
    assert f"the {found.query_model.name} model" == query
    kept = f", {found.kept_model.name} vector kept" if found.kept_model else ""
    assert f"the {found.write_model.name} side{kept}" == write
    one_side = f"the {found.query_model.name} side"
    assert ("both sides" if found.scorer is SCORER else one_side) == searched
    assert bool(asked) == (searched == "both sides")  # what may not be there yet is not loaded


def test_in_a_chain_the_old_side_alone_means_the_sides_of_the_unfinished_upgrade():
    third = ModelId("third", "1", 7)
    before = Before(lambda: SCORER, kept_model=OLD)
    for phase in (Phase.PLANNED, Phase.ABORTED, Phase.ROLLED_BACK):
        found = view_of(phase, NEW, third, lambda: None, before=before)
        assert found == view.View(phase, NEW, NEW, OLD, SCORER)
    found = view_of(Phase.BACKFILLING, NEW, third, lambda: SCORER, before=before)
    assert (found.query_model, found.write_model, found.kept_model) == (third, third, NEW)
