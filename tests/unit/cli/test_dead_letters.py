"""`hotfill dead-letters`, over a project in which one item has no content."""

from __future__ import annotations

import pytest

from tests.unit.cli.project import write_config

LOST = "item-00007"


@pytest.fixture
def failed(shell):
    """A project, backfilled but for one item."""
    write_config(shell.config.parent, source={"options": {"items": 120, "without": LOST}})
    shell("start")
    return shell


def test_they_are_listed_with_their_errors_and_the_next_commands(failed):
    said = failed("dead-letters").stdout
    assert f"{LOST}  embed, 1 tries: the source has no content for this item" in said
    assert "next: dead-letters --retry | --accept | --delete" in said
    (letter,) = failed.json("dead-letters")["dead_letters"]
    assert (letter["item_id"], letter["stage"]) == (LOST, "embed")


def test_accepting_lets_the_upgrade_go_on_and_complete_asks(failed):
    failed("verify", code=9)
    found = failed.json("dead-letters", "--accept", "--by", "ada")
    assert found["accepted"] == 1
    assert [each["accepted_by"] for each in found["accepted_letters"]] == ["ada"]
    failed("verify")
    failed("cutover")
    assert "--delete-accepted" in failed("complete", "--yes", code=4).stderr
    failed("complete", "--yes", "--delete-accepted")
    assert "no item failed for good" in failed("dead-letters").stdout


def test_deleting_takes_them_out_of_the_gallery(failed):
    failed("dead-letters", "--delete", code=2)  # nobody there to answer
    assert failed.json("dead-letters", "--delete", "--yes")["deleted"] == 1
    failed("verify")


def test_retried_ones_are_tried_by_the_next_start(failed):
    write_config(failed.config.parent)
    assert failed.json("dead-letters", "--retry", "--item", LOST)["retried"] == 1
    assert failed.json("start")["dead_letters"] == 0


def test_what_cannot_be_done_is_said(failed):
    assert "expected one of" in failed("dead-letters", "--retry", "--accept", code=2).stderr
    said = failed("dead-letters", "--accept", "--item", "item-00001", code=2).stderr
    assert "expected ids of dead letters, got 'item-00001'" in said
