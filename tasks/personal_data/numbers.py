"""Finds numbers with check digits: of payment cards (Luhn) and of bank accounts (IBAN, ISO 13616)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from stdnum import iban, luhn, numdb

from tasks.personal_data.found import Span

# 14 (Diners), 15 (American Express), 16 and 19 digits, as they stand on cards: in groups, or without. No part of a
# longer number, word, address or fraction.
_CARD = re.compile(
    rb"[2-6](?<![\w.+\-/=].)"
    rb"[0-9]{3}(?:([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?|([ -]?)[0-9]{6}\2[0-9]{4,5})"
    rb"(?![\w\-/=]|[ ]?[0-9]|\.[0-9])"
)
# First digits → number of digits (ISO/IEC 7812; the ranges that the schemes publish).
_CARDS = (
    (re.compile(r"4"), (16, 19)),  # Visa
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),  # Mastercard
    (re.compile(r"3[47]"), (15,)),  # American Express
    (re.compile(r"30[0-5]|3[689]"), (14, 16, 19)),  # Diners Club
    (re.compile(r"352[89]|35[3-8]"), (16, 19)),  # JCB
    (re.compile(r"6011|64[4-9]|65|62"), (16, 19)),  # Discover, UnionPay
)
_ACCOUNT = re.compile(
    rb"[A-Z](?<!\w.)[A-Z][0-9]{2}(?:[A-Z0-9]{11,30}(?!\w)|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3}(?!\w))?)"
)


def find_cards(text: bytes) -> Iterator[Span]:
    """The numbers of payment cards: of a scheme's range and length, with a right check digit (ISO/IEC 7812, Luhn)."""
    for found in _CARD.finditer(text):
        digits = found.group().decode().replace(" ", "").replace("-", "")
        if any(kind.match(digits) and len(digits) in lengths for kind, lengths in _CARDS) and luhn.is_valid(digits):
            yield Span(*found.span())


def find_accounts(text: bytes) -> Iterator[Span]:
    """The IBANs: of a country's form, with right check digits (ISO 13616, ISO 7064 mod 97-10), in groups or without."""
    position = 0
    while found := _ACCOUNT.search(text, position):
        end = _end_of_account(found.group())
        if end is not None:
            yield Span(found.start(), found.start() + end)
        position = found.start() + (end or 4)


def _end_of_account(written: bytes) -> int | None:
    """Where the account number ends that begins here: words in capitals can follow it."""
    length = _length_of(written[:2].decode())
    grouped = written[4:5] == b" "
    end = length + (length - 1) // 4 if grouped else length
    if not length or end > len(written) or (end < len(written) and (not grouped or written[end : end + 1] != b" ")):
        return None
    return end if iban.is_valid(written[:end].decode(), check_country=False) else None


@functools.cache
def _length_of(country: str) -> int:
    """How many characters an IBAN of a country has; 0 where there is none."""
    forms = [about.get("bban", "") for _, about in numdb.get("iban").info(f"{country}00")]
    return 4 + sum(int(size) for size in re.findall(r"([0-9]+)!", forms[0])) if forms[0] else 0
