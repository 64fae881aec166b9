"""Dates of documents as instants, so that they can be compared whatever their form and offset."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable

# ISO 8601 with as much as is known, in its long or short form, as in WARC 1.1 and RFC 3339; ARC's 12 or 14 digits.
_TIME = r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:[.,]([0-9]+))?)?)?"
_OFFSET = r" ?(?:([Zz]|UTC|GMT)|([+-])([0-9]{2})(?::?([0-9]{2}))?)?"
_DATE = re.compile(
    rf"([0-9]{{4}})(?:-([0-9]{{2}})(?:-([0-9]{{2}})(?:[Tt ]{_TIME}{_OFFSET})?)?)?"
    rf"|([0-9]{{4}})([0-9]{{2}})([0-9]{{2}})(?:(?:[Tt]|(?=[0-9]{{4}})){_TIME}{_OFFSET})?"
)
_FIELDS = 11  # of each of the two forms
_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)


def instants(dates: Iterable[str | None]) -> list[int | None]:
    """Each date as microseconds since 1970 in UTC; None for one that is missing or cannot be read."""
    return [None if date is None else instant(date) for date in dates]


def is_there(date: str | None) -> bool:
    """Whether somebody wrote a date, readable or not."""
    return date is not None and bool(date.strip())


def instant(date: str) -> int | None:
    """Microseconds since 1970 in UTC; None if it cannot be read.

    A date without an offset is in UTC. What is not stated begins: a date alone is its first instant.
    """
    found = _DATE.fullmatch(date.strip())
    if found is None:
        return None
    groups = found.groups()
    fields = groups[:_FIELDS] if groups[0] else groups[_FIELDS:]
    year, month, day, hour, minute, second, fraction, _, sign, hours, minutes = fields
    try:
        start = datetime.datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0))
    except ValueError:
        return None
    if int(second or 0) > 60 or int(hours or 0) > 23 or int(minutes or 0) > 59:  # 60: a leap second
        return None
    east = (int(hours or 0) * 60 + int(minutes or 0)) * (-1 if sign == "-" else 1)
    whole = (start - _EPOCH) // _MICROSECOND + (int(second or 0) - 60 * east) * 1_000_000
    return whole + int((fraction or "").ljust(6, "0")[:6])
