"""The status in two lines."""

from __future__ import annotations

from dataclasses import replace

from hotfill.cli.status_lines import status_lines, steps_now
from hotfill.stores.records import Building
from hotfill.upgrade.pace import StepPart
from hotfill.upgrade.phases import Hold, Phase
from hotfill.upgrade.status import Status

STATUS = Status(
    phase=Phase.BACKFILLING,
    holds=(),
    old_model="old@1",
    new_model="new@1",
    strategy="merge",
    items=752_865,
    moved=595_000,
    skipped=700,
    embedded=1_204,
    written=1_200,
    visible=595_690,
    dead_letters=0,
    rate_per_second=412.3,
    elapsed_seconds=175.0,
    working_seconds=146.0,
    eta_seconds=None,
    running=True,
    pid=17,
    next_steps=("pause", "abort"),
)


def test_a_running_backfill():
    status = replace(STATUS, eta_seconds=77.0, holds=(Hold("throttled", "p99_ms", 0.0, 212, 150),))
    assert status_lines(status, steps=True) == [
        "backfilling 595,700/752,865 (79.1%)  "
        "embedded 1,204  written 1,200  visible 595,690  412/s",
        "held: throttled p99_ms=212 > 150   elapsed 2 min 55 s (working 2 min 26 s)   "
        "eta 1 min 17 s   "
        "process 17 at work   next: pause | abort",
    ]


def test_a_size_of_batches_that_was_found_stands_behind_the_pace():
    assert status_lines(STATUS)[0].split("  ")[-1] == "412/s"
    found = status_lines(replace(STATUS, batch_size=1024))
    assert found[0].endswith("412/s  batches of 1,024")


def test_an_index_that_is_built_is_counted():
    first, _ = status_lines(replace(STATUS, building=Building(12_000, 50_000, 24.0)))
    assert "building an index 12,000/50,000, 500/s, eta 1 min 16 s" in first


def test_a_part_of_a_long_step_is_counted_once():
    imputing = replace(STATUS, to_impute=50_000, imputed=12_000)
    assert "imputed 12,000/50,000" in status_lines(imputing)[0]
    counted = replace(imputing, part=StepPart("imputing", 12_000, 50_000, 24.0))
    first, _ = status_lines(counted)
    assert "imputing 12,000/50,000, 500/s, eta 1 min 16 s" in first
    assert "imputed" not in first


def test_what_is_at_work_is_watched_not_started_again():
    begun = replace(STATUS, next_steps=("start", "pause", "abort"))
    assert steps_now(replace(begun, running=True)) == ["watch", "pause", "abort"]
    assert steps_now(replace(begun, running=False)) == ["start", "pause", "abort"]
    assert (
        "next: watch | pause | abort" in status_lines(replace(begun, running=True), steps=True)[1]
    )


def test_an_estimate_that_means_nothing_yet_is_left_out():
    assert "eta" not in status_lines(STATUS)[1]


def test_not_a_hundred_per_cent_before_the_last_item():
    first, _ = status_lines(replace(STATUS, moved=752_164))
    assert "752,864/752,865 (99.9%)" in first
    assert "(100.0%)" in status_lines(replace(STATUS, moved=752_165))[0]


def test_before_the_start_there_is_nothing_to_count():
    fresh = replace(
        STATUS,
        phase=Phase.PLANNED,
        items=0,
        moved=0,
        skipped=0,
        embedded=0,
        rate_per_second=0.0,
        elapsed_seconds=0.0,
        running=False,
        dead_letters=2,
    )
    assert status_lines(fresh) == ["planned  dead letters 2", "no process at work"]
