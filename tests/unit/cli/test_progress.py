"""How far a piece of work is, said on stderr."""

from __future__ import annotations

import inspect
import re
import time

import pytest
from typer.main import get_command

from hotfill.cli import progress
from hotfill.cli.app import app
from hotfill.cli.progress import counted
from hotfill.upgrade.pace import StepPart


def said_by(capsys, monkeypatch, *, tell=None, **options):
    """What a short piece of work says."""
    monkeypatch.setattr(progress, "_SILENT_SECONDS", 0.0)
    with counted("helping", **options) as told:
        if tell is not None:
            told(tell)
        time.sleep(0.1)
    return capsys.readouterr().err


def test_work_that_cannot_be_counted_says_how_long_it_has_taken(capsys, monkeypatch):
    assert said_by(capsys, monkeypatch).startswith("helping 0.0 s so far")


def test_work_says_how_much_is_done_and_how_much_there_is(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.03)
    lines = said_by(capsys, monkeypatch, tell=1024, total=4000).splitlines()
    assert lines[-1].startswith("helping 1,024/4,000 ")
    assert "eta" in lines[-1]


def test_a_next_part_of_the_work_is_named_and_counted_by_itself(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_SILENT_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.03)
    with counted("adopting") as told:
        told(10, 10, "copying vectors")
        time.sleep(0.1)
        told(3, 10, "building the index")
        time.sleep(0.1)
    said = capsys.readouterr().err
    assert "copying vectors 10/10" in said
    assert said.splitlines()[-1].startswith("building the index 3/10 ")


def test_a_part_of_the_work_is_named_and_counted_while_it_is_done(capsys, monkeypatch):
    said = said_by(capsys, monkeypatch, part=lambda: StepPart("building an index", 500, 2000, 5.0))
    assert said.startswith("building an index 500/2,000 100/s  eta 15 s")
    said = said_by(capsys, monkeypatch, part=lambda: StepPart("fitting the map", 0, 0, 5.0))
    assert said.startswith("fitting the map 5.0 s so far")


def test_a_worker_says_what_it_has_done_although_it_calls_nobody(capsys, monkeypatch):
    assert said_by(capsys, monkeypatch, count=lambda: 1024).startswith("helping 1,024 ")


QUICK = {
    "pause", "resume", "guard", "postpone", "unpostpone", "status", "watch", "show",
}  # fmt: skip
"""Commands that read or write the journal or one file, or show something all the time."""


def commands(command):
    below = getattr(command, "commands", {})
    for each in below.values():
        yield from commands(each)
    if not below:
        yield command


COMMANDS = [*commands(get_command(app))]


def with_helpers(function, seen=()):
    """A function, and those of its module that it calls, however deep."""
    module = inspect.getmodule(function)
    found = {*seen, function}
    for name in set(re.findall(r"\b(\w+)\b", inspect.getsource(function))):
        called = getattr(module, name, None)
        own = inspect.isfunction(called) and called.__module__ == module.__name__
        if own and not any(called.__name__ == each.callback.__name__ for each in COMMANDS):
            found |= set() if called in found else with_helpers(called, found)
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)
def test_no_command_is_silent_for_long(command):
    """Whatever may open a store, load a model or read vectors says what it does."""
    shows = r"counted\(|running\(|take_over_gallery\(|show_progress=|on_candidate="
    source = "".join(map(inspect.getsource, with_helpers(command.callback)))
    says = re.search(shows, source) is not None
    assert says != (command.name in QUICK)
