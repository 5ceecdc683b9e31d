"""Bad input: one clear line with the remedy, an exit code, and nothing changed."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tomli_w

from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from hotfill.upgrade.journal.lock import running_lock
from tests.unit.cli.models import OLD
from tests.unit.cli.project import ITEMS, environment, write_config


def untouched(shell) -> bool:
    with QdrantEdgeGallery.open(shell.config.parent / "gallery") as gallery:
        return gallery.spaces == (OLD,) and gallery.count(OLD) == ITEMS


def refused(shell, *words, code, kind):
    """Run a command that must fail in one line on stderr, and give its message."""
    result = shell(*words, "--json", code=code)
    error = json.loads(result.stdout)["error"]
    assert (error["kind"], error["exit_code"]) == (kind, code)
    assert f"error: {error['message']}" in result.stderr
    assert "Traceback" not in result.stderr
    return error["message"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upgrade": {"batch_sise": 3}}, "unknown key 'upgrade.batch_sise'; did you mean 'batch_s"),
        ({"limit": {}}, "unknown key 'limit'; did you mean 'limits'?"),
        ({"store": {"pathh": "x"}}, "unknown key 'store.pathh'; did you mean 'path'?"),
        (
            {"upgrade": {"strategy": "merg"}},
            "must be one of merge, prefill, compatible, got 'merg'",
        ),
        ({"upgrade": {"batch_size": 0}}, "batch_size must be >= 1, got 0"),
        ({"upgrade": {"batch_size": -1}}, "batch_size must be >= 1, got -1"),
        (
            {"upgrade": {"batch_size": "auto "}},
            "batch_size: expected a whole number >= 1 or \"auto\", got 'auto '",
        ),
        ({"new": {"embedder": "tests.unit.cli.models"}}, 'must look like "module:name"'),
        ({"new": {"embedder": "tests.unit.cli.models:nothing"}}, "cannot be imported"),
        ({"new": {"embedder": "nowhere:any"}}, "No module named 'nowhere'"),
        (
            {"new": {"embedder": "tests.unit.cli.models:Projection", "options": None}},
            "takes (model_id: 'ModelId', seconds_per_call: 'float'): missing a required argument: "
            "'model_id'; say options = { ... } under [new]",
        ),
        (
            {"new": {"options": {"seconds": 3}}},
            "got an unexpected keyword argument 'seconds'; say options = { ... } under [new]",
        ),
        (
            {"new": {"embedder": "tests.unit.cli.models:parsed", "options": {"text": "a b"}}},
            "failed: ValueError: could not convert string to float: 'a' (models.py, line ",
        ),
    ],
)
def test_a_wrong_configuration_names_the_key_and_what_is_right(shell, changes, message):
    write_config(shell.config.parent, **changes)
    assert message in refused(shell, "start", code=2, kind="ConfigError")
    assert untouched(shell)


def test_a_missing_or_unreadable_configuration_file_is_named(shell, tmp_path):
    shell.config = tmp_path / "nothing.toml"
    assert "there is no configuration file" in refused(shell, "status", code=2, kind="ConfigError")
    shell.config = tmp_path
    assert "cannot be read" in refused(shell, "status", code=2, kind="ConfigError")
    shell.config = tmp_path / "torn.toml"
    shell.config.write_text("[store\n")
    assert "is not valid TOML" in refused(shell, "status", code=2, kind="ConfigError")


def test_an_unknown_option_is_a_usage_error(shell):
    assert "No such option" in shell("status", "--jsn", code=2).stderr


def test_an_old_model_that_the_store_does_not_hold_blocks_the_plan_and_the_start(shell):
    write_config(
        shell.config.parent, old={"embedder": "tests.unit.cli.models:new_model"}, new=NEWER
    )
    plan = shell.json("plan", code=3)
    assert "the plan's old model is new@1" in plan["blockers"][0]
    assert f"the store holds {OLD}" in plan["blockers"][0]
    assert "blocker   the plan's old model" in shell("plan", code=3).stdout
    assert "old model is new@1" in refused(shell, "start", code=3, kind="PlanError")
    assert untouched(shell)


NEWER = {"options": {"name": "newer"}}


def test_another_plan_than_the_one_that_began_is_refused(started):
    write_config(started.config.parent, upgrade={"seed": 7})
    assert "(seed differ)" in refused(started, "start", code=3, kind="PlanError")
    assert started.json("verify")["passed"]  # every other step follows the plan that began


def test_an_embedder_of_another_model_than_the_begun_plan_is_refused(started):
    write_config(started.config.parent, new=NEWER)
    message = refused(started, "verify", code=2, kind="ModelMismatchError")
    assert "[new] embedder: expected model new@1" in message


def test_a_source_without_content_blocks_the_plan(shell):
    write_config(shell.config.parent, source={"options": {"items": 0}})
    assert "no content" in shell.json("plan", code=3)["blockers"][0]
    assert refused(shell, "start", code=3, kind="PlanError")
    assert untouched(shell)


def test_a_corrupt_journal_is_refused_with_the_remedy_and_left_alone(started):
    journal = started.config.parent / "upgrade.upgrade" / "journal.sqlite"
    journal.write_bytes(b"not a journal " * 100)
    for name in ("status", "start", "verify", "pause"):
        message = refused(started, name, code=7, kind="JournalCorruptError")
        assert "move this file away and run `hotfill start` again" in message
    assert journal.read_bytes() == b"not a journal " * 100
    assert "problem  journal" in started("doctor", code=7).stdout


def test_a_step_out_of_turn_names_the_possible_ones(shell):
    message = refused(shell, "verify", code=5, kind="PhaseError")
    assert message == "cannot verify while planned; possible now: start"
    assert not (shell.config.parent / "upgrade.upgrade").exists()
    for name in ("cutover", "rollback", "complete", "abort"):
        refused(shell, name, code=5, kind="PhaseError")


def test_a_store_in_use_is_busy_and_says_by_whom(shell, tmp_path):
    with QdrantEdgeGallery.open(shell.config.parent / "gallery"):
        for words in (["start"], ["plan"], ["current"], ["search", "--like", "item-00001"]):
            message = refused(shell, *words, code=6, kind="StoreBusyError")
            assert "stop that one, or search and write through it" in message
        folder = tmp_path / "upgrade.upgrade"
        folder.mkdir(exist_ok=True)
        with running_lock(folder / "running"):
            message = refused(shell, "start", code=6, kind="UpgradeBusyError")
            assert "watch it with `hotfill watch`" in message
            assert "which runs this upgrade" in shell("doctor").stdout


def test_a_folder_that_is_no_gallery_is_refused(shell):
    write_config(shell.config.parent, store={"path": "elsewhere"})
    assert "is not a hotfill gallery" in refused(shell, "start", code=7, kind="StoreError")
    assert "problem  store" in shell("doctor", code=7).stdout


@pytest.mark.parametrize(
    ("words", "kind", "code", "message"),
    [
        ([], "InputError", 2, "give one of --vector FILE.npy, --like ITEM_ID and --content TEXT"),
        (["--like", "a", "--content", "b"], "InputError", 2, "got 2"),
        (["--like", "item-99999"], "SourceError", 8, "no content for item 'item-99999'"),
        (["--vector", "query.npy"], "ShapeError", 2, "expected shape (n, 6), got (1, 5)"),
        (["--vector", "nan.npy"], "VectorError", 2, "NaN"),
        (["--vector", "text.npy"], "InputError", 2, "cannot be read as a .npy file"),
        (["--vector", "none.npy"], "InputError", 2, "No such file"),
        (["--like", "item-00001", "-k", "0"], "InputError", 2, "k must be >= 1"),
        (["--like", "item-00001", "--where", "x"], "InputError", 2, "--where takes key=value"),
        (["--like", "item-00001", "--where", "_x=1"], "InputError", 2, "metadata key"),
    ],
)
def test_a_search_that_cannot_be_understood_is_refused(
    shell, monkeypatch, words, kind, code, message
):
    monkeypatch.chdir(shell.config.parent)
    np.save("query.npy", np.ones(5))
    np.save("nan.npy", np.full(6, np.nan))
    with open("text.npy", "w") as file:
        file.write("hello")
    assert message in refused(shell, "search", *words, code=code, kind=kind)


def test_a_missing_extra_is_named_with_the_command_that_installs_it(shell):
    hide = (
        "import sys, importlib.abc\n"
        "class Hidden(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.partition('.')[0] == 'qdrant_edge':\n"
        "            raise ModuleNotFoundError('hidden', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "from hotfill.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide, "plan", shell.config, "--json"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["kind"], error["extra"]) == (2, "MissingExtraError", "edge")
    assert "pip install 'hotfill[edge]'" in done.stderr


def test_an_unforeseen_error_shows_its_traceback_and_ends_with_one(shell):
    (shell.config.parent / "their_code.py").write_text(
        "class Broken:\n"
        "    @property\n"
        "    def model_id(self):\n"
        "        raise RuntimeError('a mistake of the user')\n"
        "    def __call__(self, contents):\n"
        "        return contents\n"
    )
    values = {"store": {"path": "gallery"}, "source": {"factory": "their_code:Broken"}}
    values |= {which: {"embedder": "their_code:Broken"} for which in ("old", "new")}
    shell.config.write_text(tomli_w.dumps(values))
    done = subprocess.run(
        [sys.executable, "-m", "hotfill.cli", "plan", shell.config],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError: a mistake of the user" in done.stderr


def test_an_error_is_said_once(tmp_path):
    """In a process of its own: where pytest listens to the logs, nobody else prints them."""
    run = [sys.executable, "-m", "hotfill.cli", "status", "nothing.toml"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == "error: there is no configuration file nothing.toml\n"
    assert (done.stdout, done.returncode) == ("", 2)
