"""What a test can hold of the figures that `make house` prints."""

from __future__ import annotations

from tests.architecture.house import (
    AIMS,
    REASONS,
    class_names_standing_twice,
    figures,
    small_modules_with_one_importer,
)

HELD = [
    "source_files",
    "files_of_how_the_map_is_fitted",
    "constructor_arguments",
    "callbacks_needed",
    "import_lines_per_100_of_code",
]


def test_the_house_keeps_to_its_aims() -> None:
    found = figures()
    assert [name for name in HELD if found[name] > AIMS[name]] == []


def test_a_missed_aim_has_its_reason() -> None:
    found = figures()
    assert [name for name in found if found[name] > AIMS[name] and name not in REASONS] == []


def test_few_small_modules_have_one_importer_only() -> None:
    found = small_modules_with_one_importer()
    assert len(found) <= AIMS["small_modules_with_one_importer"], found


def test_no_class_name_stands_twice() -> None:
    assert class_names_standing_twice() == []
