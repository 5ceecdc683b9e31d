"""The exit codes: every error has one, and they never change."""

from __future__ import annotations

import pytest

from hotfill import errors
from hotfill.cli.exit_codes import CODE_OF, ExitCode, exit_code


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))


HERE = {each for each in subclasses(errors.HotfillError) if each.__module__ == "hotfill.errors"}


@pytest.mark.parametrize("kind", sorted(HERE, key=lambda each: each.__name__))
def test_every_error_but_the_base_itself_has_a_foreseen_code(kind):
    code = exit_code(kind.__new__(kind))
    assert (code is ExitCode.UNEXPECTED) == (kind is errors.HotfillError)


def test_the_nearest_listed_base_decides():
    assert exit_code(errors.StoreFullError("full")) is ExitCode.STORAGE
    assert exit_code(errors.StoreBusyError("busy")) is ExitCode.BUSY
    assert exit_code(errors.JournalCorruptError("torn")) is ExitCode.STORAGE
    assert exit_code(errors.UpgradeBusyError("busy", 1)) is ExitCode.BUSY
    assert exit_code(errors.VectorError("nan")) is ExitCode.USAGE


def test_the_numbers_are_these():
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "UNEXPECTED": 1,
        "USAGE": 2,
        "BLOCKED": 3,
        "HELD": 4,
        "WRONG_PHASE": 5,
        "BUSY": 6,
        "STORAGE": 7,
        "EMBEDDING": 8,
        "NOT_VERIFIED": 9,
        "STOPPED": 10,
    }
    assert set(CODE_OF.values()) == set(ExitCode) - {
        ExitCode.OK,
        ExitCode.NOT_VERIFIED,
        ExitCode.STOPPED,
    }
