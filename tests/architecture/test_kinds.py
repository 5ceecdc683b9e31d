"""Which test holds which kind of fault in which store: the kinds that public reports come down to.

A dash says why there is none. The twelve cases from the field are at the end.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

STORES = ("postgres", "qdrant", "lancedb", "chroma", "redis", "milvus", "index_files")
"""Stores that take over what is there; Qdrant Edge and codes are always hotfill's own."""

_OTHERS_WRITE = "unit/stores/redis/test_adoption.py::"
_PEOPLE = "unit/stores/postgres/test_peoples_tables.py::"
_OTHER_VECTORS = "unit/stores/qdrant/test_other_vectors.py::"
_CHROMA = "unit/stores/chroma/test_adoption.py::"
_MILVUS = "unit/stores/milvus/test_adoption.py::"
_LANCE = "unit/stores/test_lancedb.py::"
_HTTP = "unit/embedders/test_http.py::"
_FILES = "unit/test_text_and_array_files.py::"

NONE_IN_IT = "- an index file holds vectors and ids, nothing else"
NO_CHECK = "- all rights or none: opening it to write is the check"

KINDS = {
    "no write takes anything of theirs": {
        "postgres": _PEOPLE + "test_metadata_read_changed_and_written_back_loses_nothing",
        "qdrant": _OTHER_VECTORS + "test_no_write_of_an_upgrade_takes_anything_of_theirs",
        "lancedb": _LANCE + "test_no_write_of_an_upgrade_takes_anything_of_theirs",
        "chroma": _CHROMA + "test_writes_through_hotfill_change_only_what_they_name",
        "redis": _OTHERS_WRITE + "test_no_write_of_an_upgrade_takes_anything_of_theirs",
        "milvus": _MILVUS + "test_moved_rows_come_back_with_all_that_stood_in_them",
        "index_files": NONE_IN_IT,
    },
    "changing one key of the metadata changes nothing else": {
        "postgres": _PEOPLE + "test_metadata_read_changed_and_written_back_loses_nothing",
        "qdrant": _OTHER_VECTORS
        + "test_metadata_is_shown_at_every_depth_and_changing_one_key_changes_nothing_else",
        "lancedb": _LANCE
        + "test_fields_of_structs_are_metadata_and_changing_one_changes_nothing_else",
        "chroma": _CHROMA + "test_writes_through_hotfill_change_only_what_they_name",
        "redis": _OTHERS_WRITE + "test_changed_metadata_change_nothing_else",
        "milvus": _MILVUS
        + "test_moved_there_and_back_a_row_is_as_it_was_but_for_what_hotfill_notes",
        "index_files": NONE_IN_IT,
    },
    "filters reach nested keys or are refused": {
        "postgres": "unit/stores/postgres/test_handing_over.py::"
        "test_metadata_in_json_is_shown_filtered_by_and_written",
        "qdrant": _OTHER_VECTORS + "test_filters_reach_nested_keys",
        "lancedb": _LANCE
        + "test_a_filter_by_what_is_no_metadata_is_refused_and_not_silently_empty",
        "chroma": _CHROMA + "test_documents_are_not_filtered_by_and_that_is_said",
        "redis": _OTHERS_WRITE + "test_filters_reach_nested_keys_of_json",
        "milvus": "- its metadata are flat",
        "index_files": NONE_IN_IT,
    },
    "plan and doctor try what an upgrade will write": {
        "postgres": _PEOPLE + "test_what_a_table_forbids_is_found_by_the_rehearsal",
        "qdrant": NO_CHECK,
        "lancedb": _LANCE + "test_a_disk_that_is_nearly_full_is_told_before_anything_is_written",
        "chroma": _CHROMA + "test_a_rehearsal_and_remarks_leave_everything_as_it_is",
        "redis": "unit/stores/redis/test_gallery.py::"
        "test_a_user_who_may_not_write_is_told_by_the_rehearsal",
        "milvus": NO_CHECK,
        "index_files": "unit/stores/test_index_files.py::"
        "test_a_disk_that_is_nearly_full_is_told_before_anything_is_written",
    },
    "stored zeros, gaps and lengths are counted and embedded": {
        "postgres": _PEOPLE
        + "test_stored_gaps_zeros_and_lengths_are_counted_and_zeros_are_moved_like_others",
        "qdrant": "unit/stores/test_stored_zeros.py::"
        "test_an_upgrade_there_and_back_goes_round_stored_zeros",
        "lancedb": "unit/stores/test_stored_zeros.py::"
        "test_an_upgrade_there_and_back_goes_round_stored_zeros",
        "chroma": _CHROMA + "test_stored_zeros_are_told_of_and_carried_along",
        "redis": _OTHERS_WRITE
        + "test_documents_without_a_fitting_vector_are_no_items_and_are_told",
        "milvus": _MILVUS + "test_zeros_and_lengths_of_vectors_that_are_there_are_told",
        "index_files": "unit/stores/test_index_files.py::"
        "test_index_files_that_do_not_fit_are_named_and_leave_nothing",
    },
}

OF_NO_STORE = {
    "a bad content blocks nothing": (
        "unit/upgrade/test_sampling.py::test_items_that_cannot_be_embedded_are_left_out",
        "unit/upgrade/test_planning.py::test_a_source_without_content_is_a_blocker",
    ),
    "files are read as their formats say": (
        _FILES + "test_lines_end_where_the_format_says_and_a_mark_is_no_text",
        _FILES + "test_what_is_no_array_of_numbers_is_refused_in_words",
        "unit/embedders/test_pictures.py::test_a_picture_is_turned_as_its_note_says",
    ),
    "providers' ways": (
        _HTTP + "test_a_limit_on_the_texts_of_a_request_is_learned_once_and_not_for_each_call",
        _HTTP + "test_headers_and_parameters_reach_a_gateway_and_are_not_shown",
        _HTTP + "test_queries_have_a_prompt_and_fields_of_their_own",
        _HTTP + "test_retry_after_is_seconds_or_a_date",
        _HTTP + "test_base64_vectors_are_read",
    ),
}

CASES = {
    "02 other vectors of a point": _OTHER_VECTORS
    + "test_no_write_of_an_upgrade_takes_anything_of_theirs",
    "03 GENERATED ALWAYS AS IDENTITY": _PEOPLE
    + "test_rows_whose_ids_the_table_gives_out_are_written_again_and_new_ones_refused",
    "04 a vector column that is NOT NULL": _PEOPLE
    + "test_a_column_of_vectors_that_must_not_be_empty_may_be_during_an_upgrade_only",
    "05 pgvector in another schema": _PEOPLE + "test_pgvector_may_be_in_any_schema",
    "07 stored zeros": "unit/stores/test_stored_zeros.py::"
    "test_an_upgrade_there_and_back_goes_round_stored_zeros",
    "08 a pooler without options": _PEOPLE
    + "test_behind_a_pooler_that_drops_settings_each_transaction_has_them",
    "09 a view that depends": _PEOPLE
    + "test_a_view_that_does_more_is_named_before_and_keeps_the_column",
    "10 ten texts a request": _HTTP
    + "test_a_limit_on_the_texts_of_a_request_is_learned_once_and_not_for_each_call",
    "14 ids of files": _FILES + "test_ids_are_texts_or_whole_numbers",
    "17 pictures": "unit/embedders/test_pictures.py::"
    "test_what_is_transparent_is_white_whatever_colour_it_hides",
    "26 blank texts": _HTTP + "test_what_is_no_text_or_blank_is_named_before_anything_is_sent",
    "27 dead letters": "unit/upgrade/test_dead_letters.py::"
    "test_they_hold_the_cutover_until_somebody_decides",
}


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(each.name for each in tree.body if isinstance(each, ast.FunctionDef))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_test_on_every_store_or_a_reason_for_none(kind):
    assert set(KINDS[kind]) == set(STORES)
    for named in KINDS[kind].values():
        if not named.startswith("- "):
            file, _, name = named.partition("::")
            assert name in names_in(file)


@pytest.mark.parametrize(
    "named", [each for some in OF_NO_STORE.values() for each in some] + list(CASES.values())
)
def test_the_other_kinds_and_every_case_from_the_field_have_a_test(named):
    file, _, name = named.partition("::")
    assert name in names_in(file)
