"""Dates as instants: the forms of ISO 8601, WARC and ARC, and what is none."""

from __future__ import annotations

import pytest

from tasks.text.dates import instant, instants, is_there

NOON = 1_714_564_800 * 10**6  # 2024-05-01T12:00:00Z


@pytest.mark.parametrize(
    "date",
    [
        *("2024-05-01T12:00:00Z", "2024-05-01t12:00:00z", "2024-05-01T12:00:00", "2024-05-01 12:00:00 UTC"),
        *("2024-05-01T12:00Z", "2024-05-01T12", "2024-05-01T12:00:00.000000000Z", "2024-05-01T12:00:00,0Z"),
        *("2024-05-01T14:00:00+02:00", "2024-05-01T14:00:00 +0200", "2024-05-01T14+02", "2024-05-02T01:30+13:30"),
        *("2024-05-01T00:00:00-12:00", "20240501T120000Z", "20240501120000", "202405011200", " 2024-05-01T12:00Z\n"),
        "2024-05-01T11:59:60Z",
    ],
)
def test_one_instant_in_many_forms(date: str) -> None:
    assert instant(date) == NOON


def test_what_is_not_stated_begins() -> None:
    assert instant("2024") == instant("2024-01") == instant("2024-01-01") == instant("2024-01-01T00:00:00Z")
    assert instant("2024-05-01T12:00:00.25Z") == NOON + 250_000
    assert instant("0001-01-01T00:00+14:00") == instant("0001-01-01") - 14 * 3600 * 10**6  # type: ignore[operator]
    assert instant("1969-12-31T23:59:59Z") == -(10**6)


@pytest.mark.parametrize(
    "date",
    [
        *(
            "",
            "yesterday",
            "2024-13-01",
            "2024-02-30",
            "2024-5-1",
            "0000-01-01",
            "2024-05-01T25:00",
            "2024-05-01T12:61",
        ),
        *("2024-05-01T12:00:61Z", "2024-05-01T12:00+24:00", "2024-05-01T12:00+02:60", "Wed, 01 May 2024 12:00:00 GMT"),
        *(
            "1714564800",
            "2024050112",
            "٢٠٢٤-٠٥-٠١",
            "2024-05-01Tx",
            "-2024-05-01",
            "2024-05-01T12:00:00." + "9" * 100_000 + "x",
        ),
    ],
)
def test_others_are_none(date: str) -> None:
    assert instants([date, None]) == [None, None]


def test_whether_there_is_one() -> None:
    assert [is_there(date) for date in (None, "", " \n", "x", "2024")] == [False, False, False, True, True]
