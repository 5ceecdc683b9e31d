"""What the pages say holds: links lead somewhere, commands exist, files are what hotfill takes."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from typing import get_args

import pytest
from pydantic import TypeAdapter
from typer.main import get_command

from hotfill.cli.app import app
from hotfill.config import Settings
from hotfill.service.settings import ServiceSettings
from tests.docs.pages import DOCS, anchors, blocks, links, name_of, pages, prose

PAGES = pytest.mark.parametrize("page", pages(), ids=name_of)


@PAGES
def test_every_link_leads_somewhere(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def commands():
    """Every command with its options, by its words."""
    found = {}

    def walk(command, words):
        options = {each for p in command.params for each in (*p.opts, *p.secondary_opts)}
        found[words] = options | {"--help"}
        for name, below in getattr(command, "commands", {}).items():
            walk(below, (*words, name))

    walk(get_command(app), ())
    return found


def calls(page):
    """Every call of hotfill on a page, as words."""
    texts = [block.text for block in blocks(page) if block.kind in ("sh", "console")]
    texts += re.findall(r"`(hotfill [^`]+)`", prose(page))
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            for call in re.findall(r"(?:^|[|;&$] *)hotfill ([^#|;&]*)", line):
                yield call.split()


@PAGES
def test_every_command_and_option_shown_exists(page):
    known = commands()
    for words in calls(page):
        depth = 2 if tuple(words[:2]) in known else 1
        command = tuple(words[:depth])
        assert command in known, words
        for option in (word.partition("=")[0] for word in words[depth:] if word.startswith("-")):
            assert option in known[command], words


@PAGES
def test_every_piece_of_json_can_be_read(page):
    for block in blocks(page):
        if block.kind == "json":
            try:
                json.loads(block.text)
            except json.JSONDecodeError:  # or one object in each line
                for line in block.text.splitlines():
                    json.loads(line)


@PAGES
def test_every_piece_of_a_configuration_is_one_that_hotfill_takes(page):
    for block in blocks(page):
        if block.kind != "toml":
            continue
        for name, value in tomllib.loads(block.text).items():
            assert name in Settings.model_fields, name
            field = Settings.model_fields[name]
            if name == "store":
                value = _with_what_is_needed(field.annotation, value)
            TypeAdapter(field.annotation).validate_python(value)
            if name == "service":
                told = json.loads(json.dumps(value).replace('"..."', f'"{"0" * 64}"'))
                ServiceSettings.model_validate(told)


def _with_what_is_needed(stores, value):
    """A page may show a part of the section of a store."""
    value = {"kind": "qdrant-edge", **value}
    (store,) = (
        each for each in get_args(stores) if each.model_fields["kind"].default == value["kind"]
    )
    needed = {name: "here" for name, field in store.model_fields.items() if field.is_required()}
    return needed | value


def test_the_page_of_http_names_every_route():
    pytest.importorskip("fastapi")
    from hotfill.service.routes import health, items, search, upgrade

    said = (DOCS / "reference" / "http.md").read_text(encoding="utf-8")
    routers = (search.router, items.router, upgrade.router, health.router)
    for router in routers:
        for route in router.routes:
            for method in route.methods:
                assert f"`{method} {route.path_format}`" in said, route.path_format


def test_the_pictures_are_what_the_script_draws():
    path = DOCS / "pictures" / "make.py"
    spec = importlib.util.spec_from_file_location("make_pictures", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = module.pictures()
    assert set(drawn) == {each.name for each in path.parent.glob("*.svg")}
    for name, picture in drawn.items():
        kept = (path.parent / name).read_text(encoding="utf-8")
        assert kept == picture, f"{name}: run docs/pictures/make.py"
