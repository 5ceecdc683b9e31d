"""The rehearsal that a configuration names is read, shown and given."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hotfill.errors import ConfigError
from hotfill.rehearsal import RehearsalSettings, rehearse
from hotfill.service.web.quality import read_rehearsed
from tests.unit.service.conftest import serving


@pytest.fixture(scope="module")
def rehearsal():
    random = np.random.default_rng(0)
    old = random.normal(size=(300, 8)).astype(np.float32)
    new = np.hstack([old, random.normal(size=(300, 4)).astype(np.float32)])
    return rehearse(old, new, settings=RehearsalSettings(fit=150, points=3))


def test_what_rehearse_writes_is_read(rehearsal, tmp_path):
    path = tmp_path / "rehearsal.json"
    path.write_text(rehearsal.to_json())
    found = read_rehearsed(path)
    curve = rehearsal.recommended_curve()
    assert found.points == tuple((p.share, p.quality.map) for p in curve.points)
    assert (found.old, found.new) == (rehearsal.old.map, rehearsal.new.map)
    assert found.expected(found.points[1][0]) == pytest.approx(found.points[1][1])
    assert found.whole == json.loads(rehearsal.to_json())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"recommendation": {"strategy": "merge"}}'])
def test_another_file_is_refused(text, tmp_path):
    path = tmp_path / "rehearsal.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"rehearsal\.json"):
        read_rehearsed(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_rehearsed(tmp_path / "rehearsal.json")


def test_the_service_gives_and_shows_it(rehearsal, project):
    (project.parent / "rehearsal.json").write_text(rehearsal.to_json())
    with serving(project, rehearsal="rehearsal.json") as client:
        assert client.ok("GET", "/upgrade/rehearsal") == json.loads(rehearsal.to_json())
        assert "Rehearsed: from" in client.get("/").text


def test_without_one_there_is_none_to_give(untouched):
    assert "no rehearsal is named" in untouched.ok("GET", "/upgrade/rehearsal", 404)["detail"]
