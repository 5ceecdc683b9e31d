"""Numbers and durations read as people write them."""

from __future__ import annotations

import pytest

from hotfill import formatting


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0%"), (1e-9, "0.1%"), (0.4126, "41.3%"), (0.99999, "99.9%"), (1, "100.0%")],
)
def test_a_share_is_all_only_when_it_is_all(share, text):
    assert formatting.percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (3.21, "3.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.9, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3840, "1 h 4 min"),
        (266_400, "3 d 2 h"),
    ],
)
def test_durations_have_their_two_largest_units(seconds, text):
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (31_200_000, "31 MB"),
        (999_700_000, "1.0 GB"),
        (1.2e13, "12 TB"),
    ],
)
def test_bytes_have_the_largest_unit_that_fits(n_bytes, text):
    assert formatting.size(n_bytes) == text


def test_rates_and_milliseconds_keep_two_or_three_digits():
    assert [formatting.rate(each) for each in (0, 0.0263, 3.25, 412.4, 12_345)] == [
        *("0", "0.026", "3.2", "412"),
        "12,345",
    ]
    assert [formatting.milliseconds(each) for each in (0.00043, 0.0121, 0.24)] == [
        *("0.43", "12.1"),
        "240",
    ]
