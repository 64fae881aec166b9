"""Finds phone numbers: what the rules of libphonenumber (the package phonenumbers) call a valid number of a country."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import phonenumbers

from tasks.personal_data.found import Span

# Candidates: a plus sign and a country's code, or, where regions are given, digits with something between them. Between
# two digits stand at most three other characters; a no-break space has two bytes.
_BETWEEN = rb"(?:[ ().\-/]|\xc2\xa0){0,3}"
_INTERNATIONAL = re.compile(rb"\+(?<![\w+].)" + _BETWEEN + rb"[0-9](?:" + _BETWEEN + rb"[0-9]){6,15}(?![\w])")
_NATIONAL = re.compile(
    rb"[(0-9](?<![\w.+\-/=].)(?:(?<=\()[0-9]|(?<=[0-9]))(?:" + _BETWEEN + rb"[0-9]){6,15}(?![\w\-/=]|\.[0-9])"
)
_ANY = re.compile(_INTERNATIONAL.pattern + b"|" + _NATIONAL.pattern)
_GROUPED = re.compile(rb"[0-9][^0-9]+[0-9]")
# As 1.234.567 and 12 345 678.
_THOUSANDS = re.compile(rb"\(?[0-9]{1,3}(?:([ .]|\xc2\xa0)[0-9]{3})(?:\1[0-9]{3})*\Z")
# As 52.073975 -1.5, from the first or a later number on: rows of tables. Behind a bracket, an area code can end so. No
# decimal number begins with a nought before another digit, as 030.901820 does; 069.03 is the end of 255,069.03.
_DECIMAL = re.compile(rb"(?:[0-9]+(?:[ \-/]|\xc2\xa0)+)*(?:(?:0|[1-9][0-9]*)\.[0-9]+|0[0-9]{2}\.[0-9]{1,2})(?![0-9.])")
# As 2024-01-31, 31.01.2024 and 1/2/2024, also behind minutes: 12:30 31.01.2024.
_DATE = re.compile(
    rb"(?:[0-9]+(?: |\xc2\xa0)+)?"
    rb"(?:[12][0-9]{3}[-./][0-9]{1,2}[-./][0-9]{1,2}|[0-9]{1,2}[-./][0-9]{1,2}[-./][12][0-9]{3})(?![0-9])"
)
# ISBN in groups: 13 digits, or 10 of which the last one stands alone.
_BOOK = re.compile(rb"\(?97[89][- ][0-9]|\(?[0-9]{1,5}([- ])[0-9]{1,7}\1[0-9]{1,6}\1[0-9]\Z")
# Judging a candidate takes tenths of a millisecond.
_MOST_JUDGED = 10_000


def find_phones(text: bytes, regions: Sequence[str]) -> Iterator[Span]:
    """The phone numbers in international form, and in those of `regions` (ISO 3166 codes), where digits are grouped.

    Of the first 10,000 candidates of a text; behind them, every candidate counts as a number.
    """
    judged, ends = 0, 0
    for found in _candidates(text, national=bool(regions)):
        written = found.group()
        if found.start() < ends or not (written.startswith(b"+") or _may_be_national(written)):
            continue
        judged += 1
        span = Span(0, len(written)) if judged > _MOST_JUDGED else _valid(written, regions)
        if span is not None:
            ends = found.start() + span.end
            yield Span(found.start() + span.start, ends)


def _candidates(text: bytes, national: bool) -> Iterator[re.Match[bytes]]:
    """Candidates in order of place; the digits of one in international form are no other one."""
    if not national:
        return _INTERNATIONAL.finditer(text) if b"+" in text else iter(())
    return _ANY.finditer(text)


def _may_be_national(written: bytes) -> bool:
    numbered = any(pattern.match(written) for pattern in (_THOUSANDS, _DECIMAL, _DATE, _BOOK))
    return not numbered and _GROUPED.search(written) is not None


def _valid(written: bytes, regions: Sequence[str]) -> Span | None:
    # A bracket that the number does not close is one around it.
    outer = int(written.startswith(b"(") and written.count(b"(") > written.count(b")"))
    decoded = written[outer:].decode()
    for region in (None,) if written.startswith(b"+") else regions:
        for match in phonenumbers.PhoneNumberMatcher(decoded, region, phonenumbers.Leniency.VALID, max_tries=4):
            start = outer + len(decoded[: match.start].encode())
            return Span(start, start + len(match.raw_string.encode()))
    return None
