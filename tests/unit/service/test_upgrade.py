"""The operator's routes: an upgrade by HTTP, in a thread of the service."""

from __future__ import annotations

import time

import pytest

from tests.unit.cli.project import ITEMS, write_config
from tests.unit.service.conftest import serving


def wait_for(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


@pytest.fixture
def slow(project):
    """Batches of sixteen that take a fifth of a second each."""
    write_config(project.parent, seconds_per_call=0.2)
    with serving(project) as made:
        yield made


def test_an_upgrade_from_its_start_to_its_end(client):
    assert client.upgrade()["next_steps"] == ["start"]
    assert client.ok("POST", "/upgrade/start", 202)["run"]["step"] == "start"
    client.wait()
    status = client.upgrade()
    assert (status["phase"], status["moved"], status["share"]) == ("backfilled", ITEMS, 1.0)
    assert not status["run"]["running"]
    assert client.do("verify").result["passed"]
    assert client.ok("POST", "/upgrade/cutover")["phase"] == "cut_over"
    question = client.ok("POST", "/upgrade/complete", 200)
    assert client.upgrade()["phase"] == "cut_over"
    client.do("complete", confirmation_token=question["confirmation_token"])
    assert client.upgrade()["phase"] == "completed"


def test_what_stayed_imputed_is_embedded_later(project):
    budget = {"backfill": "budget", "budget_items": 30}
    write_config(project.parent, upgrade=budget)
    with serving(project) as client:
        problem = client.ok("POST", "/upgrade/start", 409, json={"more": True})
        assert (problem["kind"], problem["allowed"]) == ("PhaseError", ["start"])
        client.do("start")
        client.do("verify")
        client.ok("POST", "/upgrade/cutover")
        question = client.ok("POST", "/upgrade/complete", 200)
        client.do("complete", confirmation_token=question["confirmation_token"])
        assert client.upgrade()["visible"] == 30
        assert 'id="do-start-more"' in client.get("/").text
        client.do("start", more=True)
        status = client.upgrade()
        assert (status["phase"], status["visible"]) == ("completed", 60)
        assert status["on_new_side"] == ITEMS
        client.ok("POST", "/upgrade/start", 409)
    write_config(project.parent, upgrade={"backfill": "none"})
    with serving(project) as client:
        assert 'id="do-start-more"' not in client.get("/").text
        client.ok("POST", "/upgrade/start", 202, json={"more": True})
        client.app.state.service.steps.wait()
        assert 'backfill = "none" embeds nothing' in client.upgrade()["run"]["error"]["detail"]


def test_a_rollback_leads_back_to_the_old_model(client):
    client.do("start")
    client.do("verify")
    client.ok("POST", "/upgrade/cutover")
    client.do("rollback")
    assert client.upgrade()["phase"] == "rolled_back"
    assert client.search(content=[1.0] * 8, explain=True)["hits"][0]["why"]["side"] == "old"


def test_a_pause_holds_the_work_and_a_resume_lets_it_go_on(slow):
    slow.ok("POST", "/upgrade/start", 202)
    wait_for(lambda: slow.upgrade()["moved"] > 0)
    held = slow.ok("POST", "/upgrade/pause")
    assert [(hold["kind"], hold["about"]) for hold in held["holds"]] == [("paused", "local")]
    assert held["run"]["running"]
    assert "resume" in held["next_steps"]
    assert slow.ok("POST", "/upgrade/resume")["holds"] == []
    slow.wait()
    assert slow.upgrade()["phase"] == "backfilled"


def test_an_abort_makes_a_running_start_let_go(slow):
    slow.ok("POST", "/upgrade/start", 202)
    wait_for(lambda: slow.upgrade()["moved"] > 0)
    slow.do("abort")
    status = slow.upgrade()
    assert (status["phase"], status["run"]["step"]) == ("aborted", "abort")
    assert slow.search(content=[1.0] * 8)["phase"] == "aborted"


def test_one_step_at_a_time(slow):
    slow.ok("POST", "/upgrade/start", 202)
    problem = slow.ok("POST", "/upgrade/start", 409)
    assert problem["kind"] == "UpgradeBusyError"
    assert problem["detail"].startswith("start, given by local, is running")
    slow.wait()


def test_a_service_that_ends_lets_the_work_finish_its_batches_and_the_next_goes_on(project):
    write_config(project.parent, seconds_per_call=0.2)
    with serving(project) as first:
        first.ok("POST", "/upgrade/start", 202)
        wait_for(lambda: first.upgrade()["moved"] > 0)
    with serving(project) as second:
        before = second.upgrade()
        assert before["phase"] == "backfilling"
        assert 0 < before["moved"] < ITEMS
        assert not before["running"]
        second.do("start")
        assert second.upgrade()["phase"] == "backfilled"


@pytest.mark.parametrize("step", ["verify", "cutover", "rollback", "complete", "abort"])
def test_a_step_that_the_phase_does_not_allow_is_refused(untouched, step):
    problem = untouched.ok("POST", f"/upgrade/{step}", 409)
    assert problem["kind"] == "PhaseError"
    assert problem["allowed"] == ["start"]


def test_a_cutover_without_verification_is_refused_with_its_holds(client):
    client.do("start")
    problem = client.ok("POST", "/upgrade/cutover", 409)
    assert problem["kind"] == "HeldError"
    assert problem["holds"] == ["stale_verification (never verified: run verify)"]
    assert client.upgrade()["phase"] == "backfilled"


def test_a_failed_step_says_why_in_the_status(project):
    write_config(project.parent, items=ITEMS, source={"options": {"items": 5}})
    with serving(project, max_k=5) as client:
        client.ok("POST", "/upgrade/start", 202)
        client.app.state.service.steps.wait()
        run = client.upgrade()["run"]
        assert run["error"]["kind"] in ("PlanError", "InputError", "SourceError", "ShapeError")
        assert run["error"]["detail"]


def test_dead_letters_are_tried_again_when_asked(project):
    write_config(project.parent, source={"options": {"items": ITEMS, "without": "item-00003"}})
    with serving(project) as client:
        client.do("start")
        assert client.upgrade()["dead_letters"] == 1
    write_config(project.parent)
    with serving(project) as client:
        client.do("start", retry_dead_letters=True)
        assert client.upgrade()["dead_letters"] == 0


def test_completing_needs_the_token_of_the_question(client):
    client.do("start")
    client.do("verify")
    client.ok("POST", "/upgrade/cutover")
    for token in ("", "wrong"):
        body = {"confirmation_token": token}
        assert "unknown" in client.ok("POST", "/upgrade/complete", 422, json=body)["detail"]
        client.ok("POST", "/upgrade/complete")  # asks
        client.ok("POST", "/upgrade/complete", 422, json=body)
    assert client.upgrade()["phase"] == "cut_over"


def test_a_limit_on_search_latency_throttles_the_backfill(project):
    write_config(project.parent, limits={"search_p50_milliseconds": 0.000001})
    with serving(project) as client:
        client.search(content=[1.0] * 8)
        client.ok("POST", "/upgrade/start", 202)
        wait_for(lambda: client.upgrade()["holds"])
        (hold,) = client.upgrade()["holds"]
        assert (hold["kind"], hold["about"]) == ("throttled", "search_p50_milliseconds")
        assert hold["measured"] > hold["required"]


def test_a_gate_holds_until_somebody_accepts_it_by_name(project):
    write_config(
        project.parent, guard={"canary_items": 12, "canary_k": 3}, gate={"old_overlap": 1.0}
    )
    with serving(project) as client:
        client.ok("POST", "/upgrade/start", 202)
        wait_for(lambda: client.upgrade()["holds"])
        held = client.ok("POST", "/upgrade/resume")
        assert [hold["about"] for hold in held["holds"]] == ["old_overlap"]
        assert held["next_steps"][0] == "resume --accept-gate"
        assert held["gate"] == {"old_overlap": 1.0}
        assert held["quality"]["canaries"] == 12
        gone = client.ok("POST", "/upgrade/resume", json={"accept_gate": True})
        assert (gone["holds"], gone["gate_accepted"]) == ([], ["old_overlap"])
        client.wait()
        assert client.upgrade()["phase"] == "backfilled"
