"""Every command, over a small gallery on disk."""

from __future__ import annotations

import re
import shutil
from contextlib import closing

import numpy as np
import pytest
from typer.testing import CliRunner

import hotfill
from hotfill.cli.app import app
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from hotfill.upgrade.guard import is_guarding
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.plan import Plan
from tests.acceptance.processes import started, wait_for
from tests.unit.cli.models import NEW, OLD, contents, new_model, old_model
from tests.unit.cli.project import ITEMS, write_config


def test_an_upgrade_from_the_first_look_to_its_end(shell):
    assert shell.json("status")["phase"] == "planned"
    assert shell.json("plan")["next_steps"] == ["start"]
    assert shell.json("start")["next_steps"] == ["verify", "cutover", "abort"]
    assert shell.json("verify")["passed"]
    assert shell.json("cutover")["next_steps"] == ["rollback", "complete"]
    assert shell.json("complete", "--yes")["phase"] == "completed"
    (model,) = shell.json("current")["models"]
    assert (model["model"], model["items"], model["share"]) == (str(NEW), ITEMS, 1.0)
    with QdrantEdgeGallery.open(shell.config.parent / "gallery") as gallery:
        source = contents(ITEMS)
        found = gallery.vectors(list(source), NEW)
        assert gallery.spaces == (NEW,)
    np.testing.assert_allclose(found.vectors, new_model()(list(source.values())), atol=1e-5)


def test_looking_makes_no_file(shell):
    before = set(shell.config.parent.iterdir())
    for name in ("doctor", "plan", "status", "current", "watch"):
        shell(name)
    assert set(shell.config.parent.iterdir()) == before


def test_the_plan_shows_counts_dimensions_bytes_time_and_order(shell):
    said = shell("plan").stdout
    assert str(OLD) in said
    assert str(NEW) in said
    assert f"items     {ITEMS}, 6 to 8 dimensions, 3.8 kB to write" in said
    assert re.search(r"time      about [\d.]+ s of embedding, by 64 items", said)
    assert f"next: hotfill start {shell.config}" in said


def test_the_plan_can_be_kept_in_a_file(shell, tmp_path):
    shell("plan", "--out", tmp_path / "plan.toml")
    plan = Plan.read(tmp_path / "plan.toml")
    assert (plan.old_model, plan.new_model, plan.items) == (OLD, NEW, ITEMS)
    nowhere = shell("plan", "--out", tmp_path / "nowhere" / "plan.toml", code=2)
    assert f"the folder {tmp_path / 'nowhere'} is not there" in nowhere.stderr


def test_start_shows_status_lines_on_stderr_and_the_end_on_stdout(shell):
    result = shell("start")
    assert re.search(
        rf"^planned 0/{ITEMS} \(0.0%\)  embedded 0  written 0", result.stderr, re.MULTILINE
    )
    assert re.search(rf"^backfilled {ITEMS}/{ITEMS} \(100.0%\)", result.stdout)
    assert f"next: hotfill verify {shell.config} | hotfill cutover" in result.stdout
    assert "chatty" not in result.stdout


def test_what_hooks_and_embedders_print_never_meets_the_json(shell, capfd):
    shell.config = write_config(shell.config.parent, hooks={"on_backfilled": "echo a hook speaks"})
    assert shell.json("start")["phase"] == "backfilled"
    assert capfd.readouterr() == ("", "a hook speaks\n")


def test_status_names_dead_letters_and_a_later_start_can_retry_them(shell):
    folder = shell.config.parent
    write_config(folder, source={"options": {"items": ITEMS, "without": "item-00007"}})
    assert shell.json("start")["dead_letters"] == 1
    status = shell.json("status")
    assert status["dead_letter_items"] == [
        {"item_id": "item-00007", "error": "the source has no content for this item"}
    ]
    assert "dead letter item-00007: the source has no content" in shell("status").stdout
    write_config(folder)
    assert shell.json("start", "--retry-dead-letters")["dead_letters"] == 0


def test_status_knows_the_work_is_done_whatever_the_configuration_says_later(started):
    write_config(started.config.parent, old={"embedder": "no_such_module:any"})
    assert started.json("status")["phase"] == "backfilled"


def test_pause_and_resume_are_seen_and_name_who_asked(shell):
    held = shell.json("pause", "--by", "anna")
    assert [(hold["kind"], hold["about"]) for hold in held["holds"]] == [("paused", "anna")]
    assert "held: paused (anna)" in shell("status").stdout
    assert shell.json("resume")["was_paused"]
    again = shell.json("resume")
    assert (again["was_paused"], again["holds"]) == (False, [])


def test_pause_names_the_user_when_nobody_else_is_named(shell, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "berta")
    assert [hold["about"] for hold in shell.json("pause")["holds"]] == ["berta"]


def test_the_guard_is_switched_by_a_word(started):
    def run(word, code=0):
        done = CliRunner().invoke(app, ["guard", word, str(started.config), "--by", "anna"])
        assert done.exit_code == code, done.output
        return done

    assert "the guard is off" in run("off").stdout
    assert "expected on or off, got 'of'" in run("of", code=2).stderr
    with hotfill.open(started.config) as up:
        assert not is_guarding(up.journal)
        assert up.journal.last("guard").body == {"on": False, "by": "anna"}


def test_optimise_says_what_is_indexed(started):
    assert started.json("optimise")["indexed"] == {str(OLD): None, str(NEW): None}
    assert f"{NEW}: needs no index" in started("optimise").stdout


def test_a_postponed_cutover_is_held_until_it_is_unpostponed(started):
    started("verify")
    assert started.json("postpone", "--by", "anna")["holds"][0]["kind"] == "postponed"
    error = started.json("cutover", code=4)["error"]
    assert (error["kind"], error["holds"]) == ("HeldError", ["postponed (anna)"])
    assert started.json("unpostpone")["was_postponed"]
    assert started.json("cutover")["phase"] == "cut_over"


def test_a_cutover_verifies_unless_that_was_done_just_now(started):
    assert "passed: 120 items" in started("cutover").stdout
    assert started.json("status")["phase"] == "cut_over"


NO_MODELS = {
    "old": {"embedder": "no_such_module:small"},
    "new": {"embedder": "no_such_module:any", "options": {"model": "large"}},
}


def test_before_a_start_looking_and_holding_load_no_model(shell):
    write_config(shell.config.parent, **NO_MODELS)
    status = shell.json("status")
    assert (status["old_model"], status["new_model"]) == ("no_such_module:small", "large")
    assert [model["model"] for model in shell.json("current")["models"]] == [str(OLD)]
    assert shell.json("doctor", "--quick")["healthy"]
    for name in ("pause", "resume", "postpone", "unpostpone", "watch", "dead-letters", "optimise"):
        shell(name)


def test_after_a_verification_the_steps_to_the_end_load_no_model(started):
    started("verify")
    write_config(started.config.parent, **NO_MODELS)
    for _ in range(2):
        assert started.json("cutover")["phase"] == "cut_over"
    assert started.json("doctor", "--quick")["healthy"]
    for _ in range(2):
        assert started.json("complete", "--yes")["phase"] == "completed"


def test_a_cutover_whose_verification_fails_does_not_happen(started):
    with QdrantEdgeGallery.open(started.config.parent / "gallery") as gallery:
        gallery.delete(["item-00003"])
    assert started.json("cutover", code=9)["verified"]["missing_ids"] == ["item-00003"]
    assert started.json("status")["phase"] == "backfilled"


def test_a_failed_verification_names_the_items_and_has_its_own_code(started):
    with QdrantEdgeGallery.open(started.config.parent / "gallery") as gallery:
        gallery.delete(["item-00003"])
    found = started.json("verify", code=9)
    assert (found["passed"], found["missing_ids"]) == (False, ["item-00003"])
    said = started("verify", code=9).stdout
    assert "1 gone, but not deleted through hotfill: item-00003" in said


def test_rollback_leads_back_to_the_old_model(started):
    for name in ("verify", "cutover"):
        started(name)
    assert started.json("rollback")["phase"] == "rolled_back"
    assert [model["model"] for model in started.json("current")["models"]] == [str(OLD)]


def test_abort_leads_back_to_the_old_model(started):
    assert started.json("abort", "--yes")["phase"] == "aborted"
    assert [model["model"] for model in started.json("current")["models"]] == [str(OLD)]
    assert "nothing, this has ended" in started("status").stdout


def test_after_the_way_back_a_new_upgrade_begins_and_the_record_of_the_last_is_kept(started):
    folder = started.config.parent
    for number in (1, 2):
        started("abort", "--yes")
        assert "possible now: start --new" in started("start", code=5).stderr
        said = started("start", "--new", "--yes").stderr
        kept = folder / f"upgrade.upgrade.ended-{number}"
        assert f"the record of the upgrade that ended is kept: {kept}" in said
        assert started.json("status")["phase"] == "backfilled"
        with closing(SqliteJournal(kept / "journal.sqlite")) as journal:
            assert journal.phase == "aborted"


def test_start_new_goes_on_with_an_upgrade_that_has_not_ended(started):
    assert started.json("start", "--new")["phase"] == "backfilled"
    assert not list(started.config.parent.glob("*ended*"))


def test_after_the_end_the_next_upgrade_has_another_old_model(started):
    for words in (["verify"], ["cutover"], ["complete", "--yes"]):
        started(*words)
    said = started("start", code=5).stderr
    assert "possible now: [old] set to this upgrade's new model, then start --new" in said
    assert "old model is old@1" in started("start", "--new", code=3).stderr
    assert started.json("status")["phase"] == "completed", "nothing was put aside"
    write_config(
        started.config.parent,
        old={"embedder": "tests.unit.cli.models:new_model"},
        new={"embedder": "tests.unit.cli.models:third_model"},
    )
    assert started.json("start", "--new")["phase"] == "backfilled"


@pytest.mark.parametrize("name", ["complete", "abort"])
def test_what_cannot_be_undone_is_refused_where_nobody_can_answer(started, name):
    if name == "complete":
        started("verify")
        started("cutover")
    before = started.json("status")["phase"]
    assert "add --yes" in started(name, code=2).stderr
    assert started.json("status")["phase"] == before


def test_complete_says_on_a_terminal_that_there_is_no_way_back(started, monkeypatch):
    for name in ("verify", "cutover"):
        started(name)
    monkeypatch.setattr("hotfill.cli.output.interactive", lambda: True)
    refused = started("complete", stdin="n\n", code=2)
    assert "Programs of your own" in refused.stderr
    assert "There is no way back afterwards. [y/N]" in refused.stderr
    assert started.json("status")["phase"] == "cut_over"
    assert "completed" in started("complete", stdin="y\n").stdout


def test_start_on_a_terminal_shows_the_plan_and_asks_once(shell, monkeypatch):
    monkeypatch.setattr("hotfill.cli.output.interactive", lambda: True)
    refused = shell("start", stdin="n\n", code=2)
    assert "items     120" in refused.stderr
    assert shell.json("status")["phase"] == "planned"
    assert shell.json("start", "--yes")["phase"] == "backfilled"
    assert shell.json("start")["phase"] == "backfilled"


@pytest.mark.parametrize("phase", ["planned", "backfilled"])
def test_search_by_content_vector_or_likeness_finds_the_same(shell, phase, tmp_path):
    if phase == "backfilled":
        shell("start")
    row = contents(ITEMS)["item-00005"]
    embed = old_model() if phase == "planned" else new_model()
    np.save(tmp_path / "query.npy", embed([row])[0])
    text = " ".join(str(float(value)) for value in row)
    answers = [
        shell.json("search", "-k", "3", *words)
        for words in (
            ["--vector", tmp_path / "query.npy"],
            ["--like", "item-00005"],
            ["--content", text],
        )
    ]
    for answer in answers:
        hits = answer["hits"]
        assert [hit["item_id"] for hit in hits] == [h["item_id"] for h in answers[0]["hits"]]
        assert hits[0]["item_id"] == "item-00005"
        assert hits[0]["raw_score"] == pytest.approx(1.0, abs=1e-5)
        assert hits[0]["model"] == str(embed.model_id) == answer["query_model"]


def test_search_shows_both_sides_with_contents(shell):
    words = ["search", "--like", "item-00005", "-k", "2", "--show"]
    before = shell.json(*words)["columns"]
    assert [each["title"] for each in before] == ["Old side", "Now"]
    for column in before:
        best, other = column["hits"]
        assert (best["item_id"], best["made_by"]) == ("item-00005", "old")
        assert other["score"] < best["score"]
        assert best["content"].startswith("[ndarray 8")
    said = shell(*words).stdout
    assert re.search(r"^Old side: old alone, on its 120 items$", said, re.MULTILINE)
    assert re.search(r"^  1    1\.0000  old +item-00005  \[ndarray 8", said, re.MULTILINE)
    shell("start")
    assert [each["title"] for each in shell.json(*words)["columns"]] == ["Now", "New side"]
    refused = shell("search", "--vector", "some.npy", "--show", code=2)
    assert "give --like or --content" in refused.stderr


def test_search_filters_by_metadata(shell):
    hits = shell.json("search", "--like", "item-00005", "--where", "number=6")["hits"]
    assert [hit["item_id"] for hit in hits] == ["item-00006"]
    words = ["--like", "item-00005", "--where", "even=true", "--where", "number=5"]
    assert shell.json("search", *words)["hits"] == []
    assert "nothing found" in shell("search", *words).stdout


def test_search_prints_rank_score_side_item_raw_score_and_model(shell):
    said = shell("search", "--like", "item-00005", "-k", "1").stdout
    assert re.search(r"^  1    1\.0000  old +item-00005   raw 1\.0000, old@1 \(6-d, ", said)


def test_search_tells_a_vector_that_stayed_imputed(shell):
    write_config(shell.config.parent, upgrade={"backfill": "none"})
    shell("start")
    words = ["search", "--like", "item-00005", "-k", "3"]
    assert [hit["made_by"] for hit in shell.json(*words)["hits"]] == ["imputed"] * 3
    assert re.search(r"^  1 .* imputed  item-", shell(*words).stdout)


def test_current_tells_embedded_from_mapped_vectors(shell):
    write_config(shell.config.parent, upgrade={"strategy": "prefill"})
    assert "100.0%  old@1" in shell("current").stdout
    shell("start")
    old, new = shell.json("current")["models"]
    assert (old["items"], new["items"], new["embedded"]) == (0, ITEMS, ITEMS)


def test_doctor_is_content_with_a_sound_project(shell):
    found = shell.json("doctor")
    assert found["healthy"]
    findings = {each["what"]: each["found"] for each in found["findings"]}
    assert findings["journal"] == "not begun"
    assert "`hotfill rehearse` measures it" in findings["rho"]
    assert findings["new model"] == str(NEW)
    assert findings["content"] == "read for the first 3 items"
    assert findings["store"] == f"stamped with {OLD} with {ITEMS} items"
    assert all(line.startswith(("ok ", "next:")) for line in shell("doctor").stdout.splitlines())


def test_doctor_tells_rho_and_what_it_makes_doubtful(started):
    def told():
        (found,) = (
            each["found"] for each in started.json("doctor")["findings"] if each["what"] == "rho"
        )
        return found

    rho = started.json("status")["rho"]
    assert told().startswith(f"{rho:.2f} by items; from 0.65 on, one encoder is enough")
    with hotfill.open(started.config) as up:
        up.journal.record("fit", **{**up.journal.last("fit").body, "rho": 0.6})
    assert told().endswith("one encoder is enough")  # all items are embedded
    with hotfill.open(started.config) as up:
        up.journal.enter(Phase.BACKFILLING)
    assert 'by `queries = "both"`' in told()
    assert "only judged queries can tell: `hotfill sample --queries FILE`" in told()


def test_doctor_warns_where_items_come_in_that_are_unlike_the_pairs(shell):
    def told():
        (found,) = (e for e in shell.json("doctor")["findings"] if e["what"] == "drift")
        return found["warns"], found["found"]

    assert told() == (False, "nothing is imputed")
    write_config(shell.config.parent, upgrade={"backfill": "none"})
    shell("start")
    shell("cutover")
    shell("complete", "--yes")
    assert told() == (False, "not known: fewer than 25 items were written since")
    rows = contents(ITEMS + 80)
    written = {name: rows[name] + 2.0 for name in list(rows)[ITEMS:]}
    with hotfill.open(shell.config) as up:
        up.upsert(list(written), list(written.values()))
    warns, said = told()
    assert warns
    assert "the items written last, by the new model (80 against " in said
    assert "`hotfill start --more`" in said
    assert shell.json("doctor")["healthy"]
    assert re.search(r"^warning  drift ", shell("doctor").stdout, re.MULTILINE)
    (content,) = (e for e in shell.json("doctor")["findings"] if e["what"] == "content")
    assert content["found"].endswith("of the first 3 items; others stay imputed")
    shutil.rmtree(next((shell.config.parent / "upgrade.upgrade").glob("fit-*")))
    assert told()[1].startswith("not known: ")


def test_doctor_and_status_name_the_command_where_the_journal_was_lost(started):
    shutil.rmtree(started.config.parent / "upgrade.upgrade")
    assert re.search(
        r"problem  phase .*`hotfill start` puts it right", started("doctor", code=4).stdout
    )
    with hotfill.open(started.config) as up:
        assert len(up.search(next(iter(contents(1).values())), ITEMS).item_ids) == ITEMS
    assert started.json("status")["next_steps"][0] == "start"
    assert re.search(r"held: error .*`hotfill start` puts it right", started("status").stdout)
    started("start")
    assert started.json("doctor")["healthy"]
    assert not started.json("status")["holds"]


def test_doctor_names_each_problem_with_its_remedy(shell):
    write_config(
        shell.config.parent,
        old={"model": {"name": "else", "revision": "1", "dimension": 6}, "embedder": "gone:any"},
        source={"options": {"items": 2}},
    )
    said = shell("doctor", code=2).stdout
    assert re.search(r"problem  old model .*'gone:any' cannot be imported", said)
    assert re.search(r"problem  store .*the file's old model is else@1.*correct \[old\]", said)
    assert re.search(r"problem  content .*no content for .*check \[source\]", said)
    assert re.search(r"ok       new model", said)


def test_watch_without_a_process_at_work_ends_with_the_status(started):
    assert started.json("watch")["phase"] == "backfilled"


def test_status_shows_the_canaries_and_the_gate_and_only_an_explicit_resume_goes_on(shell):
    shell.config = write_config(
        shell.config.parent,
        guard={"canary_items": 12, "canary_k": 3},
        gate={"old_overlap": 1.0},
        upgrade={"batch_size": 4},
    )
    with started(shell.config) as process:
        wait_for(lambda: "gate" in held(shell), process)
        status = shell.json("status")
        assert status["next_steps"][0] == "resume --accept-gate"
        assert status["gate"] == {"old_overlap": 1.0}
        assert status["quality"]["canaries"] == 12
        said = shell("status").stdout
        assert re.search(r"canaries at 0%:  old_overlap 0\.\d+ \(gate 1\)", said)
        assert "held: gate old_overlap=" in said
        assert f"hotfill resume --accept-gate {shell.config}" in said
        assert shell.json("resume")["accepted_gate"] == []
        assert "gate" in held(shell)
        said = shell.json("resume", "--accept-gate", "--by", "anna")
        assert said["accepted_gate"] == ["old_overlap"]
        out, _ = process.communicate()
    assert "(accepted)" in out
    assert shell.json("status")["gate_accepted"] == ["old_overlap"]


def held(shell) -> list[str]:
    return [hold["kind"] for hold in shell.json("status")["holds"]]


def test_a_wrong_gate_is_refused_with_its_name(shell):
    shell.config = write_config(shell.config.parent, gate={"recall": 1.0})
    result = shell("plan", code=2)
    assert "gate.recall: a gate may be set on agreement" in result.stderr
