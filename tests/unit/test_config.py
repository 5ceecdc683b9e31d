"""The configuration file, and what is built from it."""

from __future__ import annotations

import time
from dataclasses import asdict, replace

import pytest

import hotfill
from hotfill import config
from hotfill.errors import ConfigError, HotfillError, PhaseError
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from hotfill.upgrade import control
from hotfill.upgrade.journal.lock import running_lock
from hotfill.upgrade.phases import Phase, Step
from hotfill.upgrade.plan import Plan
from hotfill.upgrade.upgrade import Upgrade
from tests.unit.cli.models import NEW, OLD, THIRD
from tests.unit.cli.project import ITEMS, fill, write_config


@pytest.fixture
def project(tmp_path):
    fill(tmp_path)
    return config.read(write_config(tmp_path))


def test_paths_are_relative_to_the_file_and_the_folder_is_named_after_it(tmp_path):
    project = config.read(write_config(tmp_path))
    assert project.folder == tmp_path / "upgrade.upgrade"
    path = tmp_path / "named.toml"
    path.write_text('folder = "other"\n' + project.path.read_text())
    assert config.read(path).folder == tmp_path / "other"


def test_defaults_are_those_of_the_plan(tmp_path):
    project = config.read(write_config(tmp_path))
    written = project.settings.upgrade
    plan = replace(Plan(OLD, NEW), **asdict(written))
    assert project.draft() == plan


@pytest.mark.parametrize(
    ("sections", "canaries"),
    [
        ({}, (0, "")),
        ({"guard": {}}, (64, "")),
        ({"gate": {"agreement": 0.5}}, (64, "")),
        ({"guard": {"canary_items": 7}}, (7, "")),
        ({"guard": {"canary_queries": "asked.jsonl"}}, (0, "asked.jsonl")),
    ],
)
def test_a_guard_without_canaries_of_its_own_takes_items(tmp_path, sections, canaries):
    plan = config.read(write_config(tmp_path, **sections)).draft()
    items, queries = canaries
    assert plan.canary_items == items
    assert plan.canary_queries == (str(tmp_path / queries) if queries else "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "store: field required"),
        ("[store]\npath = 3", "store.path must be a text, got 3"),
        ("[stor]\npath = 'x'", "unknown key 'stor'; did you mean 'store'?"),
        ("[store]\npath = 'x'\nzzz = 1", "unknown key 'store.zzz'; known: kind, exact, path, ef"),
        (
            "[store]\nkind = 'lancedb'\npath = 'x'\nef = 3",
            "'store.ef'; known: kind, exact, path, table",
        ),
        ("[store]\nkind = 'lancedb'", "store.path: field required"),
        (
            "[store]\nkind = 'postgres'\ndsn = 'x'\ntables = 'y'",
            "'store.tables'; did you mean 'table'",
        ),
        ("[store]\nkind = 'chroma'", "store.location: field required"),
        ("[limits]\nlag = 'high'", "limits.lag must be a number, got 'high'"),
        ("[store]\n[store]\n", "is not valid TOML"),
        (
            "[store]\npath = 'x'\n[upgrade]\nbach_size = 1",
            "unknown key 'upgrade.bach_size'; did you",
        ),
        ("[guard]\nitems = 1", "unknown key 'guard.items'; known: canary_queries, canary_items"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(tmp_path, text, message):
    path = tmp_path / "upgrade.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.read(path)
    assert message in str(caught.value)


def test_an_unknown_kind_of_store_is_refused_without_telling_secrets(tmp_path):
    path = tmp_path / "upgrade.toml"
    path.write_text("[store]\nkind = 'postgress'\ndsn = 'postgres://me:secret@host/db'")
    with pytest.raises(ConfigError, match=r"store\.kind.*'postgres'.*'postgress'") as caught:
        config.read(path)
    assert "secret" not in str(caught.value)


def test_a_file_that_tomllib_gives_up_on_is_refused_in_words(tmp_path):
    path = tmp_path / "upgrade.toml"
    for text, message in (
        (f"seed = {'1' * 5000}", "has too many digits"),
        (f"a = {'[' * 5000}", "nested too deep"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            config.read(path)


def test_texts_may_name_variables_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GALLERY", "gallery")
    path = write_config(
        tmp_path,
        store={"path": "${GALLERY}-2"},
        source={"options": {"deep": [{"key": "x ${GALLERY} ${GALLERY}"}]}},
        hooks={"on_start": "echo ${HOME}"},
    )
    settings = config.read(path).settings
    assert settings.store.path == "gallery-2"
    assert settings.source.options["deep"] == [{"key": "x gallery gallery"}]
    assert settings.hooks == {"on_start": "echo ${HOME}"}  # the shell replaces it
    monkeypatch.delenv("GALLERY")
    with pytest.raises(ConfigError, match=r"store\.path: the environment has no variable GALLERY"):
        config.read(path)


def test_a_secret_of_the_environment_stands_in_no_message(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "s3cret")
    path = write_config(tmp_path, upgrade={"batch_size": "${TOKEN}", "order": "${TOKEN}"})
    with pytest.raises(ConfigError) as caught:
        config.read(path)
    assert "got '${TOKEN}'" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_model_that_its_embedder_contradicts_is_refused(tmp_path):
    changed = {**OLD.to_dict(), "revision": "2"}
    project = config.read(write_config(tmp_path, old={"model": changed}))
    with pytest.raises(ConfigError, match=r"\[old\] model and embedder disagree: revision '2'"):
        project.embedder("old")


def test_a_model_is_enough_where_nothing_is_embedded_by_it(tmp_path):
    path = write_config(tmp_path, old={"model": OLD.to_dict()})
    path.write_text(path.read_text().replace('embedder = "tests.unit.cli.models:old_model"', ""))
    project = config.read(path)
    assert project.embedder("old") is None
    assert project.model("old") == OLD


def test_an_embedder_is_made_once(project):
    assert project.embedder("new") is project.embedder("new")


def test_a_factory_beside_the_file_is_found(tmp_path):
    (tmp_path / "beside_the_file.py").write_text(
        "from tests.unit.cli.models import old_model as make\n"
    )
    project = config.read(write_config(tmp_path, old={"embedder": "beside_the_file:make"}))
    assert project.model("old") == OLD


def test_options_may_name_the_folder_of_the_file(tmp_path):
    (tmp_path / "beside_two.py").write_text(
        "class Source(dict):\n"
        "    __call__ = dict.get\n"
        "def source(**options):\n    return Source(options)\n"
    )
    options = {"path": "{here}/items", "deep": {"paths": ["{here}", 3]}}
    path = write_config(tmp_path, source={"factory": "beside_two:source", "options": options})
    made = config.read(path).source()
    assert made == {"path": f"{tmp_path}/items", "deep": {"paths": [str(tmp_path), 3]}}


def test_what_is_no_embedder_is_refused(tmp_path):
    project = config.read(write_config(tmp_path, old={"embedder": "builtins:dict"}))
    with pytest.raises(ConfigError, match="must give an object with `model_id`"):
        project.embedder("old")


def test_an_unknown_hook_is_refused_and_a_failing_one_stops_its_move(tmp_path):
    fill(tmp_path)
    project = config.read(write_config(tmp_path, hooks={"on_stat": "true"}))
    with Upgrade.of(project) as up, pytest.raises(ConfigError, match="unknown hook 'on_stat'"):
        up.start()
    project = config.read(
        write_config(tmp_path, hooks={"on_prepared": 'test "$HOTFILL_PHASE" = x'})
    )
    with Upgrade.of(project) as up:
        with pytest.raises(HotfillError, match="failed with exit code 1"):
            up.start()
        assert up.status().phase is Phase.PREPARED


def test_looking_at_an_upgrade_that_has_not_begun_makes_no_file(project):
    with Upgrade.of(project) as up:
        assert up.status().phase is Phase.PLANNED
        with pytest.raises(PhaseError):
            up.check(Step.VERIFY)
    assert not project.folder.exists()


def test_steps_after_the_start_follow_the_plan_that_began_not_the_file(project, tmp_path):
    with Upgrade.of(project) as up:
        up.start()
    with hotfill.open(write_config(tmp_path, upgrade={"verify_items": 5})) as up:
        assert up.verify().sampled == 20


def test_an_abort_begins_before_the_store_is_opened(project, monkeypatch):
    with Upgrade.of(project) as up:
        up.start()
    monkeypatch.setattr(control, "HANDOVER_SECONDS", 0.0)
    with QdrantEdgeGallery.open(project.path.parent / "gallery") as gallery:
        with (
            running_lock(project.folder / "running"),
            pytest.raises(HotfillError, match="is running this upgrade"),
        ):
            up.abort()
        assert up.status().phase is Phase.ABORTING
        assert gallery.count(NEW) == ITEMS
    with up:
        assert up.abort().phase is Phase.ABORTED


def test_the_journal_tells_the_coverage_while_another_process_has_the_store(project):
    with Upgrade.of(project) as up, Upgrade.of(project) as elsewhere:
        up.start(background=True)
        up.pause("anna")
        while up.phase is not Phase.BACKFILLING:
            time.sleep(0.01)
        up.stop()
        up.wait()
        told = elsewhere.current()
    known = elsewhere.current()
    assert (told.recorded_by, known.recorded_by) == ("journal", "store")
    assert told.models == known.models
    assert [(each.items, each.share) for each in known.models] == [(ITEMS, 1.0), (0, 0.0)]


def third(folder, **changes):
    path = write_config(folder, **changes)
    return path.rename(folder / "third.toml")


def test_a_chain_reads_the_models_of_the_upgrade_it_supersedes(project, tmp_path):
    values = {"embedder": "tests.unit.cli.models:new_model"}
    newest = {"embedder": "tests.unit.cli.models:third_model", "options": {}}
    merge = {"strategy": "merge"}
    path = third(tmp_path, supersedes="previous.toml", old=values, new=newest, upgrade=merge)
    write_config(tmp_path).rename(tmp_path / "previous.toml")
    plan = config.read(path).draft()
    assert (plan.older_models, plan.old_model, plan.new_model) == ((OLD,), NEW, THIRD)
    assert Plan.from_dict(plan.to_dict()) == plan
    third(tmp_path, supersedes="previous.toml", new=newest)
    with pytest.raises(ConfigError, match=r"\[old\] must be that model"):
        config.read(path).draft()
    with hotfill.open(path) as up, pytest.raises(ConfigError, match="must be that model"):
        up.start()
    third(tmp_path, supersedes="third.toml")
    with pytest.raises(ConfigError, match="in a circle"):
        config.read(path)
    third(tmp_path, supersedes="gone.toml")
    with pytest.raises(ConfigError, match="no configuration file"):
        config.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "prefill", "up": "up.safetensors"}, "without `up`"),
        ({"order": "uncertainty"}, "orders by uncertainty and refit"),
        ({"refit": True}, "orders by uncertainty and refit"),
        ({"older_models": (NEW,)}, "a model of its own"),
    ],
)
def test_a_chain_refuses_what_knows_one_old_side(change, message):
    with pytest.raises(ConfigError, match=message):
        Plan(OLD, NEW, **{"older_models": (THIRD,), "strategy": "merge", **change})
